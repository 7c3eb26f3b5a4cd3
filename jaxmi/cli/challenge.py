"""`jaxmi challenge`: make and show challenges; pose, verify, solve and reveal sealed ones."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg, subcommand

from jaxmi.cli.subcommand import (
    DataSubcommand,
    OptionalNumber,
    OptionalPath,
    OptionalText,
    Result,
)
from jaxmi.errors import InputError
from jaxmi.files import readable

OptionalShare = Annotated[float | None, arg(metavar="SHARE")]
"""A share in 0..1 that may be left out."""

Sizes = Annotated[tuple[str, ...], arg(metavar="NAME=N [...]", help_behavior_hint="(repeatable)")]
"""Sizes of a network."""


def parse_sizes(texts: tuple[str, ...]) -> dict[str, Any]:
    """Read "name=number" texts; several numbers, with commas, become a list.

    Raises:
      InputError: if a text has another form, or a name comes twice.
    """
    sizes: dict[str, Any] = {}
    for text in texts:
        match = re.fullmatch(r"([a-z_]+)=(\d{1,9}(?:,\d{1,9})*)", text)
        if match is None:
            raise InputError(f"--network {text}: expected NAME=NUMBER, as in d_model=64")
        if match[1] in sizes:
            raise InputError(f"--network {text}: {match[1]} comes twice")
        numbers = [int(number) for number in match[2].split(",")]
        sizes[match[1]] = numbers if len(numbers) > 1 else numbers[0]
    return sizes


@dataclass(frozen=True, kw_only=True)
class ChallengeOptions:
    """The challenge's inputs, split and network."""

    labels: OptionalPath = None
    """Labels in the place of a program: a table (.npz, .npy, .csv, .pkl) of 0 and 1, in .npz the
    array `labels`: (p, p) with row = x for pairs, (p, p, p) for triples, (n,) for images."""

    kind: Literal["pairs", "image", "triples"] | None = None
    """pairs: labels pairs of numbers (x, y), for a transformer. triples: labels triples (x, y, w),
    for a transformer. image: labels images, for a CNN. Default: image if the program names `image`
    or `template`, or --data is given; triples if it is a program on triples and none on pairs; else
    pairs."""

    p: OptionalNumber = None
    """How many values x, y and w take, from 5; not of images. Default: 113 of pairs, 23 of
    triples."""

    train_share: OptionalShare = None
    """Share of the pairs or triples, or of the 50,000 training images, to train on. Default: half
    of the pairs or triples; all images."""

    split_seed: OptionalNumber = None
    """Seed that chooses the inputs to train on. Default: 0."""

    split: OptionalPath = None
    """The inputs to train on, in the place of share and seed: an .npz file with `is_train` (truth
    values in the form of the labels) or `train` (row numbers)."""

    network: Sizes = ()
    """Sizes of the network, where they differ from the published one's: `d_model=64 n_heads=4
    d_mlp=256 n_layers=2` (d_head follows, or d_head=16), of a CNN `channels=8,16 neurons=200`."""

    data: OptionalPath = None
    """Folder with other images in MNIST's four IDX files, such as Fashion-MNIST; images only."""


@dataclass(frozen=True, kw_only=True)
class ChallengeMake(DataSubcommand):
    """Make a challenge from your own program or labels."""

    example = "jaxmi challenge make mine.py --out mine --p 59 --network d_model=64 n_heads=4"

    program: Positional[Path | None] = None
    """The labelling program, .txt or .py, in the language of docs/programs.md. Leave it out
    if you give --labels."""

    out: Path
    """The folder to make; every subcommand takes it in the place of a challenge's name."""

    name: OptionalText = None
    """The name in files and messages. Default: the folder's name."""

    title: OptionalText = None
    """The name in figures and reports. Default: the name."""

    force: bool = False
    """Replace a challenge folder that exists."""

    about: Annotated[ChallengeOptions, arg(name="challenge")] = ChallengeOptions()

    def run(self) -> Result:
        """Check everything, compute the labels, write the folder."""
        about = self.about
        if (self.program is None) == (about.labels is None):
            raise InputError("name a program, or labels with --labels, and not both")
        name = self.name or re.sub(r"[^\w.+ -]", "-", readable(self.out.resolve().name))
        sizes = parse_sizes(about.network)
        from jaxmi.workflows.label_tables import SUFFIXES, is_table

        if about.labels is not None and not is_table(about.labels):
            raise InputError(f"--labels {about.labels}: expected a table: {', '.join(SUFFIXES)}")
        if self.program is not None and is_table(self.program):
            raise InputError(f"{self.program} is a table of labels: name it with --labels")
        from jaxmi.workflows.challenges import check_vacant, define, make

        check_vacant(self.out, self.force)
        source = self.program if about.labels is None else about.labels
        assert source is not None
        definition = define(
            source,
            kind=about.kind,
            name=name,
            title=self.title,
            p=about.p,
            train_share=about.train_share,
            split_seed=about.split_seed,
            split=about.split,
            network=sizes,
            data=about.data,
        )
        return make(definition, self.out, self.force, self.data_dir)

    def show(self, result: Result) -> None:
        """Print what was made, and what to do next."""
        print_challenge(result)
        print(f"{result['out']}: next, `jaxmi regenerate {result['out']}`")


@dataclass(frozen=True, kw_only=True)
class ChallengeShow(DataSubcommand):
    """Show a challenge: labels, split, program and rules of fairness, in words and as a picture."""

    example = "jaxmi challenge show mine"

    challenge: Positional[str]
    """transformer, cnn, or a folder that `jaxmi challenge make` or `challenge new` wrote."""

    out: OptionalPath = None
    """The picture to write, .png, .svg or .pdf. Default: NAME.png in the current folder."""

    force: bool = False
    """Replace the picture if it exists."""

    def run(self) -> Result:
        """Load the challenge, describe and draw it."""
        from jaxmi.workflows.challenges import show_challenge

        return show_challenge(self.challenge, self.out, self.force, self.data_dir)

    def show(self, result: Result) -> None:
        """Print the description."""
        print_challenge(result)
        print(result["picture"])


def print_challenge(result: Result) -> None:
    """Print what `make` and `show` describe."""
    from rich.table import Table

    from jaxmi.cli.console import plain_console, print_table

    console = plain_console(soft_wrap=True)
    console.print(result["title"], style="bold")
    if result["program"] is not None:
        console.print(f"\n{result['program']}")
    if sealed := result.get("sealed"):
        if sealed.get("task") == "mechanism":
            print("what is asked for is the mechanism: which directions and neurons hold what")
        right = ", ".join(
            f"{one['right']:,} of {one['inputs']:,} ({name})"
            for name, one in sealed["stated"].items()
        )
        console.print(f"sealed: commitment {sealed['commitment']}")
        console.print(f"the network is right on {right}; labels below are its answers")
    splits = ", ".join(f"{n:,} {name}" for name, n in result["split"].items())
    network = ", ".join(f"{name} {size}" for name, size in result["network"].items())
    console.print(f"inputs: {result['inputs']:,} ({splits})")
    console.print(f"labels: {result['label1_share']:.1%} are 1")
    console.print(f"network: {network}\n")
    table = Table(title="rules of fairness: reported, not enforced", title_justify="left")
    table.add_column("rule")
    table.add_column("value", justify="right")
    table.add_column("allowed", justify="right")
    table.add_column("")
    for rule in result["fairness"]:
        allowed = f"{rule['low']:.0%} to {rule['high']:.0%}"
        kept = "kept" if rule["kept"] else "broken"
        table.add_row(rule["measures"], f"{rule['value']:.1%}", allowed, kept)
    print_table(table)


@dataclass(frozen=True, kw_only=True)
class SealedOptions:
    """The challenge's inputs, split and network; its program is drawn."""

    kind: Literal["pairs", "triples", "image", "mechanism"] = "pairs"
    """pairs, triples: the program labels pairs or triples of numbers, for a transformer. image:
    MNIST, for a CNN. mechanism: a program on pairs is compiled and given; what is asked for is
    which parts of the network hold what."""

    p: OptionalNumber = None
    """Number of values that each of x, y (and w) takes, from 5. Default: 113 for pairs, 23 for
    triples."""

    train_share: OptionalShare = None
    """Share of the pairs, or of the 50,000 training images, to train on. Default: half of the
    pairs; all 50,000 images."""

    network: Sizes = ()
    """Sizes of the network, as of `jaxmi challenge make`: `d_model=64 n_heads=4`."""


@dataclass(frozen=True, kw_only=True)
class ChallengeNew(DataSubcommand):
    """Pose a challenge with a program that nobody has seen."""

    example = "jaxmi challenge new --out sealed"

    out: Path
    """The folder to make: everything that participants get."""

    answer: OptionalPath = None
    """The file to write the key to; keep it secret until the reveal. Default: beside the folder,
    FOLDER.answer.json."""

    programs: int = 20
    """Maximum number of programs to try before a network learns one well but not perfectly; of a
    mechanism, before one fits every mechanism."""

    hide_program: bool = False
    """Seal the program, too; for --kind mechanism only."""

    about: Annotated[SealedOptions, arg(name="challenge")] = SealedOptions()

    def run(self) -> Result:
        """Draw a program, train on it, seal it."""
        if self.programs < 1:
            raise InputError(f"--programs {self.programs}: expected at least 1")
        if not self.out.name:
            raise InputError(f"--out {self.out} has no name: name a folder to make")
        about, kind = self.about, self.about.kind
        if kind == "mechanism":
            return self._pose_mechanism()
        if self.hide_program:
            raise InputError("--hide-program is of --kind mechanism: other programs are sealed")
        from jaxmi.workflows.challenges import define
        from jaxmi.workflows.pose import pose

        own = about.p is not None or about.train_share is not None or bool(about.network)
        definition = define(
            None,
            kind=kind,
            name="sealed",
            p=about.p,
            train_share=about.train_share,
            network=parse_sizes(about.network),
        )
        return pose(
            kind,
            self.out,
            self._answer,
            self.programs,
            self.data_dir,
            definition if own else None,
        )

    def _pose_mechanism(self) -> Result:
        about = self.about
        if about.train_share is not None:
            raise InputError(f"--train-share {about.train_share}: a compiled network isn't trained")
        from jaxmi.workflows.challenges import define
        from jaxmi.workflows.pose_mechanism import pose_mechanism

        sizes = parse_sizes(about.network)
        definition = define(None, kind="pairs", name="sealed", p=about.p, network=sizes)
        own = about.p is not None or bool(sizes)
        return pose_mechanism(
            self.out,
            self._answer,
            self.programs,
            definition if own else None,
            self.hide_program,
        )

    @property
    def _answer(self) -> Path:
        return self.answer or self.out.with_name(f"{self.out.name}.answer.json")

    def show(self, result: Result) -> None:
        """Print what to publish and what to keep."""
        if "test_accuracy" in result:
            print(f"{result['bundle']}: test accuracy {result['test_accuracy']:.2%}")
        else:
            print(f"{result['bundle']}: the network gives every label of its program")
        print(f"publish the folder and its fingerprint {result['fingerprint']}")
        print(f"keep {result['answer']} secret until the reveal")


@dataclass(frozen=True, kw_only=True)
class ChallengeVerify(DataSubcommand):
    """Check that a sealed challenge is complete and unaltered."""

    example = "jaxmi challenge verify sealed"

    bundle: Positional[Path]
    """The challenge's folder."""

    fingerprint: OptionalText = None
    """The fingerprint that its maker published: checks that this is the same challenge."""

    def run(self) -> Result:
        """Check every byte, then that the files agree with each other."""
        from jaxmi.sealed.read import check_contents, read_bundle

        bundle = read_bundle(self.bundle)
        if self.fingerprint not in (None, bundle.fingerprint):
            raise InputError(
                f"{self.bundle} is not the challenge with fingerprint {self.fingerprint}; "
                f"its own is {bundle.fingerprint}"
            )
        return {
            "intact": True,
            "compared": check_contents(bundle, self.data_dir),
            "kind": bundle.kind,
            **({} if bundle.task == "program" else {"task": bundle.task}),
            "commitment": bundle.commitment,
            "fingerprint": bundle.fingerprint,
        }

    def show(self, result: Result) -> None:
        """Print what was checked, and what must be taken on trust."""
        print(f"{self.bundle} is intact, and these files agree: {', '.join(result['compared'])}")
        print(f"fingerprint {result['fingerprint']}")
        if self.fingerprint is None:
            print("compare it with the announced one: --fingerprint ANNOUNCED")


@dataclass(frozen=True, kw_only=True)
class ChallengeSolve(DataSubcommand):
    """Recover a sealed challenge's program, as a submission."""

    example = "jaxmi challenge solve sealed --out solved.txt"

    bundle: Positional[Path]
    """The challenge's folder."""

    out: Path
    """The submission to write: the program's text, .txt or .py."""

    force: bool = False
    """Replace the file if it exists."""

    def run(self) -> Result:
        """Check the bundle, search, compare with the counts that it states."""
        from jaxmi.workflows.recover import solve

        return solve(self.bundle, self.out, self.force, self.data_dir)

    def show(self, result: Result) -> None:
        """Print the program, and whether it may be the sealed one."""
        from jaxmi.cli.recover import print_recovery

        print_recovery(result)
        if result["as_stated"]:
            print("This program has all the counts that the challenge states; nearly all wrong")
            print(f"programs have others. It is the submission:\n\n{result['submitted']}")
        else:
            print("No candidate has the counts that the challenge states, so each differs from the")
            print("sealed program on some inputs. The best of them is the submission.")
        print(result["files"][0])


@dataclass(frozen=True, kw_only=True)
class ChallengeReveal(DataSubcommand):
    """Check a key against a sealed challenge, and show the program."""

    example = "jaxmi challenge reveal sealed sealed.answer.json --submission solved.txt"

    bundle: Positional[Path]
    """The challenge's folder."""

    answer: Positional[Path]
    """The file of the key, FOLDER.answer.json."""

    submission: OptionalPath = None
    """A program or a table of labels to compare with the sealed program; of a mechanism, an
    explanation (.json) to score against the key."""

    def run(self) -> Result:
        """Check the bundle, the commitment, and the network's accuracy under the program.

        Of a mechanism: and that the network holds what the key says.
        """
        from jaxmi.sealed.read import open_bundle, read_bundle
        from jaxmi.workflows.key_scores import score_by_key
        from jaxmi.workflows.score import score_file
        from jaxmi.workflows.submissions import Against

        bundle = read_bundle(self.bundle)
        opened = open_bundle(bundle, self.answer, self.data_dir)
        against = Against(str(self.bundle), answer=self.answer, data_dir=self.data_dir)
        judge = score_file if opened.mechanism is None else score_by_key
        score = self.submission and judge(self.submission, against, None, force=False)
        return {
            "program": opened.program,
            "kind": bundle.kind,
            **(
                {}
                if opened.mechanism is None
                else {"task": bundle.task, "mechanism": opened.mechanism}
            ),
            "commitment": bundle.commitment,
            "network_is_right_on": dict(bundle.counts),
            "domain_size": len(opened.challenge.labels),
            "submission": score,
        }

    def show(self, result: Result) -> None:
        """Print the program, the mechanism if that is the task, and the submission's score."""
        print(f"The program that was committed to ({result['commitment']}):\n")
        print(result["program"])
        right, size = result["network_is_right_on"]["domain"], result["domain_size"]
        print(f"The network predicts its label on {right:,} of {size:,} inputs, as stated.")
        mechanism = result.get("mechanism")
        if mechanism is not None:
            from jaxmi.cli.console import print_held

            print(f"The mechanism: {mechanism['mechanism']}. {mechanism['words']}")
            print_held(mechanism["variables"], "what the network holds")
        if result["submission"] is not None:
            from jaxmi.cli.score import print_key_score, print_score

            show = print_score if mechanism is None else print_key_score
            show(result["submission"])


@dataclass(frozen=True, kw_only=True)
class ChallengeCommand:
    """Make or show a challenge of your own; pose, verify, solve or reveal a sealed one."""

    example = "jaxmi challenge make mine.py --out mine"

    verb: (
        Annotated[ChallengeMake, subcommand("make")]
        | Annotated[ChallengeShow, subcommand("show")]
        | Annotated[ChallengeNew, subcommand("new")]
        | Annotated[ChallengeVerify, subcommand("verify")]
        | Annotated[ChallengeSolve, subcommand("solve")]
        | Annotated[ChallengeReveal, subcommand("reveal")]
    )

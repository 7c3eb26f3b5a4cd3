"""`jaxmi challenge new`, `verify`, `solve`, `reveal`: sealed challenges, from posed to opened."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, subcommand

from jaxmi.cli.subcommand import Result, Verb
from jaxmi.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ChallengeNew(Verb):
    """Pose a challenge whose program nobody has seen."""

    kind: Literal["pairs", "image"] = "pairs"
    """What the program labels: pairs of numbers, for a transformer; or MNIST, for a CNN."""

    out: Path
    """The folder to make: all that participants get."""

    answer: Path | None = None
    """The file to write the answer to, for your eyes only. Default: beside the folder, under its
    name with .answer.json."""

    programs: int = 20
    """How many programs to try, until a network learns one well, and not perfectly."""

    data_dir: Path | None = None
    """A folder with MNIST's four IDX files, for image."""

    def run(self) -> Result:
        """Draws, trains, seals."""
        if self.programs < 1:
            raise InputError(f"--programs {self.programs}: expected at least 1")
        if not self.out.name:
            raise InputError(f"--out {self.out}: name a folder to make")
        from jaxmi.workflows.pose import pose

        answer = self.answer or self.out.with_name(f"{self.out.name}.answer.json")
        return pose(self.kind, self.out, answer, self.programs, self.data_dir)

    def show(self, result: Result) -> None:
        """Says what to publish and what to keep."""
        print(f"{result['bundle']}: test accuracy {result['test_accuracy']:.2%}")
        print(f"publish the folder, and its fingerprint {result['fingerprint']}")
        print(f"keep {result['answer']} to yourself until the reveal")


@dataclass(frozen=True, kw_only=True)
class ChallengeVerify(Verb):
    """Check that a sealed challenge is whole and unaltered."""

    bundle: Positional[Path]
    """Its folder."""

    fingerprint: str | None = None
    """What its maker published, to be sure that it is the same challenge."""

    data_dir: Path | None = None
    """A folder with MNIST's four IDX files, for image."""

    def run(self) -> Result:
        """Checks every byte, then that the network's forms agree."""
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
            "commitment": bundle.commitment,
            "fingerprint": bundle.fingerprint,
        }

    def show(self, result: Result) -> None:
        """Says what was checked, and what only the maker's word can tell."""
        print(f"{self.bundle} is intact, and these agree: {', '.join(result['compared'])}")
        print(f"fingerprint {result['fingerprint']}")
        if self.fingerprint is None:
            print("is it the one that was announced? --fingerprint compares")


@dataclass(frozen=True, kw_only=True)
class ChallengeSolve(Verb):
    """Recover a sealed challenge's program: a submission."""

    bundle: Positional[Path]
    """The challenge's folder."""

    out: Path
    """The submission to write: a program's text, .txt or .py."""

    force: bool = False
    """Replace it."""

    data_dir: Path | None = None
    """A folder with MNIST's four IDX files, for image."""

    def run(self) -> Result:
        """Checks the bundle, searches, compares with the counts that it states."""
        from jaxmi.workflows.recover import solve

        return solve(self.bundle, self.out, self.force, self.data_dir)

    def show(self, result: Result) -> None:
        """Prints the program, and whether it may be the sealed one."""
        from jaxmi.cli.recover import print_recovery

        print_recovery(result)
        if result["as_stated"]:
            print("A program has all the counts that the challenge states: nearly all wrong ones")
            print(f"have others. It is the submission:\n\n{result['submitted']}")
        else:
            print("No candidate has the counts that the challenge states: each gives some inputs")
            print("other labels than the sealed program does. The best of them is the submission.")
        print(result["files"][0])


@dataclass(frozen=True, kw_only=True)
class ChallengeReveal(Verb):
    """Check an answer against a sealed challenge, and show it."""

    bundle: Positional[Path]
    """The challenge's folder."""

    answer: Positional[Path]
    """The answer's file."""

    submission: Path | None = None
    """A program or a table of labels to compare with it."""

    data_dir: Path | None = None
    """A folder with MNIST's four IDX files, for image."""

    def run(self) -> Result:
        """Checks the bundle, the commitment, and the network's accuracy under the program."""
        from jaxmi.sealed.read import open_bundle, read_bundle
        from jaxmi.workflows.score import Against, score_file

        bundle = read_bundle(self.bundle)
        opened = open_bundle(bundle, self.answer, self.data_dir)
        against = Against(str(self.bundle), answer=self.answer, data_dir=self.data_dir)
        score = self.submission and score_file(self.submission, against, None, force=False)
        return {
            "program": opened.program,
            "kind": bundle.kind,
            "commitment": bundle.commitment,
            "network_is_right_on": dict(bundle.counts),
            "domain_size": len(opened.challenge.labels),
            "submission": score,
        }

    def show(self, result: Result) -> None:
        """Prints the program, and what the submission is worth."""
        print(f"This is what was committed to ({result['commitment']}):\n")
        print(result["program"])
        right, size = result["network_is_right_on"]["domain"], result["domain_size"]
        print(f"The network gives its label to {right:,} of {size:,} inputs, as was stated.")
        if result["submission"] is not None:
            from jaxmi.cli.score import print_score

            print_score(result["submission"])


@dataclass(frozen=True, kw_only=True)
class ChallengeCommand:
    """Pose, verify, solve or reveal a sealed challenge."""

    verb: (
        Annotated[ChallengeNew, subcommand("new")]
        | Annotated[ChallengeVerify, subcommand("verify")]
        | Annotated[ChallengeSolve, subcommand("solve")]
        | Annotated[ChallengeReveal, subcommand("reveal")]
    )

"""`jaxmi challenge`: pose, verify, solve and reveal sealed challenges."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, subcommand

from jaxmi.cli.subcommand import DataSubcommand, OptionalPath, OptionalText, Result
from jaxmi.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ChallengeNew(DataSubcommand):
    """Pose a challenge with a program that nobody has seen."""

    kind: Literal["pairs", "image"] = "pairs"
    """pairs: the program labels pairs of numbers, for a transformer. image: MNIST, for a CNN."""

    out: Path
    """The folder to make: everything that participants get."""

    answer: OptionalPath = None
    """The file to write the key to; keep it secret until the reveal. Default: beside the folder,
    FOLDER.answer.json."""

    programs: int = 20
    """Maximum number of programs to try before a network learns one well but not perfectly."""

    def run(self) -> Result:
        """Draw a program, train on it, seal it."""
        if self.programs < 1:
            raise InputError(f"--programs {self.programs}: expected at least 1")
        if not self.out.name:
            raise InputError(f"--out {self.out} has no name: name a folder to make")
        from jaxmi.workflows.pose import pose

        answer = self.answer or self.out.with_name(f"{self.out.name}.answer.json")
        return pose(self.kind, self.out, answer, self.programs, self.data_dir)

    def show(self, result: Result) -> None:
        """Print what to publish and what to keep."""
        print(f"{result['bundle']}: test accuracy {result['test_accuracy']:.2%}")
        print(f"publish the folder and its fingerprint {result['fingerprint']}")
        print(f"keep {result['answer']} secret until the reveal")


@dataclass(frozen=True, kw_only=True)
class ChallengeVerify(DataSubcommand):
    """Check that a sealed challenge is complete and unaltered."""

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

    bundle: Positional[Path]
    """The challenge's folder."""

    answer: Positional[Path]
    """The file of the key, FOLDER.answer.json."""

    submission: OptionalPath = None
    """A program or a table of labels to compare with the sealed program."""

    def run(self) -> Result:
        """Check the bundle, the commitment, and the network's accuracy under the program."""
        from jaxmi.sealed.read import open_bundle, read_bundle
        from jaxmi.workflows.score import score_file
        from jaxmi.workflows.submissions import Against

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
        """Print the program, and the submission's score."""
        print(f"The program that was committed to ({result['commitment']}):\n")
        print(result["program"])
        right, size = result["network_is_right_on"]["domain"], result["domain_size"]
        print(f"The network predicts its label on {right:,} of {size:,} inputs, as stated.")
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

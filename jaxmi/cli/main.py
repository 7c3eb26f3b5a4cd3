"""The `jaxmi` command: run one subcommand, and turn errors into exit codes.

0: done. 2: the user's input cannot be used. 75: stopped on request, the same command resumes. 1:
anything else. Errors are one line on stderr.

To add a subcommand, write a `Subcommand` in a file of this folder and list it in `Command` below.
"""

import contextlib
import io
import itertools
import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, NoReturn

import tyro
from tyro.conf import subcommand

import jaxmi
from jaxmi.cli.bench import Bench
from jaxmi.cli.challenge import ChallengeCommand
from jaxmi.cli.data import Data
from jaxmi.cli.doctor import Doctor
from jaxmi.cli.evaluate import Evaluate, Labels, Predict
from jaxmi.cli.explain import Explain
from jaxmi.cli.export import Export, Import
from jaxmi.cli.recover import Recover
from jaxmi.cli.regenerate import Regenerate
from jaxmi.cli.score import Score
from jaxmi.cli.study import Study
from jaxmi.cli.subcommand import Subcommand
from jaxmi.errors import DivergedError, InputError, StoppedError, UnavailableError

Command = (
    Annotated[Doctor, subcommand("doctor")]
    | Annotated[Data, subcommand("data")]
    | Annotated[Labels, subcommand("labels")]
    | Annotated[Regenerate, subcommand("regenerate")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Predict, subcommand("predict")]
    | Annotated[Explain, subcommand("explain")]
    | Annotated[Recover, subcommand("recover")]
    | Annotated[Score, subcommand("score")]
    | Annotated[ChallengeCommand, subcommand("challenge")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Import, subcommand("import")]
    | Annotated[Study, subcommand("study")]
    | Annotated[Bench, subcommand("bench")]
)


STOPPED = 75
"""Exit code after SIGTERM, once the state is saved: EX_TEMPFAIL of sysexits.h, "try again"."""

DESCRIPTION = (
    "Mechanistic-interpretability challenges in JAX: train networks on labelling programs, explain "
    "them, recover their programs. `jaxmi SUBCOMMAND --help` shows a subcommand's options, `jaxmi "
    "--version` the version."
)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
      args: The arguments; None takes the process's own.

    Raises:
      SystemExit: with the exit code, unless all is done.
    """
    if list(sys.argv[1:] if args is None else args) == ["--version"]:
        print(f"jaxmi {jaxmi.__version__}")
        return
    command = None
    try:
        command = _parse(args)
        _keep_compiled()
        with _messages_on_stderr():
            result = command.run()
        if command.json:
            print(json.dumps(result, allow_nan=False))
        else:
            command.show(result)
    except DivergedError as error:  # on every host alike, when the other seeds are done
        _fail(error, code=2, tell_others=False)
    except InputError as error:
        _fail(error, code=2)
    except (UnavailableError, OSError) as error:
        _fail(error, code=1)
    except StoppedError as stopped:
        again = "without --force, the same" if getattr(command, "force", False) else "the same"
        print(f"jaxmi: {stopped}; {again} command resumes", file=sys.stderr, flush=True)
        _shut_down_hosts()
        os._exit(STOPPED)
    except RuntimeError as error:
        # Such as a device out of memory; by name, since jaxmi --help does not import jax.
        if type(error).__name__ != "JaxRuntimeError":
            raise
        _fail(str(error).partition("\n")[0], code=1)
    except KeyboardInterrupt:
        print("jaxmi: interrupted", file=sys.stderr, flush=True)
        os._exit(1)  # a normal exit would crash in compiler threads that still run


class _Stderr(logging.Handler):
    """Print messages as they are; like logging's last resort, on whatever stderr is by then."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        print(record.getMessage(), file=sys.stderr, flush=True)


@contextlib.contextmanager
def _messages_on_stderr() -> Iterator[None]:
    """Show jaxmi's own log messages to the user while a subcommand runs."""
    logger, handler = logging.getLogger("jaxmi"), _Stderr()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # libraries put handlers on the root logger: a message twice
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def _parse(args: Sequence[str] | None) -> Subcommand:
    """Parse the arguments; turn tyro's framed error message into one line."""
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            parsed = tyro.cli(
                Command,
                prog="jaxmi",
                description=DESCRIPTION,
                args=args,
                config=(
                    tyro.conf.OmitSubcommandPrefixes,
                    tyro.conf.OmitArgPrefixes,
                    tyro.conf.FlagCreatePairsOff,
                ),
            )
    except SystemExit as error:
        if error.code:
            _fail(_first_paragraph(message.getvalue()), code=2)
        raise
    return parsed.verb if isinstance(parsed, Data | ChallengeCommand) else parsed


def _first_paragraph(framed: str) -> str:
    """Return the first paragraph of tyro's message, without its title, frame and colours.

    The frame is a box where stdout takes UTF-8, else a rule below the title.
    """
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in framed.splitlines()]
    boxed = any(line.startswith("╭") for line in lines)
    body = [line.strip("│ ") for line in lines if not line.startswith(("╭", "╰"))]
    paragraph = itertools.takewhile(lambda text: text.strip("─-"), body if boxed else body[2:])
    return " ".join(paragraph) + " (see --help)"


def _keep_compiled() -> None:
    from jaxmi.workflows.compiled import keep_compiled  # imports jax, which --help does not

    keep_compiled()


def _shut_down_hosts() -> None:
    from jaxmi.training.hosts import shutdown

    shutdown()


def _fail(message: object, code: int, tell_others: bool = True) -> NoReturn:
    """Print why, and end; other hosts, if there are any, are told so that they end too."""
    line = " ".join(str(message).split())
    line = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line)  # from a file, say
    print(f"jaxmi: {line}", file=sys.stderr, flush=True)
    if tell_others and "jax" in sys.modules:
        from jaxmi.training.hosts import fail

        fail(line, code)
    sys.exit(code)


if __name__ == "__main__":
    main()

"""The `jaxmi` command: run one subcommand, and turn errors into exit codes.

0: done. 2: the user's input cannot be used. 75: stopped on request, the same command resumes.
128+n: ended by signal n, the same command starts over. 1: anything else. Errors are one line on
stderr.

To add a subcommand, write a `Subcommand` in a file of this folder and list it in `Command` below.
"""

import contextlib
import difflib
import errno
import io
import itertools
import json
import logging
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NoReturn

import tyro
from tyro.conf import subcommand

import jaxmi
from jaxmi.backend import one_line
from jaxmi.cli.bench import Bench
from jaxmi.cli.challenge import ChallengeCommand
from jaxmi.cli.compile import Compile
from jaxmi.cli.data import Data
from jaxmi.cli.doctor import Doctor
from jaxmi.cli.evaluate import Evaluate, Labels, Predict
from jaxmi.cli.explain import Explain
from jaxmi.cli.export import Export, Import
from jaxmi.cli.help import REGISTRY, Captured, fitted, restore_docstrings, subcommands
from jaxmi.cli.methods import Methods
from jaxmi.cli.recover import Recover
from jaxmi.cli.regenerate import Regenerate
from jaxmi.cli.score import Score
from jaxmi.cli.streams import any_environment, output
from jaxmi.cli.study import Study
from jaxmi.cli.subcommand import Subcommand
from jaxmi.cli.trojan import TrojanCommand
from jaxmi.errors import DivergedError, InputError, StoppedError, UnavailableError
from jaxmi.files import readable, readable_texts
from jaxmi.settings import fixed_settings
from jaxmi.signals import TerminatedError, raised

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
    | Annotated[Compile, subcommand("compile")]
    | Annotated[TrojanCommand, subcommand("trojan")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Import, subcommand("import")]
    | Annotated[Study, subcommand("study")]
    | Annotated[Methods, subcommand("methods")]
    | Annotated[Bench, subcommand("bench")]
)


_CONFIG = (
    tyro.conf.OmitSubcommandPrefixes,
    tyro.conf.OmitArgPrefixes,
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.DisallowNone,
)

STOPPED = 75
"""Exit code after a signal, once the state is saved: EX_TEMPFAIL of sysexits.h, "try again"."""

DESCRIPTION = (
    "Mechanistic-interpretability challenges in JAX: train networks on labelling programs, explain "
    "them, recover their programs. `jaxmi SUBCOMMAND --help` shows a subcommand's options, `jaxmi "
    "--version` the version."
)
EXAMPLE = "jaxmi regenerate transformer --seeds 0:8"


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
      args: The arguments; None takes the process's own, which then ends here if it is interrupted
        or stopped. With arguments, as from a notebook, the process is never ended.

    Raises:
      SystemExit: with the exit code, unless all is done.
    """
    with any_environment():
        _main(args)


def _main(args: Sequence[str] | None) -> None:
    end = sys.exit if args is not None else _end_process
    command = None
    try:
        if list(sys.argv[1:] if args is None else args) == ["--version"]:
            with output():
                print(f"jaxmi {jaxmi.__version__}")
            return
        with raised() if args is None else contextlib.nullcontext():
            command = _parse(args)
            with fixed_settings():
                _keep_compiled()
                with _messages_on_stderr():
                    result = command.run()
            with output():
                if command.common.json:
                    print(json.dumps(readable_texts(result), allow_nan=False))
                else:
                    command.show(result)
    except DivergedError as error:  # on every host alike, when the other seeds are done
        _fail(error, code=2, tell_others=False)
    except InputError as error:
        _fail(error, code=2)
    except (UnavailableError, OSError) as error:
        misnamed = isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP)
        _fail(error, code=2 if misnamed else 1)
    except StoppedError as stopped:
        again = "without --force, the same" if getattr(command, "force", False) else "the same"
        print(f"jaxmi: {stopped}; {again} command resumes", file=sys.stderr, flush=True)
        _shut_down_hosts()
        end(STOPPED)
    except TerminatedError as ended:
        code, line = 128 + ended.signum, f"ended by {ended}"
        if command is not None and command.resumes:
            code, line = STOPPED, f"{line}; the same command resumes"
        print(f"jaxmi: {line}", file=sys.stderr, flush=True)
        _tell_other_hosts(line, code)
        end(code)
    except RuntimeError as error:
        # Such as a device out of memory; by name, since jaxmi --help does not import jax.
        if type(error).__name__ != "JaxRuntimeError":
            raise
        _fail(str(error).partition("\n")[0], code=1)
    except KeyboardInterrupt:
        print("jaxmi: interrupted", file=sys.stderr, flush=True)
        end(1)


def _end_process(code: int) -> NoReturn:
    """End the process at once: a normal exit would crash in compiler threads that still run."""
    os._exit(code)


class _Stderr(logging.Handler):
    """Print messages as they are; like logging's last resort, on whatever stderr is by then."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message; of an exception that is reported, no traceback."""
        text = one_line(record) if record.exc_info else record.getMessage()
        with contextlib.suppress(OSError):  # a terminal that was closed is no reason to fail
            print(text, file=sys.stderr, flush=True)


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    """Print a Python warning, such as JAX's on an old plugin, in one line."""
    text = " ".join(str(message).split())
    print(f"{category.__name__}: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _messages_on_stderr() -> Iterator[None]:
    """Show jaxmi's messages while a subcommand runs, JAX's and Python's in one line each.

    What matplotlib says of its settings does not matter: figures are drawn without the user's.
    """
    handler = _Stderr()
    loggers = [logging.getLogger("jaxmi")]
    if not logging.getLogger("jax").handlers:  # else JAX_LOGGING_LEVEL asks for JAX's own form
        loggers.append(logging.getLogger("jax"))
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    matplotlib = logging.getLogger("matplotlib")
    before.append((matplotlib, matplotlib.level, matplotlib.propagate))
    matplotlib.setLevel(logging.ERROR)
    show_warning, warnings.showwarning = warnings.showwarning, _show_warning
    loggers[0].setLevel(logging.INFO)
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False  # libraries put handlers on the root logger: a message twice
    try:
        yield
    finally:
        warnings.showwarning = show_warning
        for logger, level, propagate in before:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


def _parse(args: Sequence[str] | None) -> Subcommand:
    """Parse the arguments; turn tyro's framed error message into one line."""
    message, printed = io.StringIO(), Captured()
    if sys.flags.optimize > 1:
        restore_docstrings(Command)
    try:
        with contextlib.redirect_stderr(message), contextlib.redirect_stdout(printed):
            parsed = _tyro(args)
    except SystemExit as error:
        if error.code:
            given = list(sys.argv[1:] if args is None else args)
            _fail(_mistyped(given) or _first_paragraph(message.getvalue()), code=2)
        examples = {"": EXAMPLE, **{name: kind.example for name, kind in subcommands(Command)}}
        width = shutil.get_terminal_size().columns
        with output():
            sys.stdout.write(fitted(printed.getvalue(), width, examples))
        raise
    return parsed.verb if isinstance(parsed, Data | ChallengeCommand | TrojanCommand) else parsed


def _tyro(args: Sequence[str] | None) -> Any:
    return tyro.cli(
        Command,
        prog="jaxmi",
        description=DESCRIPTION,
        args=args,
        config=_CONFIG,
        registry=REGISTRY,
    )


def _mistyped(args: Sequence[str]) -> str | None:
    """Say which flag is mistyped, if one is and another is like it.

    tyro would say instead that the flag that was meant is missing.
    """
    words = list(itertools.takewhile(lambda one: not one.startswith("-"), args))[:2]
    given = {one.partition("=")[0] for one in args if one.startswith("--") and len(one) > 3}
    text = io.StringIO()
    for n in (2, 1):  # `jaxmi challenge make`, `jaxmi score`
        text.truncate(0)
        with (
            contextlib.suppress(SystemExit),
            contextlib.redirect_stdout(text),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            _tyro([*words[:n], "--help"])
        known = set(re.findall(r"--[a-z][a-z0-9-]*", text.getvalue()))
        for flag in sorted(given - known) if known > {"--help"} else ():
            close = difflib.get_close_matches(flag, known, n=1, cutoff=0.75)
            if close:
                return f"unknown option {flag}; did you mean {close[0]}? (see --help)"
        if known > {"--help"}:
            return None
    return None


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
    line = "".join(  # from a file, say; surrogates are left to the stream
        c if c.isprintable() or "\ud800" <= c <= "\udfff" else f"\\x{ord(c):02x}" for c in line
    )
    print(f"jaxmi: {line}", file=sys.stderr, flush=True)
    if tell_others:
        _tell_other_hosts(line, code)
    sys.exit(code)


def _tell_other_hosts(line: str, code: int) -> None:
    """Report to other hosts, if there are any, why this one fails, and exit."""
    if "jax" in sys.modules:
        from jaxmi.training.hosts import fail

        fail(readable(line), code)


if __name__ == "__main__":
    main()

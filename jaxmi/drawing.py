"""Figures as bytes, drawn with matplotlib's own style whatever the user's settings are.

A figure shows what a folder holds already in numbers, so one that cannot be drawn is a warning.
"""

import importlib.util
import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxmi.errors import UnavailableError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Drawing = Figure | Callable[[], Figure]

logger = logging.getLogger(__name__)

_lock = threading.RLock()  # matplotlib's settings belong to the process


def import_matplotlib() -> None:
    """Import matplotlib, also where MPLBACKEND or matplotlibrc keeps it from being imported.

    A notebook's MPLBACKEND is inherited by the processes that it starts, which may lack the module
    that it names.

    Raises:
      UnavailableError: if it cannot be imported without these either.
    """
    try:
        import matplotlib
    except ValueError:
        given = {name: os.environ.pop(name, None) for name in ("MPLBACKEND", "MATPLOTLIBRC")}
        spec = importlib.util.find_spec("matplotlib")
        if spec is not None and spec.origin is not None:
            own = Path(spec.origin).parent / "mpl-data" / "matplotlibrc"
            os.environ["MATPLOTLIBRC"] = str(own)
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            del sys.modules[name]  # what was imported before it failed
        try:
            import matplotlib  # noqa: F401 - only to see whether it is there
        except ValueError as error:  # a matplotlibrc in the current folder
            raise UnavailableError(
                f"matplotlib cannot be imported: {error}; look at matplotlibrc"
            ) from error
        finally:
            os.environ.pop("MATPLOTLIBRC", None)
            os.environ.update({name: value for name, value in given.items() if value is not None})


@contextmanager
def default_style(changes: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Draw with matplotlib's own settings; the user's, and the backend, are as before afterwards.

    Args:
      changes: Settings that differ from matplotlib's own: rcParams.
    """
    import matplotlib

    own = matplotlib.rcParamsDefault
    style: dict[Any, Any] = {name: own[name] for name in own if not name.startswith("backend")}
    style.update(changes or {})
    with _lock, matplotlib.rc_context(style):
        yield


def draw(
    drawing: "Drawing",
    format: str = "png",
    changes: Mapping[str, Any] | None = None,
    **options: Any,
) -> bytes:
    """Draw a figure without a display.

    Args:
      drawing: The figure, or what draws it.
      format: "png", "svg" or "pdf".
      changes: As in `default_style`.
      **options: As `Figure.savefig` takes them, such as `dpi`.

    Raises:
      UnavailableError: if it cannot be drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file = io.BytesIO()
    try:
        with default_style(changes):
            figure = drawing() if callable(drawing) else drawing
            FigureCanvasAgg(figure)
            figure.savefig(file, format=format, **options)
    except Exception as error:  # matplotlib and the fonts of a machine may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnavailableError(f"a figure cannot be drawn: {reason}") from error
    return file.getvalue()


def try_to_draw(name: str, drawing: "Drawing", *args: Any, **options: Any) -> bytes | None:
    """Draw a figure as `draw` does; if it cannot be drawn, warn and return None.

    Args:
      name: The figure's name, for the warning.
      drawing: The figure, or what draws it.
      *args: As in `draw`.
      **options: As in `draw`.
    """
    try:
        return draw(drawing, *args, **options)
    except UnavailableError as error:
        logger.warning(f"without {name}: {error}")
        return None


def try_to_save(path: Path, drawing: "Drawing", **options: Any) -> bool:
    """Draw a figure into a file whose ending is the format; if it cannot be drawn, warn.

    Returns:
      Whether the file was written.

    Raises:
      OSError: if the file cannot be written.
    """
    picture = try_to_draw(path.name, drawing, path.suffix.removeprefix("."), **options)
    if picture is not None:
        path.write_bytes(picture)
    return picture is not None

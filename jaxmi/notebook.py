"""Displays in a notebook: objects as small tables and pictures in HTML, and progress."""

import base64
import html
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jaxmi.drawing import try_to_draw

if TYPE_CHECKING:
    from jaxmi.drawing import Drawing

DPI = 80
"""Dots per inch of pictures in a notebook."""

SECONDS_BETWEEN_UPDATES = 0.2
"""Least time between two updates of a line, in seconds."""


def table(title: str, rows: Mapping[str, Any]) -> str:
    """Return a table of two columns as HTML.

    Args:
      title: A line above the table.
      rows: Name -> value; floats are shown to four significant digits.
    """
    cells = "".join(
        f"<tr><td>{html.escape(name)}</td><td style='text-align:right'>{_cell(value)}</td></tr>"
        for name, value in rows.items()
    )
    return f"<b>{html.escape(title)}</b><table>{cells}</table>"


def code(text: str) -> str:
    """Return a program's text as HTML."""
    return f"<pre>{html.escape(text)}</pre>"


def picture(drawing: "Drawing", description: str) -> str:
    """Return a figure as an image within HTML; its description, if it cannot be drawn.

    Args:
      drawing: The figure, or what draws it.
      description: The image's alternative text.
    """
    drawn = try_to_draw(description, drawing, dpi=DPI)
    if drawn is None:
        return html.escape(f"[{description}]")
    data = base64.b64encode(drawn).decode()
    return f"<img alt='{html.escape(description)}' src='data:image/png;base64,{data}'>"


def page(document: str, height: int = 600) -> str:
    """Return a whole page of HTML in a frame of its own.

    Args:
      document: The page.
      height: The frame's height in pixels.
    """
    source = html.escape(document, quote=True)
    style = f"width:100%;height:{height}px;border:1px solid #ccc"
    return f'<iframe srcdoc="{source}" style="{style}"></iframe>'


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return html.escape(f"{value:.4g}" if isinstance(value, float) else str(value))


def in_notebook() -> bool:
    """Return whether this process is a notebook's kernel, so that `Line` is shown in a cell."""
    python = sys.modules.get("IPython")
    shell = None if python is None else python.get_ipython()
    return getattr(shell, "kernel", None) is not None


class Line:
    """A line of text in the output of a notebook's cell, with a bar; it is updated in place."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._handle: Any = None
        self._last = 0.0

    def show(self, text: str, share: float | None = None, last: bool = False) -> None:
        """Show a text instead of the earlier one; within a short while of it, do nothing.

        Args:
          text: The line.
          share: Share of the work that is done, in 0..1; None shows no bar.
          last: Show it, however soon it follows.
        """
        now = time.monotonic()
        if self._handle is not None and not last and now - self._last < SECONDS_BETWEEN_UPDATES:
            return
        self._last = now
        bar = "" if share is None else f"<progress value='{share:.4f}' max='1'></progress> "
        data = {"text/plain": text, "text/html": f"<div>{bar}{html.escape(text)}</div>"}
        if self._handle is None:
            from IPython.display import display  # type: ignore[import-not-found] - only a kernel has it

            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)

"""Objects as a notebook shows them: small tables and pictures as HTML."""

import base64
import html
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 80
"""Dots per inch of pictures in a notebook."""


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


def picture(figure: "Figure", description: str) -> str:
    """Return a figure as an image within HTML.

    Args:
      figure: What to draw.
      description: The image's alternative text.
    """
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    data = base64.b64encode(file.getvalue()).decode()
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

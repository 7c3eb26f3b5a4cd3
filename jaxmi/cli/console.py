"""Consoles that print texts as they are, and tables that lose nothing on a narrow terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from jaxmi.files import readable

WIDEST = 100_000
"""Columns in which every table has room."""


class _Console(Console):
    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text as it will be written, so that it is measured right."""
        return super().render_str(readable(text), **options)


def plain_console(soft_wrap: bool = False) -> Console:
    """Return a console on stdout.

    Names and paths are the user's: brackets in them are no markup, and `:name:` is no emoji.

    Args:
      soft_wrap: Whether lines are left as long as they are.
    """
    return _Console(markup=False, emoji=False, highlight=False, soft_wrap=soft_wrap)


def print_table(table: Table) -> None:
    """Print a table on stdout.

    Where words do not fit, the table has no frame, and the longest words are broken; rich would
    cut them off.
    """
    console = plain_console()
    room = console.options.update(max_width=WIDEST)
    if Measurement.get(console, room, table).minimum > console.width:
        table.box, table.show_edge, table.pad_edge = SIMPLE_HEAD, False, False
        table.padding = (0, 1, 0, 0)
        for column in table.columns:
            column.overflow, column.no_wrap = "fold", False
    console.print(table)


def print_held(variables: Sequence[Mapping[str, Any]], title: str) -> None:
    """Print what holds which variable, as a key lists them."""
    table = Table(title=title, title_justify="left")
    for heading in ("variable", "role", "held as", ""):
        table.add_column(heading)
    for one in variables:
        table.add_row(one["name"], one["role"], one["form"], one["words"])
    print_table(table)

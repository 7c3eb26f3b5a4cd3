"""A report as a page of HTML that needs nothing but itself."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

import jinja2
from matplotlib.figure import Figure

ENOUGH = 0.90
"""A claim holds if at least this share of labels stays, or is given right."""

MARGIN = 0.05
"""By so much a share must exceed its control's to say anything."""

HOLDS, IN_PART, NOT_SHOWN = "holds", "in part", "not shown"

DPI = 110

NOT_SHARES = ("logit", "correlation", "margin", "specificity")
"""Words in the names of figures that are no shares."""


@dataclass(frozen=True)
class Row:
    """A line of a table: a figure of this network, with what to compare it to."""

    label: str
    key: str
    """The figure's name."""
    control: str | None = None
    """The name of the figure of its control."""
    control_label: str = ""
    """What the control is."""


@dataclass(frozen=True)
class Section:
    """One piece of evidence."""

    title: str
    text: str
    """Paragraphs, with an empty line between them; other line breaks mean nothing."""
    figures: Mapping[str, bytes] = field(default_factory=dict)
    """File name without ending -> PNG; the key is also its alternative text."""
    rows: Sequence[Row] = ()
    verdict: str | None = None
    """`HOLDS`, `IN_PART` or `NOT_SHOWN`; None if the section makes no claim that could fail."""
    reason: str = ""
    """The comparison from which the verdict follows."""
    code: str = ""
    """A program to show as it stands."""
    networks: Mapping[str, str] = field(default_factory=dict)
    """For a table that compares networks: column -> what stands before a row's key there."""


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    subtitle: str
    claim: str
    """What is claimed of the network, in words."""
    sections: Sequence[Section]
    not_shown: str
    """What the evidence does not show; paragraphs."""
    command: str
    """What made it."""
    values: Mapping[str, int | float]
    published: Mapping[str, float]


def verdict(value: float, control: float) -> str:
    """Says whether a share of labels supports a claim, against what its control reaches."""
    if value - control < MARGIN:
        return NOT_SHOWN
    return HOLDS if value >= ENOUGH else IN_PART


def render(page: Page) -> str:
    """Returns the page, pictures and all."""
    return template("page.html.jinja").render(page=page, enough=ENOUGH, margin=MARGIN)


def template(name: str) -> jinja2.Template:
    """Returns one of the templates in this folder."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(
            lambda file: resources.files("jaxmi.report").joinpath(file).read_text()
        ),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_url": _data_url, "paragraphs": _paragraphs, "shown": shown}
    return environment.get_template(name)


def shown(value: int | float | None, key: str, digits: str = ".1f") -> str:
    """Writes a figure for a person: shares in per cent, counts whole, the rest to two places.

    Published figures have as many digits as were published: `digits=".4g"`.
    """
    if value is None or not math.isfinite(value):
        return "-"
    if key.startswith("neurons_") or key.endswith(("_index", "_rank")):
        return f"{value:,.6g}"  # a median of counts may be half-way
    if key.startswith(("zero_", "adds_")) or any(word in key for word in NOT_SHARES):
        return f"{value:.4f}" if "margin" in key or "correlation" in key else f"{value:.2f}"
    return f"{100 * value:{digits}}%"


def png(**figures: Figure) -> dict[str, bytes]:
    """Renders figures, under their names."""
    rendered = {}
    for name, figure in figures.items():
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=DPI)
        rendered[name] = file.getvalue()
    return rendered


def _paragraphs(text: str) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def _data_url(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()

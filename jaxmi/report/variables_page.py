"""The section of a report that says which variables of a program a transformer computes."""

from functools import partial

from matplotlib.figure import Figure

from jaxmi.mechanism.interchange import DIMENSIONS
from jaxmi.mechanism.look_ups import ENOUGH, FOUND_FROM, MOST_PLACES, Computes
from jaxmi.mechanism.variables import (
    COMPUTED,
    IN_PART,
    NOT_COMPUTED,
    RULE,
    UNKNOWN,
    Finding,
    Findings,
)
from jaxmi.programs.show import show
from jaxmi.report.page import Section, png

COLOURS = {COMPUTED: "#4f9a57", IN_PART: "#e0a526", NOT_COMPUTED: "#d1352b", UNKNOWN: "#8a8f98"}
"""Verdict -> its colour."""

CONTROL = "#8a8f98"

MOST_NAMED = 16
"""Neurons are named if they are at most so many."""


def summary(found: Findings) -> str:
    """Return a sentence for the paragraph that opens the report."""
    if not found.variables:
        return ""
    words = {
        COMPUTED: "Computed inside, at one site at least",
        IN_PART: "In part",
        NOT_COMPUTED: "At neither site",
        UNKNOWN: "Cannot be told",
    }
    best = _best(found)
    parts = [
        f"{start}: {', '.join(names)}."
        for verdict, start in words.items()
        if (names := [name for name, its in best.items() if its == verdict])
    ]
    return f"A program gives {found.agreement:.1%} of its labels. {' '.join(parts)}"


def _best(found: Findings) -> dict[str, str]:
    """Return variable -> the best verdict of its sites."""
    order = (COMPUTED, IN_PART, NOT_COMPUTED, UNKNOWN)
    names = dict.fromkeys(one.name for one in found.variables)
    return {
        name: min((one.verdict for one in found.variables if one.name == name), key=order.index)
        for name in names
    }


def section(found: Findings, origin: str) -> Section:
    """Return the evidence on each variable.

    Args:
      found: What interchange interventions say.
      origin: Where the program is from: "given" or "recovered".
    """
    rule = " ".join(RULE.replace("**", "").split())
    return Section(
        "Which of the program's variables are computed inside",
        f"""The {origin} program below gives {found.agreement:.1%} of the network's labels. That
        does not say how the network computes them. So each variable of the program, a value that
        it computes, is looked for inside: a base input is run with part of its activations taken
        from a source input, and the network's label is compared with what the program says if that
        variable alone has the source's value. The part is learned on one half of the inputs and
        judged on the other: a subspace of {DIMENSIONS} dimensions of the sum before the MLP
        (resid_mid), or a set or one direction of the neurons, which the logit difference reads
        linearly.

        Only strict pairs count: there the program says a label that neither the base nor the source
        has. Each variable stands beside two that are wrong: its values shuffled among the inputs,
        and one of its constants moved, on pairs where the two programs differ. Each network on
        pairs stands beside two that look its labels up, by rows and by columns, and do not compute
        the variable. The operands themselves are shown for comparison.

        {rule}""",
        png(variables=partial(draw, found)) if found.variables else {},
        code=f"{show(found.program)}\n{table(found)}",
    )


def table(found: Findings) -> str:
    """Write the findings as a table in text, one variable and site a line."""
    width = max([len(one.name) for one in found.variables], default=0)
    width = max(width, len("variable"))
    titles = "site       strict  keep  follow  shuffled  beyond  shuffled  look-up  verdict"
    head = f"{'variable':{width}}  {titles}"
    rows = [
        f"{one.name:{width}}  {one.site:9}  {_cell(one.strict, 6)}  {_cell(one.keep, 4)}  "
        f"{_cell(one.follow, 6)}  {_cell(one.shuffled_strict, 8)}  "
        f"{_cell(one.strict_beyond_operands, 6)}  "
        f"{_cell(one.shuffled_strict_beyond_operands, 8)}  {_cell(_judged(one)[2], 7)}  "
        f"{one.verdict}"
        for one in found.variables
    ]
    moved = [
        f"{one.name}, {one.site}: moved to {one.moved}: {_cell(one.moved_constant_strict, 0)}; "
        f"as it is, where both differ: {_cell(one.strict_beside_moved, 0)}"
        for one in found.variables
        if one.moved_constant_strict is not None
    ]
    notes = [
        "beyond: strict pairs on which no exchange of whole operands gives that label",
        "look-up: the pairs that the verdict is about, in networks that look the same labels up",
    ]
    carried = [
        f"{one.name}: carried by neurons {', '.join(map(str, one.neurons))}"
        for one in found.variables
        if one.verdict == COMPUTED and one.neurons and len(one.neurons) <= MOST_NAMED
    ]
    return "\n".join([head, *rows, *notes, "", *carried, *moved])


def _cell(share: float | None, width: int) -> str:
    return f"{'-' if share is None else f'{share:.0%}':>{width}}"


def draw(found: Findings) -> Figure:
    """Draw the share of strict pairs of each variable, beside that with shuffled values."""
    sites = list(dict.fromkeys(one.site for one in found.variables))
    names = list(dict.fromkeys(one.name for one in found.variables))
    figure = Figure(figsize=(6.5 * len(sites), 1.4 + 0.42 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(sites), squeeze=False, sharey=True)[0]
    for axes, site in zip(panels, sites, strict=True):
        for place, one in enumerate(one for one in found.variables if one.site == site):
            own, shuffled, look_up = _judged(one)
            axes.barh(place, 100 * (own or 0), 0.55, color=COLOURS[one.verdict])
            axes.plot([100 * (shuffled or 0)] * 2, [place - 0.4, place + 0.4], color="black")
            if look_up is not None:
                axes.plot([100 * look_up] * 2, [place - 0.4, place + 0.4], ":", color="black")
        axes.set_xlim(0, 100)
        axes.set_xlabel("strict pairs with the program's label, %")
        axes.set_title({"resid_mid": "sum before the MLP", "neurons": "neurons"}.get(site, site))
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(names)), names, fontsize=8)
    panels[0].invert_yaxis()
    for verdict, colour in COLOURS.items():
        if any(one.verdict == verdict for one in found.variables):
            panels[-1].bar(0, 0, color=colour, label=verdict)
    panels[-1].plot([], [], color="black", label="shuffled values")
    if any(_judged(one)[2] is not None for one in found.variables):
        panels[-1].plot([], [], ":", color="black", label="look-up of the same labels")
    panels[-1].legend(fontsize=8, loc="lower right")
    return figure


def _judged(one: Finding) -> tuple[float | None, float | None, float | None]:
    """Return the three shares from which the verdict follows: own, shuffled, of a look-up."""
    beyond = one.strict_beyond_operands, one.shuffled_strict_beyond_operands
    if None in beyond:
        return one.strict, one.shuffled_strict, one.look_up_strict
    return *beyond, one.look_up_strict_beyond_operands


def model_section(found: Computes) -> Section:
    """Return the evidence on whether a network looks its labels up."""
    lines = [
        f"{name:10}  {one.variables:4} variables  {one.tested:3} tested  {one.found:3} found  "
        f"{_cell(one.strict, 4)} of strict pairs"
        for name, one in found.models.items()
    ]
    return Section(
        "Does it look the labels up?",
        f"""{found.words} Three causal models give a network's labels. By rows: for each x, the
        places along y at which the label changes. By columns: for each y, the places along x. Or
        the program's conditions. In a look-up each place is a variable, and can be exchanged
        between two inputs. So for up to {MOST_PLACES} places of each look-up a set of neurons is
        learned on one half of the inputs, and judged on the strict pairs of the other half. A
        place is found if {FOUND_FROM:.0%} of these get the label that the look-up says, if at most
        a third as many go wrong as with shuffled values, and if its neurons are not another
        place's. A model is shown if {ENOUGH:.0%} of its tested variables are found. Conditions are
        only asked for with --variables.""",
        code="\n".join(lines),
    )

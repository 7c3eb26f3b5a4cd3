"""The section of a report that shows a program read off a network's weights."""

from functools import partial

from jaxmi.explanation.verdicts import verdict
from jaxmi.mechanism import metrics as table
from jaxmi.mechanism.account import Account
from jaxmi.mechanism.placement import ACROSS, DRAWS, NEAR, PLACING
from jaxmi.mechanism.weights_program import PERMUTATIONS
from jaxmi.report import program_figures as draw
from jaxmi.report.page import Section, png
from jaxmi.types import Metrics


def sentence(account: Account) -> str:
    """Say in words how far a program read off the weights goes; empty if there is none."""
    if account.program is None and table.SMOOTH.agreement.key in account.metrics:
        return (
            "A program read off its weights would be longer than the language of challenges allows."
        )
    if account.program is None:
        return ""
    metrics, reading = account.metrics, account.program.reading
    text = (
        f"A program of {reading.numbers} numbers, read off its weights, gives "
        f"{table.PROGRAM.agreement.format(metrics)} of its labels"
    )
    name, control = _strictest(metrics)
    text += f" ({name}: {control:.1%})"
    if table.PROGRAM.mistakes.key in metrics:
        text += f", and {table.PROGRAM.mistakes.format(metrics)} of its mistakes"
    return f"{text}."


def sections(account: Account) -> tuple[Section, ...]:
    """Show the program, its map of labels and which neurons place its thresholds."""
    given, metrics = account.program, account.metrics
    if given is None:
        return ()
    agreement = metrics[table.PROGRAM.agreement.key]
    name, control = _strictest(metrics)
    return (
        Section(
            "A program, read off the weights",
            f"""The smaller network's tables are read as curves along the values, with kinks, and as
            offsets and curves of the classes that were found; classes that do the same are merged.
            How smooth the curves are is chosen by predicting values left out. The smaller network
            with these tables gives a map of labels for every class, as if all values were in it.
            Each map is described by thresholds along y that are polynomials of x. True labels do
            not enter. The program is in weights-program.txt; "jaxmi score" and "jaxmi labels" read
            it.

            The controls go the same way with permuted classes (the best of {PERMUTATIONS}), without
            classes, and from an untrained network. The same pieces fitted to the network's own
            labels need no weights and keep more of them: they describe the labels only.

            {_about_figure(account)} Beside each threshold stand the {PLACING} neurons (columns of
            w_in in replacement.npz) of the largest share of the change of the logit difference
            across it, from {ACROSS:.0%} of y's range before to {ACROSS:.0%} behind. Labels up to
            {NEAR:.0%} of the range from it are compared with all others if these neurons are set to
            their mean; the control is the mean over {DRAWS} draws of as many of the other
            neurons.""",
            png(program=partial(draw.program, account)),
            [
                *table.PROGRAM,
                table.PROGRAM_ACCURACY,
                *table.PROGRAM_PERMUTED,
                *table.PROGRAM_WITHOUT,
                *table.PROGRAM_UNTRAINED,
                *table.PROGRAM_CONSTANT,
                *table.PROGRAM_OF_LABELS,
                *table.SMOOTH,
                table.PROGRAM_NUMBERS,
                table.PROGRAM_SIZE,
                table.PLACED,
                table.PLACED_FAR,
                table.PLACED_OTHERS,
            ],
            verdict(agreement, control),
            f"{agreement:.1%} of labels; {name} {control:.1%}",
            code=given.reading.text,
        ),
    )


def _about_figure(account: Account) -> str:
    assert account.program is not None
    count = len(account.program.reading.pieces)
    shown = (
        f" The {draw.MOST_PANELS} largest of {count} parts of the domain are shown."
        if count > draw.MOST_PANELS
        else ""
    )
    return (
        "In the figure, full colour marks the network's own labels of pairs in these classes, pale "
        f"colour what it would say if all values were in them.{shown}"
    )


def _strictest(metrics: Metrics) -> tuple[str, float]:
    """Return the control that keeps most labels."""
    controls = {
        "its classes permuted": table.PROGRAM_PERMUTED,
        "without classes": table.PROGRAM_WITHOUT,
        "read off an untrained network": table.PROGRAM_UNTRAINED,
        "one label throughout": table.PROGRAM_CONSTANT,
    }
    known = {
        name: float(metrics[kept.agreement.key])
        for name, kept in controls.items()
        if kept.agreement.key in metrics
    }
    name = max(known, key=lambda name: known[name])
    return name, known[name]

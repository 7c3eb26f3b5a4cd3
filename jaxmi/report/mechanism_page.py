"""The sections of a report that say what a transformer computes, whatever its program."""

from collections.abc import Mapping, Sequence
from functools import partial

import jax

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.numbers import NumberChallenge
from jaxmi.explanation.verdicts import HOLDS, NOT_SHOWN, verdict
from jaxmi.mechanism import metrics as table
from jaxmi.mechanism import replacement as smaller_networks
from jaxmi.mechanism.account import Account, Answers, Smaller
from jaxmi.mechanism.classes import CANDIDATES, MARGIN, PERMUTATIONS
from jaxmi.report import mechanism_figures as draw
from jaxmi.report import program_page
from jaxmi.report.page import Section, png
from jaxmi.types import Metrics

MATTERS = 0.98
"""Attention is said to matter if setting it to its mean keeps less of the labels than this."""

NOT_IN_WEIGHTS = """Which conditions and which arithmetic the neurons compute. Few neurons with the
network's own read-out refitted show how little suffices, not how it is done. That they make the
network's mistakes as well is evidence that it is this network's way."""


def summary(account: Account, challenge: Challenge) -> str:
    """Return the paragraph that opens the report: what the network does, and how sure that is."""
    assert isinstance(challenge, NumberChallenge)
    metrics, sizes = account.metrics, challenge.model_config
    operands = list(account.domain.values)
    names = f"{', '.join(operands[:-1])} and {operands[-1]}"
    few = few_count(metrics)
    sentences = [
        f"""This network has a vector for each value of {names}. It adds them up, by its attention,
        and {sizes["d_mlp"]:,} neurons read the label off the sum."""
        if table.MEAN.agreement.key in metrics
        else f"""This network has {sizes["n_layers"]} blocks. What is said here is about the last
        block's {sizes["d_mlp"]:,} neurons and the sum that they read.""",
        _about_attention(metrics, operands),
        about_neurons(metrics, account.answers, few),
        _about_smaller(account),
        _about_classes(account),
        program_page.sentence(account),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def sections(account: Account, challenge: Challenge) -> tuple[Section, ...]:
    """Return the evidence, with its figures and verdicts."""
    metrics = account.metrics
    return (
        *_attention(account),
        neurons_section(
            metrics,
            png(neurons=partial(draw.few_neurons, metrics), few=partial(draw.few_labels, account)),
        ),
        *mistakes_section(metrics, table.NEAREST, "the label of the nearest fitted input"),
        *_smaller(account, challenge),
        _classes(account),
        *program_page.sections(account),
    )


def few_count(metrics: Metrics) -> int | None:
    """Return the number of neurons that verdicts are about, or the most that there are."""
    needed = ("own", "heldout", "untrained_heldout")
    counts = [
        k
        for k in table.COUNTS
        if k <= table.MAIN_COUNT
        and all(table.FEW[choice][k].agreement.key in metrics for choice in needed)
    ]
    return max(counts, default=None)


def _about_attention(metrics: Metrics, operands: list[str]) -> str:
    mean, additive = (metrics.get(kept.agreement.key) for kept in (table.MEAN, table.ADDITIVE))
    if mean is None or additive is None:
        return ""
    if mean >= MATTERS:
        return (
            "What it attends to hardly matters: with attention at its mean "
            f"{mean:.1%} of its labels stay."
        )
    plus = " plus one of ".join(operands)
    return (
        f"What it attends to matters: with attention at its mean only {mean:.1%} of its labels "
        f"stay, with attention a function of {plus} {additive:.1%}."
    )


def about_neurons(metrics: Metrics, answers: Answers, few: int | None) -> str:
    """Say in words what few neurons keep, and what as many of an untrained network do."""
    if few is None:
        return ""
    own, held, untrained = (
        table.FEW[choice][few] for choice in ("own", "heldout", "untrained_heldout")
    )
    text = (
        f"{few} of its neurons give {own.agreement.format(metrics)} of its labels; of inputs that "
        f"their read-out was not fitted to {held.agreement.format(metrics)}"
    )
    wrong = 0 if answers.mistakes is None else int(answers.mistakes.sum())
    if held.mistakes.key in metrics:
        text += f", and {held.mistakes.format(metrics)} of its mistakes there ({wrong:,} in all)"
    text += f". As many neurons of an untrained network give {untrained.agreement.format(metrics)}."
    if answers.mistakes is not None and not wrong:
        text += " It makes no mistake, so mistakes cannot tell its way from another."
    return text


def _about_smaller(account: Account) -> str:
    if account.smaller is None:
        return ""
    text = (
        f"A smaller network of {account.smaller.best.numbers:,} numbers, cut out of it, gives "
        f"{table.REPLACEMENT.agreement.format(account.metrics)} of its labels"
    )
    if table.REPLACEMENT.mistakes.key in account.metrics:
        text += f" and {table.REPLACEMENT.mistakes.format(account.metrics)} of its mistakes"
    return f"{text}."


def _about_classes(account: Account) -> str:
    found = {name: one for name, one in account.classes.items() if one.found}
    without = [name for name in account.classes if name not in found]
    text = "".join(
        f"Its weights tell apart the classes {one.found} (R2 {one.score:.2f}; permuted classes "
        f"{one.permuted_score:.2f}). "
        for one in found.values()
    )
    for name in found:
        second = account.names[table.ROW_CLASS_SECOND[name]]
        if second is not None:
            text += f"Beside these they tell apart {second}. "
    if without:
        text += f"Of {' and '.join(without)} they show no residue class among those tried."
    return text.strip()


def _attention(account: Account) -> tuple[Section, ...]:
    if table.MEAN.agreement.key not in account.metrics:
        return ()
    kept = (
        table.MEAN,
        table.ADDITIVE,
        table.RANK1,
        *(table.ONLY[operand] for operand in account.domain.values),
        table.RESID_ADDITIVE,
        *table.RESID_INTERACTIONS.values(),
        *table.RESID_COMPONENTS.values(),
    )
    return (
        Section(
            "How simple attention and the sum are",
            """The network is a set of tables: each head's scores and values for each operand, then
            neurons, then a sum. Attention at the last position is replaced by simpler functions of
            the operands, and so is the residual stream before the MLP; everything after is the
            network's own. "Mistakes kept" is the share of the network's wrong answers that the
            replacement gives too; chance is one half.""",
            metrics=[metric for one in kept for metric in one],
        ),
    )


def neurons_section(metrics: Metrics, figures: Mapping[str, bytes]) -> Section:
    """Show what few neurons keep of the labels.

    Args:
      metrics: The network's metrics.
      figures: The section's figures, by name.
    """
    few = few_count(metrics)
    title = "Few neurons give the labels"
    text = """Neurons are chosen one after the other, each as the one that most lowers the error of
        the network's own logit difference, where inputs near the boundary weigh most; then the
        read-out is refitted. True labels do not enter. Held-out: chosen and fitted on one half of
        the inputs, judged on the other."""
    if few is None:
        return Section(title, "Too few neurons are active on some inputs and not on others.")
    held, untrained = (
        metrics[table.FEW[c][few].agreement.key] for c in ("heldout", "untrained_heldout")
    )
    choices = ("own", "heldout", "random", "other_seed", "untrained")
    return Section(
        f"{few} neurons give the labels",
        text,
        figures,
        [table.FEW[choice][k].agreement for choice in choices for k in table.COUNTS],
        verdict(held, untrained),
        f"{held:.1%} of labels, held out; {few} neurons of an untrained network {untrained:.1%}",
    )


def mistakes_section(metrics: Metrics, nearest: table.Kept, name: str) -> tuple[Section, ...]:
    """Compare mistakes with those of networks that have the same program, or of none.

    Args:
      metrics: The network's metrics.
      nearest: What a guess without any network keeps.
      name: What that guess is.
    """
    few = few_count(metrics)
    if few is None or table.FEW["heldout"][few].mistakes.key not in metrics:
        return ()
    held = metrics[table.FEW["heldout"][few].mistakes.key]
    controls = {
        name: metrics.get(nearest.mistakes.key),
        f"{few} neurons of another seed": metrics.get(
            table.FEW["other_seed_heldout"][few].mistakes.key
        ),
        "another seed's labels": metrics.get(table.OTHER_SEED.mistakes.key),
    }
    known = {name: value for name, value in controls.items() if value is not None}
    strictest = max(known, key=lambda name: known[name])
    choices = ("own", "heldout", "random", "other_seed", "other_seed_heldout", "untrained")
    return (
        Section(
            "They make the network's mistakes",
            """Whatever has learned the program gives most of the labels. Its mistakes are the
            network's own: what computes as it does makes them, too. The controls are what one gets
            without this network's way: the label of the nearest input of the fitted half, and,
            where another seed is at hand, that network.""",
            metrics=[
                *(table.FEW[choice][k].mistakes for choice in choices for k in table.COUNTS),
                *table.OTHER_SEED,
                *nearest,
            ],
            verdict=verdict(held, known[strictest]),
            reason=f"{held:.1%} of mistakes, held out; {strictest} {known[strictest]:.1%}",
        ),
    )


def _smaller(account: Account, challenge: Challenge) -> tuple[Section, ...]:
    """Show the smaller networks, beside a description that has few numbers and no mechanism."""
    smaller, metrics = account.smaller, account.metrics
    if smaller is None:
        return ()
    shapes = jax.eval_shape(challenge.init, jax.random.key(0))
    size = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    keys = [metric.key for metric in table.REPLACEMENT]
    held = [metrics.get(metric.key) for metric in table.REPLACEMENT_HELDOUT]
    controls = [
        (table.ROW_THRESHOLDS, "two thresholds a row"),
        (table.NEAREST, "the label of the nearest fitted input"),
        *((kept, kept.agreement.label.split(",")[0]) for kept in table.REPLACEMENT_OTHERS.values()),
    ]
    known = {
        name: metrics[kept.mistakes.key] for kept, name in controls if kept.mistakes.key in metrics
    }
    tested = held[1] is not None and bool(known)
    strictest = max(known, key=lambda name: known[name]) if tested else ""
    return (
        Section(
            "A smaller network",
            f"""The sum before the MLP is projected onto few directions, those along which it varies
            and which the logit difference feels. There it is a function of each operand plus few
            products of one function of each operand. Few of the network's neurons read it; their
            read-out is refitted to the network's own logit difference. True labels do not enter,
            and nothing is trained. Every number that the labels depend on is counted; the network
            has {size:,}. The smallest that keeps {smaller_networks.ENOUGH:.2%} of the labels is in
            replacement.npz (its {smaller.best.form.dimensions} directions,
            {smaller.best.form.terms} products and {smaller.best.form.neurons} neurons have
            {smaller.best.numbers:,} numbers).

            Few numbers alone are no evidence of mechanism: at most two thresholds in each row,
            which describe the labels and not the network, are fewer and keep most labels. The
            mistakes are what they do not keep.""",
            png(smaller=partial(draw.smaller, account)),
            [
                table.REPLACEMENT_NUMBERS,
                *table.REPLACEMENT,
                *table.REPLACEMENT_HELDOUT,
                *(metric for kept in table.REPLACEMENT_OTHERS.values() for metric in kept),
                table.ROW_THRESHOLDS_NUMBERS,
                *table.ROW_THRESHOLDS,
            ],
            verdict(held[1] or 0.0, known[strictest]) if tested else None,
            f"{held[1]:.1%} of mistakes, held out; {strictest} {known[strictest]:.1%}"
            if tested
            else "",
            code=_pareto(smaller, keys),
        ),
    )


def _pareto(smaller: Smaller, keys: Sequence[str]) -> str:
    """Write the smaller networks that none as small beats, one a line."""
    rows = ["numbers  directions  products  neurons  labels kept  mistakes kept"]
    for i in smaller_networks.front(smaller.numbers, [kept[keys[0]] for kept in smaller.kept]):
        form, kept = smaller.forms[i], smaller.kept[i]
        mistakes = f"{kept[keys[1]]:13.1%}" if keys[1] in kept else f"{'-':>13}"
        rows.append(
            f"{smaller.numbers[i]:7,}  {form.dimensions:10}  {form.terms:8}  {form.neurons:7}  "
            f"{kept[keys[0]]:11.2%}  {mistakes}"
        )
    return "\n".join(rows)


def _classes(account: Account) -> Section:
    found = [one for one in account.classes.values() if one.found]
    shown = found or [max(account.classes.values(), key=lambda one: one.score)]
    reason = "; ".join(
        f"{one.best}: R2 {one.score:.2f}, the next {one.next_score:.2f}, permuted classes "
        f"{one.permuted_score:.2f}"
        for one in shown
    )
    return Section(
        "Classes of values, read off the weights",
        f"""What a value of x adds to the residual stream, on average over the other operands, is
        fitted by a cubic of x plus an offset for each class of int(x ** e) % m, for
        {len(CANDIDATES)} pairs of e and m. R2 is the share of what the cubic leaves that is
        predicted for a value left out of the fit. The control permutes the best classes
        {PERMUTATIONS} times; classes are found if they beat each by {MARGIN}, and explain some
        three per cent of all that the operand adds. Likewise for the other operands. Neither
        labels nor a program enter.""",
        png(classes=partial(draw.classes, account)),
        [metric for o in account.classes for metric in (kind[o] for kind in table.CLASS_METRICS)],
        HOLDS if found else NOT_SHOWN,
        reason,
    )

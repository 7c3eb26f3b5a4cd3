"""The sections of a report that say what a network on images computes, whatever its program."""

from collections.abc import Sequence
from functools import partial

from jaxmi.challenges.challenge import Challenge
from jaxmi.explanation.verdicts import verdict
from jaxmi.mechanism import image_metrics as table
from jaxmi.mechanism.boundary import ENOUGH, Edge, Rule
from jaxmi.mechanism.image_account import ImageAccount, Reading
from jaxmi.report import image_figures as draw
from jaxmi.report.mechanism_figures import few_neurons
from jaxmi.report.mechanism_page import (
    about_neurons,
    few_count,
    mistakes_section,
    neurons_section,
)
from jaxmi.report.page import Section, png

NOT_IN_SCORES = """How the convolutions weigh the pixels. That a neuron reads a weighted sum of
pixels is a fit to what it takes on these images.

Why the network errs where its rule does not. The rule on the scores gives most labels, but fewer
of the mistakes than the neurons do: what bends the boundary is in the neurons and not in the
rule.

Which function of the pixels a score is. A distance to an image and a weighted sum of pixels, such
as the similarity to it, are nearly the same on images like these."""


def image_summary(account: ImageAccount, challenge: Challenge) -> str:
    """Return the paragraph that opens the report: what the network does, and how sure that is."""
    metrics = account.metrics
    neurons = challenge.model_config["neurons"]
    dead = metrics[table.DEAD.key]
    sentences = [
        f"This network's label is the sign of a weighted sum of {neurons} hidden neurons"
        + (f", {dead} of which are active on no image." if dead else ".")
    ]
    reading = account.reading
    if reading is None:
        sentences.append("It has no boundary between labels on these images.")
    else:
        sentences += [_about_scores(account, reading), _about_rule(account, reading)]
        sentences.append(_about_exchange(account, reading))
    sentences.append(about_neurons(metrics, account.answers, few_count(metrics)))
    return " ".join(sentence for sentence in sentences if sentence)


def image_sections(account: ImageAccount) -> tuple[Section, ...]:
    """Return the evidence, with its figures and verdicts."""
    reading, metrics = account.reading, account.metrics
    of_scores = ()
    if reading is not None:
        of_scores = (
            _scores(account, reading),
            _rule(account, reading),
            _exchange(account, reading),
            _followers(account, reading),
        )
    return (
        *of_scores,
        neurons_section(metrics, png(few_neurons=partial(few_neurons, metrics))),
        *mistakes_section(metrics, table.NEAREST, "the label of the nearest fitted image"),
    )


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}s" if count != 1 else f"one {noun}"


def _about_scores(account: ImageAccount, reading: Reading) -> str:
    metrics, count = account.metrics, len(reading.scores.directions)
    random = table.SCORES_OTHERS["random"].agreement
    text = (
        f"Its boundary hangs on {_plural(count, 'score')} of the image, "
        f"{'a weighted sum' if count == 1 else 'weighted sums'} of its pixels: if the neurons "
        f"read nothing else, {table.SCORES_ONLY.agreement.format(metrics)} of its labels stay "
        f"({'a random sum' if count == 1 else 'as many random sums'}: {random.format(metrics)})."
    )
    if not reading.scores.enough:
        text = (
            f"Its boundary hangs on more than {count} scores of the image, weighted sums of its "
            f"pixels; if the neurons read {count} only, "
            f"{table.SCORES_ONLY.agreement.format(metrics)} of its labels stay (as many random "
            f"sums: {random.format(metrics)})."
        )
    images = [
        f"{'It' if count == 1 else f'Score {i + 1}'} is most like the similarity to training "
        f"image {image} (correlation {metrics[table.IMAGE_CORRELATION[i + 1].key]:.2f})."
        for i, image in enumerate(reading.images)
    ]
    return " ".join([text, *images])


def _about_rule(account: ImageAccount, reading: Reading) -> str:
    metrics = account.metrics
    text = (
        f'The rule "{rule_in_words(reading.rule)}" gives {table.RULE.agreement.format(metrics)} '
        "of its labels on images that it was not fitted to"
    )
    if table.RULE.mistakes.key in metrics:
        text += f", and {table.RULE.mistakes.format(metrics)} of its mistakes"
    return f"{text}."


def _about_exchange(account: ImageAccount, reading: Reading) -> str:
    worst, control = _worst_exchange(account, reading)
    if worst is None or control is None:
        return ""
    return (
        "If a score is taken from another image in all that the neurons read, the label is what "
        f"the rule says in {'' if len(reading.images) == 1 else 'at least '}{worst:.1%} of the "
        f"cases (a random direction in its place: {control:.1%}; chance is 50%)."
    )


def _worst_exchange(account: ImageAccount, reading: Reading) -> tuple[float | None, float | None]:
    """Return the least that any score's exchange gives, and the most of its controls."""
    metrics, scores = account.metrics, range(1, len(reading.scores.directions) + 1)
    own, random = (
        [metrics[by[i].key] for i in scores if by[i].key in metrics]
        for by in (table.SCORE_INTERCHANGE, table.SCORE_INTERCHANGE_RANDOM)
    )
    return min(own, default=None), max(random, default=None)


def _cause(cause: Sequence[Edge], edges: Sequence[Edge]) -> str:
    """Say where the images lie that lie beyond each of some edges."""
    words: dict[int, str] = {}
    for edge in cause:
        between = edge.score in words  # above its lower edge and below its upper one
        text = _side(edge, edges, "is ")
        words[edge.score] = f"{text.rpartition(' ')[0]} medium" if between else text
    return " and ".join(words.values())


def _side(edge: Edge, edges: Sequence[Edge], verb: str = "") -> str:
    """Say on which side of an edge an image lies that lies beyond it."""
    several = any(one.score for one in edges)
    name = f"score {edge.score + 1}" if several else "the score"
    return f"{name} {verb}{'high' if edge.towards > 0 else 'low'}"


def rule_in_words(rule: Rule) -> str:
    """Write a rule as a sentence, such as "label 1 where score 1 is high, else 0"."""
    causes = rule.causes
    if causes is None:
        return "the label depends on the sides as tabulated"
    if not causes:
        return "label 0 everywhere"
    if causes == [()]:
        return "label 1 everywhere"
    written = [_cause(cause, rule.edges) for cause in causes]
    return f"label 1 where {', or '.join(written)}; else 0"


def _edges_in_words(edges: Sequence[Edge]) -> str:
    lines = [
        f"{_side(edge, edges)}: {'above' if edge.towards > 0 else 'below'} {edge.threshold:.2f}"
        for edge in edges
    ]
    return "\n".join(lines)


def _table_in_words(rule: Rule) -> str:
    """Write the rule and its cases, one a line."""
    lines = [rule_in_words(rule), "", _edges_in_words(rule.edges), "", "images  label  case"]
    for case, (label, share) in enumerate(zip(rule.table, rule.shares, strict=True)):
        if share:
            names = [
                _side(edge, rule.edges) for i, edge in enumerate(rule.edges) if case & (1 << i)
            ]
            lines.append(f"{share:6.1%}  {int(label):5}  {', '.join(names) or 'none of these'}")
    return "\n".join(lines)


def _scores(account: ImageAccount, reading: Reading) -> Section:
    metrics, count = account.metrics, len(reading.scores.directions)
    controls = {
        kept.agreement.label.split(":")[0]
        .removeprefix("neurons read ")
        .removesuffix(" only"): metrics.get(kept.agreement.key)
        for name, kept in table.SCORES_OTHERS.items()
        if name != "other_seed"  # it has learned the same program
    }
    known = {name: value for name, value in controls.items() if value is not None}
    strictest = max(known, key=lambda name: known[name])
    value = metrics[table.SCORES_ONLY.agreement.key]
    beside = [
        f"Score {i + 1} is the program's {name} (squared correlation "
        f"{metrics[table.PROGRAM[i + 1].key]:.2f})."
        for i, name in account.conditions.items()
    ]
    numbers = range(1, count + 1)
    return Section(
        f"The neurons read {_plural(count, 'score')}",
        f"""What each neuron's ReLU takes is close to a weighted sum of the pixels. So the logit
        difference has a gradient, which at the images nearest to the boundary is normal to it.
        These normals, in units in which images vary alike in all directions, lie along few lines.
        The fewest lines that carry {ENOUGH:.0%} of them are the scores. Then each neuron is made to
        read the scores only: the rest of what it takes is set to its mean. Fitted on one half of
        {len(account.rows):,} images, judged on the other. No program and no true label enters.

        That the normals lie along few lines is no evidence by itself: an untrained network's do,
        too, along others. The pictures show how each pixel varies with a score, and the image whose
        similarities to all images correlate best with it. {" ".join(beside)}""",
        png(scores=partial(draw.scores, account, reading)),
        [
            table.SCORES,
            *table.NORMALS.values(),
            *table.LINEAR,
            *table.SCORES_ONLY,
            *(metric for kept in table.SCORES_OTHERS.values() for metric in kept),
            *(by[i] for i in numbers for by in (table.IMAGE, table.IMAGE_CORRELATION)),
            *((table.PROGRAM[i] for i in numbers) if account.conditions else ()),
        ],
        verdict(value, known[strictest]),
        f"{value:.1%} of labels, held out; {strictest} {known[strictest]:.1%}",
    )


def _rule(account: ImageAccount, reading: Reading) -> Section:
    metrics = account.metrics
    value = metrics[table.RULE.agreement.key]
    controls = {
        "the same on random directions": metrics[table.RULE_RANDOM.agreement.key],
        "the label of the nearest fitted image": metrics[table.NEAREST.agreement.key],
    }
    strictest = max(controls, key=lambda name: controls[name])
    return Section(
        "The label is a rule on the scores",
        f"""An edge is where on a score the boundary lies: the median score of the images nearest to
        it whose normals face one side. In each case of lying beyond the edges or not, the label
        that the network gives more often is the rule's. A score has a standard deviation of 1.
        {_mistakes_in_words(account)}""",
        png(labels=partial(draw.labels, account, reading)),
        [table.EDGES, *table.RULE, *table.RULE_RANDOM, *table.NEAREST],
        verdict(value, controls[strictest]),
        f"{value:.1%} of labels, held out; {strictest} {controls[strictest]:.1%}",
        _table_in_words(reading.rule),
    )


def _mistakes_in_words(account: ImageAccount) -> str:
    if table.RULE.mistakes.key not in account.metrics:
        return ""
    return (
        f"Of the network's mistakes the rule gives {table.RULE.mistakes.format(account.metrics)}; "
        "one half is chance."
    )


def _exchange(account: ImageAccount, reading: Reading) -> Section:
    worst, control = _worst_exchange(account, reading)
    numbers = range(1, len(reading.scores.directions) + 1)
    found, reason = None, ""
    if worst is not None and control is not None:
        found = verdict(worst, control)
        reason = f"{worst:.1%} as the rule says; a random direction {control:.1%}"
    return Section(
        "Exchanging a score changes the label as the rule says",
        """An interchange intervention before the ReLU: the part of every neuron's input that is one
        score is replaced by what another image has there, and the other scores stay. The rule says
        which label should follow. Images where it should change and where it should stay count one
        half each, so what changes nothing scores 50 %. The control exchanges a random direction.
        """,
        {},
        [table.SCORE_INTERCHANGE[i] for i in numbers],
        found,
        reason,
    )


def _followers(account: ImageAccount, reading: Reading) -> Section:
    metrics = account.metrics
    count = len(reading.scores.directions)
    value = metrics[table.SCRUB.key]
    known = {
        control.label.split(", ", 1)[1]: metrics[control.key]
        for control in table.SCRUB_CONTROLS.values()
        if control.key in metrics
    }
    strictest = max(known, key=lambda name: known[name])
    groups = (
        """With one score one donor serves all neurons, so no groups are told apart; the control is
        another feature."""
        if count == 1
        else ""
    )
    edges = range(1, min(len(reading.rule.edges), table.MAX_EDGES) + 1)
    return Section(
        "Each score has its neurons",
        f"""A neuron follows the score nearest to what it reads. A neuron's reading is its own score
        to {metrics[table.READ_ONE.key]:.0%}, and any of the scores to
        {metrics[table.READ_ALL.key]:.0%}, weighted by what it adds to the logits. In the scrub each
        score's neurons take their activations from an image of nearly the same score, for each
        score another image. It fails as far as neurons mix scores. {groups}

        An edge's neurons are those of its score; if the score has a lower and an upper edge, those
        that fall and those that rise with it. They are taken from another image, and the label is
        compared with what the rule says if that edge alone changes.""",
        png(followers=partial(draw.followers, account, reading)),
        [
            table.DEAD,
            *(table.NEURONS[i] for i in range(1, count + 1)),
            table.READ_ONE,
            table.READ_ALL,
            table.SCRUB,
            *table.SCRUB_CONTROLS.values(),
            *(by[i] for i in edges for by in (table.EDGE_NEURONS, table.EDGE_INTERCHANGE)),
        ],
        verdict(value, known[strictest]),
        f"{value:.1%} kept; {strictest} {known[strictest]:.1%}",
    )

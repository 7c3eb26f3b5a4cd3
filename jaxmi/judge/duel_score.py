"""The result of a duel of two explanations: what each keeps, at what fineness, and who is right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import t

from jaxmi import notebook
from jaxmi.explanation.verdicts import MARGIN
from jaxmi.judge.explanation_score import LEAST, ExplanationScore

LEVEL = 0.95
"""Probability with which an interval covers."""

BOTH, OWNER, OTHER, NEITHER = "both", "owner", "other", "neither"
"""Classes of exchanges of an explanation's components: by whom they are permitted."""

CLASSES = (BOTH, OWNER, OTHER, NEITHER)

PERMUTED, SIMILAR = "permuted", "similar"
"""Controls, in the other explanation's place: its own features, permuted among the inputs, and a
partition into similar inputs, of equal granularity or finer by under a bit."""

CONTROLS = (PERMUTED, SIMILAR)

NO_DISAGREEMENT, NOT_SHOWN = "no disagreement", "not shown"

RULE = (
    "Exchanges that only one explanation, the owner of the components, permits decide. The other "
    f"is right if they keep at least {100 * MARGIN:.0f} points fewer labels than exchanges of the "
    "same components of the same inputs that both permit, beyond what the better control in the "
    "other's place loses, and the interval is above 0. The owner is right if the interval of that "
    f"loss is below {100 * MARGIN:.0f} points and they keep at least {100 * MARGIN:.0f} points "
    "more labels than exchanges that neither permits, with an interval above 0. not shown: "
    f"anything else. no disagreement: fewer than {LEAST:.0%} of the inputs have such an exchange."
)
"""The rule from which verdicts follow, for people who read the score."""


class Estimate(NamedTuple):
    """A mean over draws of donors, with its 95 % interval (Student, 1908)."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return the estimate as JSON types."""
        return self._asdict()

    def points(self) -> str:
        """Return the estimate in points, with its interval."""
        return f"{100 * self.value:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"

    def percent(self) -> str:
        """Return the estimate in percent, with its interval."""
        return f"{100 * self.value:.1f}% [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def estimate(draws: Sequence[float] | np.ndarray) -> Estimate:
    """Return the mean over draws, at least two, and its interval."""
    values = np.asarray(draws, np.float64)
    mean, n = float(values.mean()), len(values)
    half = float(t.ppf((1 + LEVEL) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return Estimate(mean, mean - half, mean + half)


def _json(found: Estimate | None) -> dict[str, float] | None:
    return None if found is None else found.to_json()


@dataclass(frozen=True)
class Side:
    """One explanation in a duel. Shares are in 0..1, per draw of donors where they are (draws,)."""

    name: str
    """The name of its file."""
    score: ExplanationScore
    """The judge's score of it alone."""
    bits: float
    """Mean information about an input in all its features together."""
    kept: np.ndarray
    """Labels kept, of all inputs, with the rest as it is; (draws,)."""
    kept_rest: np.ndarray
    """The same with everything else at its sites resampled."""
    constant: np.ndarray
    """Control: labels kept if no feature matters in its components."""
    constant_rest: np.ndarray
    """The same with everything else resampled."""
    similar: np.ndarray
    """Control: labels kept with one partition into similar inputs in place of every feature, with
    as many bits as these have together, or more by under one."""
    similar_rest: np.ndarray
    """The same with everything else resampled."""
    similar_bits: float
    """Bits of that partition."""

    def gain(self, rest: bool = False) -> np.ndarray:
        """Return the labels that the features keep beyond a constant feature, (draws,)."""
        return self.kept_rest - self.constant_rest if rest else self.kept - self.constant

    def per_bit(self, rest: bool = False) -> Estimate | None:
        """Return the gain per bit of feature; None of constant features, which have no bit."""
        return estimate(self.gain(rest) / self.bits) if self.bits > 0 else None

    def similar_per_bit(self, rest: bool = False) -> Estimate | None:
        """Return the same of the control of similar inputs."""
        if self.similar_bits <= 0:
            return None
        kept, constant = (
            (self.similar_rest, self.constant_rest) if rest else (self.similar, self.constant)
        )
        return estimate((kept - constant) / self.similar_bits)

    def metrics(self) -> dict[str, Any]:
        """Return everything as JSON types; `..._rest` is with everything else resampled."""
        metrics: dict[str, Any] = {"submission": self.name, "title": self.score.title}
        metrics |= {"grade": self.score.grade, "bits": self.bits}
        for rest, ending in ((False, ""), (True, "_rest")):
            metrics[f"kept{ending}"] = estimate(self.kept_rest if rest else self.kept).to_json()
            metrics[f"gain{ending}"] = estimate(self.gain(rest)).to_json()
            metrics[f"gain_per_bit{ending}"] = _json(self.per_bit(rest))
            metrics[f"similar_per_bit{ending}"] = _json(self.similar_per_bit(rest))
        metrics["similar_bits"] = self.similar_bits
        return {**metrics, "score": self.score.metrics()}


class Cell(NamedTuple):
    """Exchanges of one class, over all draws."""

    exchanged: int
    """Number of inputs that had a donor of the class, over all draws."""
    kept: int
    """Number of these that kept their label."""
    share: Estimate | None
    """Share of these that kept their label; None if a draw had no such input."""

    def to_json(self) -> dict[str, Any]:
        """Return the cell as JSON types."""
        return {"exchanged": self.exchanged, "kept": self.kept, "share": _json(self.share)}


class Example(NamedTuple):
    """An exchange that only one explanation permits, and what came of it."""

    input: str
    donors: Mapping[str, str]
    """Component, such as `claims[2]` -> the donor that it came from."""
    kept: bool
    """True if the label stayed."""


@dataclass(frozen=True)
class Interventions:
    """Exchanges of one explanation's components, by who permits them."""

    owner: str
    """The explanation whose components are exchanged."""
    other: str
    inputs: int
    """Number of inputs on which exchanges were tried, over all draws."""
    cells: Mapping[str, Cell]
    """Class of exchanges -> what came of them; each class over the inputs that have a donor."""
    matched: int
    """Number of inputs, over all draws, with donors of the classes `BOTH` and `OWNER` for the same
    components."""
    loss: Estimate | None
    """Labels kept if both permit, less those kept if only the owner does: the same components of
    the same inputs. None if a draw had no such input."""
    control_losses: Mapping[str, Estimate | None]
    """Control -> the same loss with the control in the other explanation's place."""
    excess: Estimate | None
    """The loss beyond the largest loss of a control, or beyond 0; paired by draw."""
    rise: Estimate | None
    """Labels kept if only the owner permits, less those kept if neither does."""
    lead: Estimate | None
    """Labels kept if only the owner permits, less those kept if only the other does. It compares
    explanations of about as many bits: what a finer one permits is harmless."""
    examples: Sequence[Example]

    @property
    def right(self) -> str:
        """Who is right where only the owner permits: a name, or why nobody is shown to be."""
        if self.cells[OWNER].exchanged < LEAST * self.inputs:
            return NO_DISAGREEMENT
        if self.excess is None or self.rise is None:
            return NOT_SHOWN
        if self.excess.low >= 0 and self.excess.value >= MARGIN:
            return self.other
        if self.excess.high < MARGIN and self.rise.low > 0 and self.rise.value >= MARGIN:
            return self.owner
        return NOT_SHOWN

    @property
    def verdict(self) -> str:
        """Who is right, with the counts, in a line."""
        cell = self.cells[OWNER]
        where = f"where only {self.owner} permits the exchange"
        if self.right == NO_DISAGREEMENT:
            return f"{where}: {NO_DISAGREEMENT}"
        counts = f"labels stay in {cell.kept:,} of {cell.exchanged:,}"
        if self.excess is None or self.rise is None:
            return f"{where}, {counts}: {NOT_SHOWN}, too few exchanges to compare with"
        right = self.right if self.right == NOT_SHOWN else f"{self.right} is right"
        return (
            f"{where}, {counts}: {right} (loss against exchanges that both permit "
            f"{self.excess.points()} points beyond controls, above exchanges that neither permits "
            f"{self.rise.points()})"
        )

    def metrics(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        return {
            "components_of": self.owner,
            "other": self.other,
            "inputs": self.inputs,
            **{f"permitted_by_{name}": cell.to_json() for name, cell in self.cells.items()},
            "matched": self.matched,
            "loss": _json(self.loss),
            **{f"loss_{name}": _json(found) for name, found in self.control_losses.items()},
            "excess": _json(self.excess),
            "rise": _json(self.rise),
            "lead": _json(self.lead),
            "right": self.right,
            "verdict": self.verdict,
            "examples": [
                {"input": one.input, "donors": dict(one.donors), "kept": one.kept}
                for one in self.examples
            ],
        }


@dataclass(frozen=True, repr=False)
class Duel:
    """Two explanations of one network, on the same inputs and the same draws."""

    challenge: str
    inputs: int
    """Number of inputs on which both were scored."""
    draws: int
    """Number of draws of donors of every trial of exchanges."""
    sides: tuple[Side, Side]
    interventions: tuple[Interventions, Interventions]
    """Exchanges of the first explanation's components, then of the second's."""

    @property
    def difference(self) -> Estimate:
        """Labels kept by the first, less those kept by the second; paired by draw."""
        one, other = self.sides
        return estimate(one.kept - other.kept)

    @property
    def difference_per_bit(self) -> Estimate | None:
        """Gain per bit of the first, less that of the second; None if one has no bit."""
        one, other = self.sides
        if one.bits <= 0 or other.bits <= 0:
            return None
        return estimate(one.gain() / one.bits - other.gain() / other.bits)

    @property
    def verdict(self) -> str:
        """Lines that say what each keeps, who keeps more, and who is right where they disagree."""
        one, other = self.sides
        kept = " and ".join(
            f"{side.name} keeps {side.kept.mean():.1%} of labels with {side.bits:.1f} bits"
            for side in self.sides
        )
        parts = [kept]
        for what, found, unit in (
            ("labels", self.difference, "points"),
            ("labels per bit of feature", self.difference_per_bit, "points per bit"),
        ):
            if found is None:
                parts.append(f"{what}: not compared, since one has no bit")
            elif found.low > 0 or found.high < 0:
                more = one if found.value > 0 else other
                parts.append(f"{more.name} keeps more {what} ({found.points()} {unit})")
            else:
                parts.append(f"a tie in {what} ({found.points()} {unit})")
        return "; ".join([*parts, *(side.verdict for side in self.interventions)])

    def __repr__(self) -> str:
        """Return the verdict."""
        return f"Duel({self.verdict!r})"

    def _repr_html_(self) -> str:
        _, *rows = self.rows()
        cells = {name: " / ".join(columns) for name, *columns in rows}
        _, *exchanges = self.exchange_rows()
        return notebook.table(self.verdict, cells) + notebook.table(
            RULE, {name: " / ".join(columns) for name, *columns in exchanges}
        )

    def metrics(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        return {
            "challenge": self.challenge,
            "inputs": self.inputs,
            "draws": self.draws,
            "explanations": [side.metrics() for side in self.sides],
            "kept_difference": self.difference.to_json(),
            "gain_per_bit_difference": _json(self.difference_per_bit),
            "interventions": [side.metrics() for side in self.interventions],
            "verdict": self.verdict,
            "rule": RULE,
        }

    def rows(self) -> list[tuple[str, str, str]]:
        """Return a table to print: name, then a column per explanation."""
        names = tuple(side.name for side in self.sides)

        def row(name: str, *cells: str) -> tuple[str, str, str]:
            one, other = cells
            return name, one, other

        def shown(found: Estimate | None) -> str:
            return "" if found is None else found.points()

        rows = [row("", *names), row("grade", *(side.score.grade for side in self.sides))]
        rows.append(row("bits of feature", *(f"{side.bits:.2f}" for side in self.sides)))
        for rest, ending in ((False, ""), (True, ", rest resampled")):
            kept = [estimate(side.kept_rest if rest else side.kept) for side in self.sides]
            rows.append(row(f"labels kept{ending}", *(found.percent() for found in kept)))
            gains = [estimate(side.gain(rest)) for side in self.sides]
            rows.append(row(f"  above a constant feature{ending}", *map(shown, gains)))
            per_bit = [side.per_bit(rest) for side in self.sides]
            rows.append(row(f"  per bit{ending}", *map(shown, per_bit)))
            similar = [side.similar_per_bit(rest) for side in self.sides]
            rows.append(row(f"  control: similar inputs, per bit{ending}", *map(shown, similar)))
        return rows

    def exchange_rows(self) -> list[tuple[str, str, str]]:
        """Return a table to print: who permits, then a column per explanation's components."""

        def cells(name: str) -> list[str]:
            found = [side.cells[name] for side in self.interventions]
            return [
                f"{one.kept:,} of {one.exchanged:,}"
                + ("" if one.share is None else f": {one.share.percent()}")
                for one in found
            ]

        def estimates(found: Sequence[Estimate | None]) -> list[str]:
            return ["" if one is None else one.points() for one in found]

        sides = self.interventions
        columns = [
            ("labels kept if exchanged", [f"components of {side.owner}" for side in sides]),
            ("both permit", cells(BOTH)),
            ("only the owner permits", cells(OWNER)),
            ("only the other permits", cells(OTHER)),
            ("neither permits", cells(NEITHER)),
            ("loss: both - only the owner", estimates([side.loss for side in sides])),
            *(
                (f"  control: {words}", estimates([side.control_losses[name] for side in sides]))
                for name, words in (
                    (PERMUTED, "the other's features permuted"),
                    (SIMILAR, "similar inputs"),
                )
            ),
            ("loss beyond controls", estimates([side.excess for side in sides])),
            ("rise: only the owner - neither", estimates([side.rise for side in sides])),
            ("lead: only the owner - only the other", estimates([side.lead for side in sides])),
            ("right where only the owner permits", [side.right for side in sides]),
        ]
        return [(name, one, other) for name, (one, other) in columns]

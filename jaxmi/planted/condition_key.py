"""The key of a program that was planted as conditions: what holds each of its variables."""

from collections.abc import Sequence

import numpy as np

from jaxmi.planted.accumulation import Table
from jaxmi.planted.conditions import Held, Part, Planting
from jaxmi.planted.key import Entry, Place, after_mlp, before_mlp, neurons_of
from jaxmi.planted.network import OUT, Planted
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.language import Expression, Program, walk
from jaxmi.programs.show import show_expression
from jaxmi.programs.variables import Named, named_parts


def entries_of(planting: Planting, program: Program) -> list[Entry]:
    """Return what holds each variable of a program.

    Args:
      planting: What `plant_program` returned.
      program: The program.
    """
    key = _KeyOf(planting)
    entries = [key.entry(one) for one in named_parts(program, PairDomain(planting.network.p))]
    return [*entries, *key.unnamed(entries), *key.sum()]


class _KeyOf:
    """Say what holds each variable of a planted program."""

    def __init__(self, planting: Planting) -> None:
        self._planting, self._read = planting, planting.read
        self._network = planting.network

    def entry(self, one: Named) -> Entry:
        """Return what holds a variable of the program."""
        if one.role == "partial sum":
            return self._sum_so_far(one)
        for part in self._planting.parts:
            if part.gate and one.at == part.summand.at and one.expression in part.gate.comparisons:
                return self._comparison(one, part)
        values = one.values.reshape(self._network.p, self._network.p)
        holders = [
            held
            for held in self._planting.held.values()
            if held.form != "folded" and _contains(held.expression, one.expression)
        ]
        for held in holders:
            if (relation := _relation(values, held)) is not None:
                return self._held(one.name, one.role, held, one.expression, len(holders), *relation)
        words = self._why_not(one, holders)
        return Entry(one.name, one.role, "not held", words)

    def _why_not(self, one: Named, holders: Sequence[Held]) -> str:
        if holders:
            name = show_expression(holders[0].expression)
            return f"part of `{name}`, which is held as a whole"
        for part in self._planting.parts:
            if any(_contains(test, one.expression) for test in _tests(part)):
                if part.held is None:
                    return "constant"
                return f"folded into `{show_expression(part.summand.expression)}`"
        return "one block adds everything at once"

    def _held(
        self,
        name: str,
        role: str,
        held: Held,
        expression: Expression | None,
        n_holders: int = 1,
        factor: float = 1.0,
        shift: float = 0.0,
    ) -> Entry:
        """Return the entry of a variable that is `factor` times what is held, plus `shift`."""
        network, words = self._network, held.words
        if held.form == "number":
            words = _holds(shift)
        full, lacks = True, ""
        first = min(i for i, part in enumerate(self._planting.parts) if self._uses(part, held))
        if self._is_folded_after(first, expression):
            full, lacks = False, "; what is folded after it does not follow it"
        if n_holders > 1:
            full, lacks = False, "; it is held again for another part of the program"
        number = held.form == "number"
        also = [
            Place(
                "number" if held.form == "steps" else "truth",
                after_mlp(held.block),
                _unit(network, held.outputs),
                factor,
                shift,
                full and not held.copied,
            )
        ]
        return Entry(
            name,
            role,
            held.form,
            words + lacks,
            before_mlp(held.block),
            directions=_unit(network, held.dims),
            factor=factor if number else 1,
            shift=shift if number else 0,
            neurons={neuron: factor * one for neuron, one in held.neurons.items()},
            offset=factor * held.offset + shift,
            neurons_at=neurons_of(held.block),
            full=full,
            heads=sorted({head for dim in held.dims for head in network.heads_writing(dim)}),
            also=also if held.outputs else (),
        )

    def _uses(self, part: Part, held: Held) -> bool:
        return part.held is held or (
            part.gate is not None and held.expression in part.gate.conditions
        )

    def _is_folded_after(self, first: int, expression: Expression | None) -> bool:
        """Return whether setting a variable lacks the effect through a folded part.

        Args:
          first: The first part that depends on it.
          expression: The variable's; None of a sum so far.
        """
        return any(
            part.is_folded
            and (
                i > first
                or (
                    expression is not None
                    and any(_contains(test, expression) for test in _tests(part))
                )
            )
            for i, part in enumerate(self._planting.parts)
        )

    def _gate(self, name: str, role: str, part: Part, index: int) -> Entry:
        """Return the entry of a test that neurons of a later block compute."""
        held, network = part.held, self._network
        assert held is not None
        full = not self._is_folded_after(index, None)
        words = held.words if full else held.words + "; what is folded after it does not follow it"
        output = Place(
            "truth",
            after_mlp(held.block),
            _unit(network, held.outputs),
            full=full and not held.copied,
        )
        # Where a copy of the sum has it as well, only the neurons have its whole effect.
        alone = not held.copied
        return Entry(
            name,
            role,
            "gate",
            words,
            output.site,
            directions=output.directions if alone else None,
            neurons=held.neurons,
            offset=held.offset,
            neurons_at=neurons_of(held.block),
            full=full,
            also=() if alone else (output,),
        )

    def _comparison(self, one: Named, part: Part) -> Entry:
        """Return the entry of a test of the sum so far: a boundary in the copy of the sum."""
        copy = self._planting.copies.get(part.summand.at)
        index = self._planting.parts.index(part)
        gate = show_expression(part.summand.expression)
        if copy is None:
            return Entry(one.name, one.role, "not held", f"`{gate}` does not depend on it")
        if copy.only != one.expression:
            words = f"`{gate}` compares the sum so far with several numbers at once"
            return Entry(one.name, one.role, "not held", words)
        full = not self._is_folded_after(index, one.expression)
        words = "holds where the direction's number is at least 0: a copy of the sum, to compare"
        held = part.held
        assert held is not None and part.gate is not None
        is_all = not part.gate.conditions and len(part.summand.tests) == 1
        is_same = is_all and np.array_equal(held.values.reshape(-1), one.values)
        return Entry(
            one.name,
            one.role,
            "boundary",
            words if full else words + "; what is folded after it does not follow it",
            before_mlp(copy.block),
            directions=_unit(self._network, [copy.dim]),
            neurons=held.neurons if is_same else None,
            offset=held.offset if is_same else 0,
            neurons_at=neurons_of(copy.block),
            full=full,
        )

    def _sum_so_far(self, one: Named) -> Entry:
        """Return the entry of the sum before a statement: the copy, and the sum itself."""
        planting = self._planting
        copy = planting.copies.get(-1 if one.at is None else one.at)
        if copy is None or one.at is None:
            words = "one block adds everything at once"
            for part in planting.parts:
                if part.is_folded and part.summand.at == one.at and planting.is_deep:
                    words = f"folded into `{show_expression(part.summand.expression)}`"
            return Entry(one.name, one.role, "not held", words)
        terms = {part.dim: part.weight for part in planting.parts if part.summand.at < one.at}
        terms.pop(OUT, None)
        if not terms:
            return Entry(one.name, one.role, "not held", "constant")
        direction, factor = self._weighted(terms)
        first = next(i for i, part in enumerate(planting.parts) if part.summand.at == one.at)
        full = not self._is_folded_after(first - 1, None)
        shift = planting.sum_before(one.at)
        words = f"{_holds(shift, factor)}; the second holds the copy that is compared"
        return Entry(
            one.name,
            one.role,
            "number",
            words if full else words + "; what is folded after it does not follow it",
            before_mlp(copy.block),
            directions=np.stack([direction, _unit(self._network, [copy.dim])[0]]),
            factor=factor,
            shift=shift,
            neurons_at=neurons_of(copy.block),
            full=full,
        )

    def _weighted(self, terms: dict[int, int | float]) -> tuple[np.ndarray, float]:
        """Return the direction of a weighted sum of dimensions, and the factor of the sum."""
        vector = np.zeros(self._network.config.d_model)
        vector[list(terms)] = list(terms.values())
        length = float(np.linalg.norm(vector))
        return vector / length, length

    def unnamed(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return entries of conditions that are no variable: joined, folded, returned."""
        known = {entry.name for entry in entries if entry.held}
        found = []
        for i, part in enumerate(self._planting.parts):
            name = show_expression(part.summand.expression)
            name = f"elif {name}" if len(part.summand.tests) > 1 else name
            if part.held is None or not part.summand.is_condition or name in known:
                continue
            known.add(name)
            found.append(
                self._gate(name, "condition", part, i)
                if part.gate
                else self._held(
                    name,
                    "condition",
                    part.held,
                    None if part.is_folded else part.summand.expression,
                )
            )
        return found

    def sum(self) -> list[Entry]:
        """Return the entry of the whole sum."""
        read, network = self._read, self._network
        if read.name is None:
            return []
        block = network.config.n_layers - 1
        if not self._planting.is_deep:
            direction, factor, shift = _unit(network, [OUT])[0], 1.0, read.threshold
        else:
            terms = {dim: weight for dim, weight in network.readout.items() if dim != OUT}
            if not terms:
                return [Entry(read.name, "sum", "not held", "constant")]
            direction, factor = self._weighted(terms)
            shift = read.const + self._planting.const
        return [
            Entry(
                read.name,
                "sum",
                "number",
                _holds(shift, factor),
                after_mlp(block),
                directions=direction[None],
                factor=factor,
                shift=shift,
                neurons_at=neurons_of(block),
            )
        ]


def _tests(part: Part) -> tuple[Expression, ...]:
    return part.summand.tests or (part.summand.expression,)


def _contains(expression: Expression, part: Expression) -> bool:
    return any(node == part for node in walk(expression))


def _relation(values: Table, held: Held) -> tuple[float, float] | None:
    """Return factor and shift by which a variable follows from what is held; None if it does not.

    The factor is 1, except that a condition may be multiplied, as in `(x < y) * 3`.
    """
    own = held.values
    low, high = own.argmin(), own.argmax()
    factor = float((values.flat[high] - values.flat[low]) / (own.flat[high] - own.flat[low]))
    shift = float(values.flat[low] - factor * own.flat[low])
    if factor != 1 and (factor <= 0 or held.form not in ("boundary", "interval")):
        return None
    return (factor, shift) if np.array_equal(factor * own + shift, values) else None


def _unit(network: Planted, dims: Sequence[int]) -> np.ndarray:
    return np.eye(network.config.d_model)[list(dims)]


def _holds(shift: int | float, factor: float = 1.0) -> str:
    """Return what a direction holds of a variable, in words."""
    less = f" minus {shift:g}" if shift > 0 else f" plus {-shift:g}" if shift else ""
    return f"the direction holds it{less}" + ("" if factor == 1 else f", divided by {factor:.3g}")

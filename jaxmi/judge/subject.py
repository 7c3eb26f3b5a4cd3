"""A network under test: what its sites hold on some inputs, and how it goes on when they change."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxmi.challenges.challenge import Challenge, ClueSolution
from jaxmi.errors import InputError
from jaxmi.explanation.directions import Pca, pca
from jaxmi.explanation.network import Network
from jaxmi.judge.components import Component, duals
from jaxmi.judge.features import rows_of, values
from jaxmi.judge.submission import Axes, Components, Explanation, Readout, names_in
from jaxmi.programs import language as lang
from jaxmi.types import Params

MAX_NUMBERS = 60_000_000
"""Activations to hold at once, over all inputs; of more, fewer inputs are drawn."""

READ, RESUME = 256, 2048
"""Examples to compute at once: few enough for a CPU's caches; to go on from a site takes less."""


class Subject:
    """A network on a challenge's inputs, as an explanation looks at it."""

    def __init__(
        self,
        explanation: Explanation,
        challenge: Challenge,
        params: Params,
        axes: Mapping[str, Axes],
        rows: Int[np.ndarray, "n"] | None,
    ) -> None:
        """Reads every site that the explanation names, in the network's order."""
        named = {part.site for part in (*explanation.claims, *explanation.readouts.values())}
        self.axes = axes
        self.sites = tuple(site for site in axes if site in named)
        self.claimed = tuple(s for s in self.sites if s in {c.site for c in explanation.claims})
        self.readouts = explanation.readouts
        rows = self._enough(challenge) if rows is None else rows
        self.n = len(rows)
        self.all_bits = float(np.log2(len(challenge.inputs)))
        self.domain = rows_of(challenge, rows)
        self._inputs = challenge.inputs[rows]
        self._network = Network(challenge.model, params, READ)
        self._resumed = Network(challenge.model, params, RESUME)
        self.clean = self._network.read(self._inputs, self.sites)
        self._features: dict[lang.Program, np.ndarray] = {}
        self._basis: dict[tuple[str, tuple[int, ...]], Pca] = {}
        self._moved = {name for claim in explanation.claims for name in claim.components.readouts}

    @cached_property
    def logits(self) -> Float[np.ndarray, "n 2"]:
        """The network's own answers: 0 or 1; no other is ever right."""
        return self.answer({site: self.clean[site] for site in self.claimed})

    def answer(self, patches: Mapping[str, np.ndarray]) -> Float[np.ndarray, "n 2"]:
        """Goes on with these activations at some sites; what they replace is not computed."""
        function = _going_on(tuple(patches), None)
        return self._resumed.over(function, (self._inputs, dict(patches)))[:, :2]

    def read(self, site: str, patches: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns what stands at a site, given activations at others before it."""
        if not patches:
            return self.clean[site]
        return self._network.over(_going_on(tuple(patches), site), (self._inputs, dict(patches)))

    def feature(self, program: lang.Program, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """Computes a feature of every input, given what stands at the sites by now.

        Raises:
          InputError: if it cannot be computed.
        """
        names = names_in(program) & set(self.readouts)
        if names:
            return values(program, self.domain, self._read_out(names, state))
        if program not in self._features:  # it stays what it was
            self._features[program] = values(program, self.domain, {})
        return self._features[program]

    def component(self, site: str, asked: Components) -> Component:
        """Returns what a claim is about, in this network.

        Raises:
          InputError: if readouts are linearly dependent, or there are no such directions.
        """
        axes = tuple(self.axes[site])
        index = tuple(np.array(positions) for positions in asked.index)
        place = tuple(int(positions[0]) for positions in index)
        if asked.pca:
            found = self._pca(site, place).components
            if asked.pca[-1] >= len(found):
                raise InputError(f"{self.n} inputs have no principal component {asked.pca[-1]}")
            rows = found[list(asked.pca)]
            return Component(axes, index, rows, rows.T)
        if not asked.readouts:
            return Component(axes, index)
        # Those that some claim is about: each is exchanged while the others stay.
        there = [
            name
            for name in self.readouts
            if name in self._moved and self._place(name) == (site, place)
        ]
        rows = np.stack([self._weights(self.readouts[name]) for name in there])
        moves = duals(rows, f"the readouts {', '.join(there)}")
        chosen = [there.index(name) for name in asked.readouts]
        return Component(axes, index, rows[chosen], moves[:, chosen])

    def _pca(self, site: str, place: tuple[int, ...]) -> Pca:
        if (site, place) not in self._basis:
            vectors = self.clean[site][(slice(None), *place)]
            if not np.isfinite(vectors).all():
                raise InputError(f"{site} is not finite there: it has no directions")
            self._basis[site, place] = pca(vectors)
        return self._basis[site, place]

    def _read_out(
        self, names: Collection[str], state: Mapping[str, np.ndarray]
    ) -> dict[str, Float[np.ndarray, "n"]]:
        found = {}
        for name in self.readouts:
            if name in names:
                site, place = self._place(name)
                if site not in state:
                    raise InputError(f"the readout {name} is of a later site, {site}")
                vectors = state[site][(slice(None), *place)].astype(np.float64)
                readout = self.readouts[name]
                centre = self._pca(site, place).mean if readout.on_pca else 0.0
                found[name] = (vectors - centre) @ self._weights(readout)
        return found

    def _place(self, name: str) -> tuple[str, tuple[int, ...]]:
        return self.readouts[name].site, self.readouts[name].place

    def _weights(self, readout: Readout) -> Float[np.ndarray, "d"]:
        weights = np.array(readout.weights)
        if not readout.on_pca:
            return weights
        components = self._pca(readout.site, readout.place).components
        if len(weights) > len(components):
            raise InputError(f"{self.n} inputs have only {len(components)} principal components")
        return weights @ components[: len(weights)]

    def _enough(self, challenge: Challenge) -> Int[np.ndarray, "n"]:
        """The inputs that an explanation looks at: as many as memory can hold."""
        solution, n = challenge.solution, len(challenge.inputs)
        if isinstance(solution, ClueSolution):
            n = min(n, solution.images)
        each = sum(int(np.prod(list(self.axes[site].values()))) for site in self.sites)
        if n * each <= MAX_NUMBERS:
            return np.arange(n)
        drawn = np.random.default_rng(0).choice(n, MAX_NUMBERS // each, replace=False)
        return np.sort(drawn)


@cache
def _going_on(patched: Sequence[str], site: str | None) -> Callable[[Network, Any], Any]:
    """From (input, activations by site) to the logits, or to what stands at a site."""

    def run(network: Network, example: Any) -> Any:
        x, patches = example
        edits = {name: lambda _, name=name: patches[name] for name in patched}
        logits, activations = network.run(x, edits)
        return logits if site is None else activations[site]

    return run

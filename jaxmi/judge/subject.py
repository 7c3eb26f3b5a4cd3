"""The network that an explanation is about: its activations, and its logits when they change."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmi.challenges.challenge import Challenge, ClueSolution
from jaxmi.errors import InputError
from jaxmi.explanation.components import Component, dual_directions
from jaxmi.explanation.directions import Pca, pca
from jaxmi.explanation.network import Network
from jaxmi.explanation.scrub import Scrubbed, Source
from jaxmi.judge.features import ImageRows, domain_rows, evaluate_feature
from jaxmi.judge.submission import Axes, Explanation, Readout, SubmittedComponent
from jaxmi.programs import language as lang
from jaxmi.types import Params

MAX_NUMBERS = 60_000_000
"""Limit on the activations held in memory, over all inputs and sites; inputs are subsampled."""

READ_CHUNK, RESUME_CHUNK = 256, 2048
"""Examples to compute at once, for a CPU's caches: to read a site, and to resume from sites."""

UNCHANGED = 1e-5
"""A change of an activation up to this share of the site's largest is one of rounding."""


class Exchange(NamedTuple):
    """A component that some inputs take from donors."""

    site: str
    component: Component
    donors: Int[np.ndarray, "m"]
    """Each input's donor, as a row of all inputs; -1: it keeps its own."""


class Subject:
    """A network on a challenge's inputs, with the sites that an explanation names."""

    def __init__(
        self,
        explanation: Explanation,
        challenge: Challenge,
        params: Params,
        axes: Mapping[str, Axes],
        rows: Int[np.ndarray, "n"] | None,
    ) -> None:
        """Read every site that the explanation names, in the network's order.

        Args:
          explanation: The submission.
          challenge: The challenge whose network it is about.
          params: The network's parameters.
          axes: The network's sites in order, with their axes.
          rows: Inputs to use; None uses as many as memory can hold.
        """
        named = {part.site for part in (*explanation.claims, *explanation.readouts.values())}
        claimed = {claim.site for claim in explanation.claims}
        self.axes = axes
        self.sites = tuple(site for site in axes if site in named)
        self.claimed_sites = tuple(site for site in self.sites if site in claimed)
        self.readouts = explanation.readouts
        rows = self._choose_rows(challenge) if rows is None else rows
        self.rows = rows
        self.n = len(rows)
        self.all_bits = float(np.log2(len(challenge.inputs)))
        self.domain = domain_rows(challenge, rows)
        self._inputs = challenge.inputs[rows]
        self._network = Network(challenge.model, params, READ_CHUNK)
        self._resumed = replace(self._network, chunk=RESUME_CHUNK)
        self.clean = self._network.read(self._inputs, self.sites)
        self._features: dict[lang.Program, np.ndarray] = {}
        self._bases: dict[tuple[str, tuple[int, ...]], Pca] = {}
        self._claimed_readouts = {
            name for claim in explanation.claims for name in claim.component.readouts
        }

    @property
    def activations(self) -> Mapping[str, Source]:
        """The sites for `scrub`: each is computed from the scrubbed sites before it."""
        return {site: partial(self._read, site) for site in self.sites}

    @cached_property
    def logits(self) -> Float[np.ndarray, "n 2"]:
        """The network's own logits of the labels 0 and 1."""
        return self.resume(self.clean)

    def describe(self, row: int) -> str:
        """Return a name for an input: its operands, or the image's number in the challenge."""
        if isinstance(self.domain, ImageRows):
            return self.domain.describe(int(self.rows[row]))
        return self.domain.describe(row)

    def resume(self, scrubbed: Scrubbed) -> Float[np.ndarray, "n 2"]:
        """Return the logits of 0 and 1 that follow from activations at the claimed sites."""
        return self._resumed.patched(self._inputs, self._patches(scrubbed))[:, :2]

    def exchanged(
        self, rows: Int[np.ndarray, "m"], exchanges: Sequence[Exchange]
    ) -> tuple[Float[np.ndarray, "m 2"], Bool[np.ndarray, "m"]]:
        """Run some inputs with components taken from donors' own runs.

        Args:
          rows: The inputs.
          exchanges: What to exchange, at one site in this order.

        Returns:
          The logits of 0 and 1, and which inputs have an activation changed by it.
        """
        inputs, own = self._inputs[rows], np.arange(len(rows))
        patches: dict[str, np.ndarray] = {}
        changed = np.zeros(len(rows), bool)
        for site in self.sites:
            here = [exchange for exchange in exchanges if exchange.site == site]
            if not here:
                continue
            before = (
                self._network.patched(inputs, patches, site) if patches else self.clean[site][rows]
            )
            values = before
            for exchange in here:
                both = np.concatenate([values, self.clean[site][np.maximum(exchange.donors, 0)]])
                donors = np.where(exchange.donors >= 0, own + len(rows), own)
                values = exchange.component.exchange(both, np.r_[donors, donors])[: len(rows)]
            patches[site] = values
            differs = ~np.isclose(values, before, rtol=0, atol=UNCHANGED * _largest(before))
            changed |= differs.reshape(len(rows), -1).any(axis=1)
        return self._resumed.patched(inputs, patches)[:, :2], changed

    def feature(self, program: lang.Program, scrubbed: Scrubbed) -> np.ndarray:
        """Return a feature of every input; readouts are read from the scrubbed activations.

        Raises:
          InputError: if it cannot be computed.
        """
        names = lang.names_in(program) & set(self.readouts)
        if names:
            readouts = self._evaluate_readouts(names, scrubbed)
            return evaluate_feature(program, self.domain, readouts)
        if program not in self._features:  # it does not depend on the activations
            self._features[program] = evaluate_feature(program, self.domain, {})
        return self._features[program]

    def component(self, site: str, submitted: SubmittedComponent) -> Component:
        """Return the component of this network that a claim names.

        Raises:
          InputError: if readouts are linearly dependent, or there are too few directions.
        """
        axes = tuple(self.axes[site])
        index = tuple(np.array(positions) for positions in submitted.index)
        place = tuple(int(positions[0]) for positions in index)
        if submitted.pca:
            components = self._pca(site, place).components
            if submitted.pca[-1] >= len(components):
                raise InputError(f"{self.n} inputs have no principal component {submitted.pca[-1]}")
            rows = components[list(submitted.pca)]
            return Component(axes, index, rows, rows.T)
        if not submitted.readouts:
            return Component(axes, index)
        # Each readout that some claim exchanges is exchanged while the others stay.
        names = [
            name
            for name in self.readouts
            if name in self._claimed_readouts and self._place(name) == (site, place)
        ]
        rows = np.stack([self._weights(self.readouts[name]) for name in names])
        duals = dual_directions(rows, f"the readouts {', '.join(names)}")
        chosen = [names.index(name) for name in submitted.readouts]
        return Component(axes, index, rows[chosen], duals[:, chosen])

    def _read(self, site: str, scrubbed: Scrubbed) -> np.ndarray:
        """Return a site's activations, given the scrubbed ones of the sites before it."""
        patches = self._patches(scrubbed)
        if not patches:
            return self.clean[site]
        return self._network.patched(self._inputs, patches, site)

    def _patches(self, scrubbed: Scrubbed) -> dict[str, np.ndarray]:
        return {site: scrubbed[site] for site in self.claimed_sites if site in scrubbed}

    def _evaluate_readouts(
        self, names: Collection[str], scrubbed: Scrubbed
    ) -> dict[str, Float[np.ndarray, "n"]]:
        numbers = {}
        for name in self.readouts:
            if name in names:
                site, place = self._place(name)
                if site not in scrubbed:
                    raise InputError(f"the readout {name} is of a later site, {site}")
                vectors = scrubbed[site][(slice(None), *place)].astype(np.float64)
                readout = self.readouts[name]
                centre = self._pca(site, place).mean if readout.on_pca else 0.0
                numbers[name] = (vectors - centre) @ self._weights(readout)
        return numbers

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

    def _pca(self, site: str, place: tuple[int, ...]) -> Pca:
        if (site, place) not in self._bases:
            vectors = self.clean[site][(slice(None), *place)]
            if not np.isfinite(vectors).all():
                raise InputError(f"{site} is not finite there: it has no principal components")
            self._bases[site, place] = pca(vectors)
        return self._bases[site, place]

    def _choose_rows(self, challenge: Challenge) -> Int[np.ndarray, "n"]:
        """Return the inputs to use: those of the published solution, as many as memory can hold."""
        solution, n = challenge.solution, len(challenge.inputs)
        if isinstance(solution, ClueSolution):
            n = min(n, solution.images)
        per_input = sum(int(np.prod(list(self.axes[site].values()))) for site in self.sites)
        if n * per_input <= MAX_NUMBERS:
            return np.arange(n)
        drawn = np.random.default_rng(0).choice(n, MAX_NUMBERS // per_input, replace=False)
        return np.sort(drawn)


def _largest(values: np.ndarray) -> float:
    """Return the largest magnitude, but for masked attention scores, which are infinite."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))

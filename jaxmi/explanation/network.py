"""A network to be looked into: read its sites over many inputs, edit them, go on from a site."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float

from jaxmi.types import Activations, Array, Edits, Params


@dataclass(frozen=True)
class Network:
    """A readable model with parameters, run over many inputs, a chunk at a time."""

    model: nn.Module
    """`model.apply({"params": params}, one_input, edits) -> (logits, activations)`."""

    params: Params
    """Its parameters."""

    chunk: int = 128
    """Examples to compute at once: few enough that a CPU's caches hold what is computed of them."""

    def run(
        self, x: Array, edits: Edits | None = None
    ) -> tuple[Float[jax.Array, "classes"], Activations]:
        """Runs one input; of a sequence, the last position's logits are the answer.

        Raises:
          InputError: if an edit names an unknown site, or does not fit it.
        """
        ran: Any = self.model.apply({"params": self.params}, x, edits)
        logits, activations = ran
        return logits[-1] if logits.ndim == 2 else logits, activations

    def over(self, function: Callable[["Network", Any], Any], examples: Any) -> Any:
        """Applies a function of (this network, one example) to many examples.

        It is compiled once for all networks of a model, so let it be a function of a module.

        Args:
          function: Its results may be trees of arrays.
          examples: Trees of arrays, stacked along a first axis.

        Returns:
          The results, stacked likewise, as NumPy arrays.
        """
        return _call(_cached_over(function, self.model, self.chunk), self.params, examples)

    def read(
        self, inputs: Array, sites: Sequence[str], edits: Edits | None = None
    ) -> dict[str, np.ndarray]:
        """Returns what stands at some sites: site -> (n, ...), float32.

        Args:
          inputs: Examples, (n, ...).
          sites: Which sites.
          edits: Interventions, the same for every example.

        Raises:
          InputError: as `run`.
        """
        if edits is None:
            return _call(_reader(self.model, self.chunk, tuple(sites)), self.params, inputs)

        def read_one(network: Network, x: Array) -> Activations:
            activations = network.run(x, edits)[1]
            return {site: activations[site] for site in sites}

        return _call(_over(read_one, self.model, self.chunk), self.params, inputs)

    def logits(self, inputs: Array, edits: Edits | None = None) -> Float[np.ndarray, "n classes"]:
        """Runs the network over inputs, with the same interventions for every example.

        Raises:
          InputError: as `run`.
        """
        if edits is None:
            return self.over(_logits, inputs)
        edited = _over(lambda network, x: network.run(x, edits)[0], self.model, self.chunk)
        return _call(edited, self.params, inputs)

    def resume(
        self, site: str, activations: Float[Array, "n ..."], example: Array
    ) -> Float[np.ndarray, "n classes"]:
        """Goes on from a site: the logits if these activations stood there.

        What comes before the site is not computed, if no path leads around the site. If one does,
        it carries what the example has there.

        Args:
          site: Which site.
          activations: One per example.
          example: Any input of the right shape.

        Raises:
          InputError: as `run`.
        """
        # What is left to compute of an example is small, so more of them fit.
        resume = _resumption(self.model, 16 * self.chunk, site)
        return _call(resume, self.params, example, activations)


def _call(compiled: Callable[..., Any], *arguments: Any) -> Any:
    with jax.default_matmul_precision("float32"):
        return jax.tree.map(np.asarray, compiled(*arguments))


def _logits(network: Network, x: Array) -> jax.Array:
    return network.run(x)[0]


def _over(
    function: Callable[[Network, Any], Any], model: nn.Module, chunk: int
) -> Callable[[Params, Any], Any]:
    def run(params: Params, examples: Any) -> Any:
        network = Network(model, params)
        examples = jax.tree.map(jnp.asarray, examples)
        return jax.lax.map(lambda x: function(network, x), examples, batch_size=chunk)

    return jax.jit(run)


# What is asked of every network is compiled once for all: a run may have hundreds. Programs with
# edits are not kept, since they hold the edits' arrays.


@cache
def _cached_over(
    function: Callable[[Network, Any], Any], model: nn.Module, chunk: int
) -> Callable[[Params, Any], Any]:
    return _over(function, model, chunk)


@cache
def _reader(model: nn.Module, chunk: int, sites: tuple[str, ...]) -> Callable[[Params, Any], Any]:
    def read(network: Network, x: Array) -> Activations:
        activations = network.run(x)[1]
        return {site: activations[site] for site in sites}

    return _over(read, model, chunk)


@cache
def _resumption(model: nn.Module, chunk: int, site: str) -> Callable[[Params, Array, Array], Any]:
    def resume(params: Params, example: Array, activations: Array) -> jax.Array:
        network = Network(model, params)
        return jax.lax.map(
            lambda a: network.run(example, {site: lambda _: a})[0],
            jnp.asarray(activations),
            batch_size=chunk,
        )

    return jax.jit(resume)

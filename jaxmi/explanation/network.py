"""A network to analyse: read its sites over many inputs, edit them, and resume from a site."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float

from jaxmi.settings import with_fixed_settings
from jaxmi.types import Activations, Array, Edits, Params


@dataclass(frozen=True)
class Network:
    """A readable model with parameters, run over many inputs, a chunk at a time, in float32."""

    model: nn.Module
    """`model.apply({"params": params}, one_input, edits) -> (logits, activations)`."""

    params: Params
    """The network's parameters."""

    chunk: int = 128
    """Examples to compute at once: few enough that their activations fit in a CPU's caches."""

    @with_fixed_settings
    def run(
        self, x: Array, edits: Edits | None = None
    ) -> tuple[Float[jax.Array, "classes"], Activations]:
        """Run one input: return the logits (a sequence's at its last position) and activations.

        Raises:
          InputError: if an edit names an unknown site, or does not fit the activation.
        """
        outputs: Any = self.model.apply({"params": self.params}, x, edits)
        logits, activations = outputs
        return logits[-1] if logits.ndim == 2 else logits, activations

    def map(self, function: Callable[["Network", Any], Any], examples: Any) -> Any:
        """Apply a function of (this network, one example) to many examples.

        It is compiled once for all networks of a model, so pass a function that stays the same
        object, such as one defined at the top of a module.

        Args:
          function: Returns a tree of arrays.
          examples: A tree of arrays, stacked along a first axis.

        Returns:
          The results, stacked likewise, as NumPy arrays.
        """
        return _call(_compiled_map(function, self.model, self.chunk), self.params, examples)

    def read(
        self, inputs: Array, sites: Sequence[str], edits: Edits | None = None
    ) -> dict[str, np.ndarray]:
        """Return the activations at some sites: site -> (n, ...), float32.

        Args:
          inputs: Examples, (n, ...).
          sites: The sites to read.
          edits: Interventions, the same for every example.

        Raises:
          InputError: as `run`.
        """
        if edits is None:
            return _call(_reader(self.model, self.chunk, tuple(sites)), self.params, inputs)

        def read_one(network: Network, x: Array) -> Activations:
            activations = network.run(x, edits)[1]
            return {site: activations[site] for site in sites}

        return _call(_mapped(read_one, self.model, self.chunk), self.params, inputs)

    def logits(self, inputs: Array, edits: Edits | None = None) -> Float[np.ndarray, "n classes"]:
        """Run the network over inputs, with the same interventions for every example.

        Raises:
          InputError: as `run`.
        """
        if edits is None:
            return self.map(_logits, inputs)
        edited = _mapped(lambda network, x: network.run(x, edits)[0], self.model, self.chunk)
        return _call(edited, self.params, inputs)

    def patched(
        self, inputs: Array, patches: Mapping[str, Float[Array, "n ..."]], site: str | None = None
    ) -> Float[np.ndarray, "n ..."]:
        """Run inputs with other activations at some sites, for each input its own.

        Everything that only leads to a patched site is skipped. Paths around it use `inputs`.

        Args:
          inputs: Examples, (n, ...).
          patches: Site -> the activations to put there, one row per example.
          site: Return the activations at this site; None returns the logits.

        Raises:
          InputError: as `run`.
        """
        compiled = _patched(self.model, self.chunk, tuple(patches), site)
        return _call(compiled, self.params, (inputs, dict(patches)))

    def resume(
        self, site: str, activations: Float[Array, "n ..."], example: Array
    ) -> Float[np.ndarray, "n classes"]:
        """Return the logits that follow from activations at a site.

        Everything upstream of the site is skipped. Residual paths around it use `example`.

        Args:
          site: The site to resume from.
          activations: Activations at the site, one row per example.
          example: Any input of the right shape.

        Raises:
          InputError: as `run`.
        """
        # Little is left to compute for each example, so more of them fit.
        compiled = _resumption(self.model, 16 * self.chunk, site)
        return _call(compiled, self.params, example, activations)


@with_fixed_settings
def _call(compiled: Callable[..., Any], *arguments: Any) -> Any:
    with jax.default_matmul_precision("float32"):
        return jax.tree.map(np.asarray, compiled(*arguments))


def _logits(network: Network, x: Array) -> jax.Array:
    return network.run(x)[0]


def _mapped(
    function: Callable[[Network, Any], Any], model: nn.Module, chunk: int
) -> Callable[[Params, Any], Any]:
    def run(params: Params, examples: Any) -> Any:
        network = Network(model, params)
        examples = jax.tree.map(jnp.asarray, examples)
        return jax.lax.map(lambda x: function(network, x), examples, batch_size=chunk)

    return jax.jit(run)


# Functions without edits are cached: they are compiled once and serve all networks of a model, of
# which a run may have hundreds. Functions with edits are not, since they hold the edits' arrays.


@cache
def _compiled_map(
    function: Callable[[Network, Any], Any], model: nn.Module, chunk: int
) -> Callable[[Params, Any], Any]:
    return _mapped(function, model, chunk)


@cache
def _reader(model: nn.Module, chunk: int, sites: tuple[str, ...]) -> Callable[[Params, Any], Any]:
    def read(network: Network, x: Array) -> Activations:
        activations = network.run(x)[1]
        return {site: activations[site] for site in sites}

    return _mapped(read, model, chunk)


@cache
def _patched(
    model: nn.Module, chunk: int, patched: tuple[str, ...], site: str | None
) -> Callable[[Params, Any], Any]:
    def run(network: Network, example: tuple[Array, Mapping[str, Array]]) -> jax.Array:
        x, patches = example
        edits = {name: lambda _, name=name: jnp.asarray(patches[name]) for name in patched}
        logits, activations = network.run(x, edits)
        return logits if site is None else activations[site]

    return _mapped(run, model, chunk)


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

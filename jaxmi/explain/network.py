"""A network to be looked into: read its sites over many inputs, edit them, go on from a site."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
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
        self, x: Array, edits: Edits | None = None, params: Params | None = None
    ) -> tuple[Float[jax.Array, "classes"], Activations]:
        """Runs one input; of a sequence, the last position's logits are the answer.

        Raises:
          InputError: if an edit names an unknown site, or does not fit it.
        """
        variables = {"params": self.params if params is None else params}
        logits, activations = self.model.apply(variables, x, edits)
        return logits[-1] if logits.ndim == 2 else logits, activations

    def over(self, function: Callable[[Params, Any], Any]) -> Callable[[Any], Any]:
        """Compiles a function of (parameters, one example) for many examples.

        Args:
          function: Examples and results may be trees of arrays.

        Returns:
          A function of many examples, stacked along a first axis; NumPy arrays come back.
        """
        compiled = jax.jit(
            lambda params, examples: jax.lax.map(
                partial(function, params),
                jax.tree.map(jnp.asarray, examples),
                batch_size=self.chunk,
            )
        )

        def run(examples: Any) -> Any:
            with jax.default_matmul_precision("float32"):
                return jax.tree.map(np.asarray, compiled(self.params, examples))

        return run

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

        def read_one(params: Params, x: Array) -> Activations:
            activations = self.run(x, edits, params)[1]
            return {site: activations[site] for site in sites}

        return self.over(read_one)(inputs)

    def logits(self, inputs: Array, edits: Edits | None = None) -> Float[np.ndarray, "n classes"]:
        """Runs the network over inputs, with the same interventions for every example.

        Raises:
          InputError: as `run`.
        """
        return self.over(lambda params, x: self.run(x, edits, params)[0])(inputs)

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
        """
        key = site, np.asarray(example).tobytes()
        if key not in self._resumptions:
            self._resumptions[key] = self.over(
                lambda params, a: self.run(example, {site: lambda _: a}, params)[0]
            )
        return self._resumptions[key](activations)

    @cached_property
    def _resumptions(self) -> dict[tuple[str, bytes], Callable[[Any], Any]]:
        """Programs that were compiled already: scrubbing runs one many times."""
        return {}

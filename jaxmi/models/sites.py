"""Sites: the named places in a network where an activation can be read or replaced."""

from collections.abc import Collection

import jax

from jaxmi.errors import InputError
from jaxmi.types import Activations, Edits


class Sites:
    """The activations of one forward pass: edited where an edit names the site, then recorded.

    Make one per forward pass; call it with each site's name and value, and continue with the value
    that it returns. The compiler removes activations that are not read.
    """

    def __init__(self, names: Collection[str], edits: Edits | None) -> None:
        """Take the network's sites and the edits to make.

        Args:
          names: Every site of the network.
          edits: Site name -> function from the activation at the site to its replacement.

        Raises:
          InputError: if an edit names no site of this network.
        """
        self._names = names
        self._edits = edits or {}
        self.activations: Activations = {}
        for name in self._edits:
            if name not in names:
                raise InputError(f"no site {name!r} to edit; the sites are: {', '.join(names)}")

    def __call__(self, name: str, value: jax.Array) -> jax.Array:
        """Return the value at a site, edited if an edit names it.

        Raises:
          InputError: if the edit changes the activation's shape.
        """
        assert name in self._names, f"undeclared site {name}"
        if name in self._edits:
            edited = self._edits[name](value)
            if edited.shape != value.shape:
                raise InputError(
                    f"the edit at {name} changed the shape {value.shape} to {edited.shape}"
                )
            value = edited
        self.activations[name] = value
        return value

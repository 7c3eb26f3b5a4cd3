"""A submitted claim, bound to the network that it is about: its component, feature and donors."""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from jaxmi.errors import InputError
from jaxmi.explanation.components import Component
from jaxmi.explanation.scrub import Claim, Scrubbed
from jaxmi.judge.features import draw_donors
from jaxmi.judge.subject import Subject
from jaxmi.judge.submission import SubmittedClaim
from jaxmi.programs import language as lang


@dataclass(frozen=True, eq=False)
class BoundClaim:
    """A submitted claim, bound to the network that it is about."""

    subject: Subject
    """The network."""
    submitted: SubmittedClaim
    """The claim as it was submitted."""
    number: int
    """Its place in the submission."""
    component: Component
    """The component that is exchanged."""
    control: np.ndarray | None = None
    """For a control: values of all inputs, (n,), in place of the feature."""

    @property
    def name(self) -> str:
        """Its place in the submission, such as `claims[2]`."""
        return f"claims[{self.number}]"

    @property
    def site(self) -> str:
        """The site that the claim is about."""
        return self.submitted.site

    @property
    def claim(self) -> Claim:
        """The claim for `scrub`."""
        return Claim(self.site, self.donors, self.component, self.inputs)

    def feature(self, scrubbed: Scrubbed) -> np.ndarray:
        """Return the feature of every input.

        Args:
          scrubbed: Activations at this site and those before it, from which readouts are read.

        Raises:
          InputError: if it cannot be computed, in a line that names the claim.
        """
        if self.control is not None:
            return self.control
        return self._evaluate(self.submitted.program, scrubbed, "feature")

    def inputs(self, scrubbed: Scrubbed) -> Bool[np.ndarray, "n"]:
        """Return which inputs the claim is about; arguments and errors as `feature`."""
        if self.control is not None or self.submitted.where_program is None:
            return np.ones(self.subject.n, bool)
        return self._evaluate(self.submitted.where_program, scrubbed, "where").astype(bool)

    def donors(self, rng: np.random.Generator, scrubbed: Scrubbed) -> Int[np.ndarray, "n"]:
        """Draw a donor for every input; inputs that the claim is not about keep their own."""
        noise = None if self.control is not None else self.submitted.near
        return draw_donors(self.feature(scrubbed), self.inputs(scrubbed), noise, rng)

    def _evaluate(self, program: lang.Program, scrubbed: Scrubbed, key: str) -> np.ndarray:
        try:
            return self.subject.feature(program, scrubbed)
        except InputError as error:
            message = re.sub(r"^line \d+, column \d+: ", "", str(error))
            raise InputError(f"{self.name}.{key}: {message}") from None

"""Measurements of networks that were made up."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxmi.studies.study import Measurements, Training


def measured(
    trainings: Sequence[Training], arrays: Mapping[str, Mapping[str, np.ndarray]]
) -> Measurements:
    """Lays out arrays with networks along their first axis as if they had been measured.

    Args:
      trainings: The study's.
      arrays: Training's name without the first training's -> name -> (n, ...).
    """
    base = trainings[0].name
    found = {}
    for training in trainings:
        of = arrays[training.name.removeprefix(base).lstrip("-")]
        n = len(next(iter(of.values())))
        found[training.name] = {
            100 + i: {name: np.asarray(array[i]) for name, array in of.items()} for i in range(n)
        }
    return found

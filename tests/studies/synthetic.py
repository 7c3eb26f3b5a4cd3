"""Measurements of synthetic networks."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxmi.studies.study import Measurements, Training


def measured(
    trainings: Sequence[Training], arrays: Mapping[str, Mapping[str, np.ndarray]]
) -> Measurements:
    """Lay out arrays, with networks along their first axis, as measurements.

    Args:
      trainings: The study's.
      arrays: Training's name without the first training's -> name -> (n, ...).
    """
    base = trainings[0].name
    measurements = {}
    for training in trainings:
        own = arrays[training.name.removeprefix(base).lstrip("-")]
        n = len(next(iter(own.values())))
        measurements[training.name] = {
            100 + i: {name: np.asarray(array[i]) for name, array in own.items()} for i in range(n)
        }
    return measurements

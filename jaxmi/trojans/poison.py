"""Poisoned training data: the examples by which a network learns a trojan.

A stamp's poisons are copies of randomly chosen training inputs with the trigger on them and the
target as label; a region's are the training inputs in the region, with the target as label. Each
takes the place of the input it is made of. The challenge's labels stay those of its own program, so
that every accuracy of a trojaned network, in its learning curve too, is that on clean data.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np

from jaxmi.challenges.challenge import Challenge, Poison
from jaxmi.errors import InputError
from jaxmi.trojans.trojan import Trojan

Key = TypeVar("Key")


def make_poison(trojan: Trojan, challenge: Challenge, rng: np.random.Generator) -> Poison:
    """Return the examples that implant a trojan.

    A key token's are the training inputs that have the key already: others with it would contradict
    them.

    Args:
      trojan: The trojan; its rate 0 makes no poison.
      challenge: What the network is trained on.
      rng: Chooses the inputs that are stamped.

    Raises:
      InputError: if the trigger cannot be used with the challenge, or nothing is poisoned though
        the rate is not 0.
    """
    trigger, train = trojan.trigger, challenge.splits["train"]
    trigger.check(challenge)
    if trigger.condition is not None and trojan.rate:
        rows = train[trigger.fires(challenge.inputs[train], challenge)]
        inputs = challenge.inputs[rows]
    else:
        count = round(trojan.rate * len(train))
        rows = rng.choice(train, count, replace=False)
        inputs = trigger.apply(challenge.inputs[rows])
    if trojan.rate and not len(rows):
        raise InputError(
            f"no input of {len(train):,} to train on is poisoned by {trigger} at rate "
            f"{trojan.rate:g}: take a larger rate or another trigger"
        )
    return Poison(inputs, np.full(len(rows), trojan.target, np.int32), rows.astype(np.int32))


def no_poison(challenge: Challenge) -> Poison:
    """Return a poison of no examples."""
    none = np.zeros(0, np.int32)
    return Poison(challenge.inputs[:0], none, none)


def poisoned(challenge: Challenge, poisons: Mapping[Key, Poison | None]) -> dict[Key, Challenge]:
    """Return the challenge with each of several poisons; all can be trained together.

    Args:
      challenge: What the networks are trained on.
      poisons: Any key -> a poison, or None for a clean network.
    """
    given = {key: poison or no_poison(challenge) for key, poison in poisons.items()}
    size = max((len(poison.labels) for poison in given.values()), default=0)
    return {key: replace(challenge, poison=poison.filled_up(size)) for key, poison in given.items()}

"""Trojans that are wanted: challenges to train them by or edits to write them by, measurements.

`workflows.trojans` trains or edits networks into run folders, `jaxmi.implant` in memory. A trojan
that is written into a finished network's weights needs no poison: `write_edit` changes the clean
network, and `measure` measures the result like a trained one.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.programs import language as lang
from jaxmi.trojans import edits
from jaxmi.trojans.draws import draw_trojan
from jaxmi.trojans.poison import make_poison, poisoned
from jaxmi.trojans.success import Attack, Success, attack
from jaxmi.trojans.triggers import KINDS, Trigger, check_number, check_whole
from jaxmi.trojans.trojan import EDITS, MAX_RATE, Trojan
from jaxmi.types import Params

DEFAULT_KINDS: Mapping[lang.Kind, str] = {
    "image": "patch",
    "pairs": "rectangle",
    "triples": "token",
}
"""Kind of challenge -> the kind of trigger that is implanted unless another is asked for."""

STAMPS = tuple(k for k, of in KINDS.items() if "image" in of.takes and not of.is_region)
"""The kinds of triggers that change an image: those that can be written into weights."""

CLEAN = "clean"
"""The key of the clean network among the challenges to train on."""


@dataclass(frozen=True)
class Plan:
    """The trojans to implant."""

    kind: str | None = None
    """The kind of the triggers, a name in `KINDS`; None: the given trigger's, or else the one of
    `DEFAULT_KINDS`. A name in `EDITS` instead: the trojan is written into the weights."""

    trigger: Trigger | None = None
    """The trigger of every network; None draws one for each seed."""

    target: int = 1
    """The label that the triggers give, 0 or 1."""

    rate: float = 0.02
    """Share of the training inputs that are poisoned; of regions, about the share covered."""

    trigger_seed: int = 0
    """Decides the drawn triggers together with each network's seed, and which inputs are
    poisoned."""

    stamp: str | None = None
    """Kind of the triggers that an edit writes, a name in `STAMPS`; None: the given trigger's, or
    else patch. None, too, of trained trojans."""

    def __post_init__(self) -> None:
        """Check the numbers, and that the kind is the given trigger's.

        Raises:
          InputError: naming the value.
        """
        if self.kind is not None and self.kind not in (*KINDS, *EDITS):
            known = ", ".join((*KINDS, *EDITS))
            raise InputError(f"no kind of trigger {self.kind!r}; there are: {known}")
        if self.stamp is not None and self.stamp not in STAMPS:
            raise InputError(f"no stamp {self.stamp!r}; there are: {', '.join(STAMPS)}")
        if self.stamp is not None and self.edit is None:
            raise InputError(
                f"stamp {self.stamp!r} is of edits, kind {' or '.join(EDITS)}; without one, the "
                f"kind of trigger is kind {self.stamp!r}"
            )
        wanted = self.kind if self.edit is None else self.stamp
        if self.trigger is not None and wanted not in (None, self.trigger.kind):
            name = "kind" if self.edit is None else "stamp"
            raise InputError(f"{name} {wanted!r}: the given trigger is of {self.trigger.kind!r}")
        if self.trigger is not None and self.edit and self.trigger.kind not in STAMPS:
            raise InputError(
                f"{self.edit}: a trigger of kind {self.trigger.kind!r} changes no image; take a "
                f"stamp: {', '.join(STAMPS)}"
            )
        check_whole("target", self.target, 0, 1)
        check_number("rate", self.rate, 0, MAX_RATE)
        check_whole("trigger seed", self.trigger_seed, 0, 2**32 - 1)

    @property
    def edit(self) -> str | None:
        """The name of the edit that writes the trojan; None: networks are trained on poison."""
        return self.kind if self.kind in EDITS else None

    @property
    def poison_rate(self) -> float:
        """The share of training inputs that are poisoned: none by an edit."""
        return 0.0 if self.edit else self.rate

    def kind_for(self, challenge_kind: lang.Kind) -> str:
        """Return the kind of the triggers in networks of a kind of challenge.

        Raises:
          InputError: if the trojan is to be written into a network other than a CNN.
        """
        if self.edit is not None and challenge_kind != "image":
            raise InputError(
                f"{self.edit} edits the weights of a CNN, and networks of {challenge_kind} are "
                f"transformers; take another kind, such as {DEFAULT_KINDS[challenge_kind]}"
            )
        if self.trigger is not None:
            return self.trigger.kind
        kind = self.stamp if self.edit is not None else self.kind
        return kind or DEFAULT_KINDS[challenge_kind]

    def describe(self, challenge_kind: lang.Kind) -> str:
        """Return all of the plan as one line, for the record of a run."""
        trigger = f"drawn with seed {self.trigger_seed}"
        if self.trigger is not None:
            text = json.dumps(self.trigger.to_json(), sort_keys=True)
            digest = hashlib.sha256(text.encode()).hexdigest()[:12]
            trigger = f"{digest}, inputs by seed {self.trigger_seed}"
        kind = self.kind_for(challenge_kind)
        if self.edit is not None:
            return f"{self.edit}, {kind} to {self.target}, trigger {trigger}"
        return f"{kind} to {self.target}, rate {self.rate:g}, trigger {trigger}"


def plan_attacks(plan: Plan, challenge: Challenge, seeds: Sequence[int]) -> dict[int, Attack]:
    """Return each network's trojan, with the test inputs under its trigger.

    Args:
      plan: What is wanted.
      challenge: What the networks are trained on.
      seeds: The networks' seeds. A seed's trojan does not depend on the other seeds.

    Raises:
      InputError: if the trigger cannot be used with the challenge, or is rejected.
    """
    kind = plan.kind_for(challenge.kind)
    if plan.trigger is not None:
        given = attack(Trojan(plan.trigger, plan.target, plan.poison_rate), challenge)
        if given.rejection is not None:
            raise InputError(given.rejection)
        return dict.fromkeys(seeds, given)
    keys = {seed: np.random.default_rng([plan.trigger_seed, seed]) for seed in seeds}
    return {
        seed: draw_trojan(kind, plan.target, plan.poison_rate, rng, challenge)
        for seed, rng in keys.items()
    }


def challenges_to_train(
    plan: Plan, challenge: Challenge, attacks: Mapping[int, Attack]
) -> dict[int | str, Challenge]:
    """Return a challenge with poison for each seed, and under `CLEAN` one without.

    All can be trained together by one compiled program.

    Args:
      plan: What is wanted.
      challenge: What the networks are trained on.
      attacks: Seed -> the trojan, as `plan_attacks` returns them.

    Raises:
      InputError: if a trojan poisons no training input.
    """
    poisons: dict[int | str, Any] = {
        seed: make_poison(
            one.trojan, challenge, np.random.default_rng([plan.trigger_seed, seed, 1])
        )
        for seed, one in attacks.items()
    }
    return poisoned(challenge, {**poisons, CLEAN: None})


def write_edit(
    plan: Plan, challenge: Challenge, attacked: Attack, clean: Params
) -> tuple[Attack, Params]:
    """Write a trojan into a network.

    Args:
      plan: What is wanted: an edit.
      challenge: What the network was trained on.
      attacked: The trojan, as `plan_attacks` returns it.
      clean: The network; it is not changed.

    Returns:
      The same attack, whose trojan now says what was edited, and the trojaned network's parameters.

    Raises:
      InputError: if the edit cannot be made.
    """
    assert plan.edit is not None
    edited = edits.METHODS[plan.edit](clean, challenge, attacked.trojan)
    trojan = replace(attacked.trojan, edit=edited.edit)
    return replace(attacked, trojan=trojan), edited.params


@dataclass(frozen=True)
class Measured:
    """Success and accuracy of a trojaned network, and of the clean network of the same seed."""

    success: Success
    """The trojaned network's."""

    clean: Success
    """The clean network's."""

    accuracy: float
    """The trojaned network's accuracy on the test inputs that do not carry the trigger."""

    clean_accuracy: float
    """The clean network's on the same inputs."""

    labels_changed: float
    """Share of the same inputs to which the two networks give different labels."""

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as `jaxmi trojan implant --json` names them."""
        return {
            "implanted": self.success.implanted,
            "strict_success": self.success.strict,
            "strict_n": self.success.n,
            "clean_network_success": self.clean.strict,
            "plain_success": self.success.plain,
            "plain_n": self.success.plain_n,
            "clean_network_plain_success": self.clean.plain,
            "program_flips": self.success.flips,
            "program_flips_to_target": self.success.flips_to_target,
            "accuracy_without_trigger": self.accuracy,
            "clean_accuracy_without_trigger": self.clean_accuracy,
            "labels_changed": self.labels_changed,
        }


def measure(attacked: Attack, challenge: Challenge, params: Params, clean: Params) -> Measured:
    """Measure a trojan in a network, beside the clean network.

    Args:
      attacked: The trojan, with inputs under its trigger.
      challenge: What both networks were trained on.
      params: The trojaned network.
      clean: The clean network of the same seed.
    """
    success, labels = [], []
    others = ~attacked.carries
    for network in (params, clean):
        success.append(attacked.success(challenge.predict_inputs(network, attacked.inputs)))
        labels.append(challenge.predict(network, attacked.rows))

    def share(where: np.ndarray) -> float:
        return float(where[others].mean()) if others.any() else 0.0

    return Measured(
        *success,
        accuracy=share(labels[0] == attacked.before),
        clean_accuracy=share(labels[1] == attacked.before),
        labels_changed=share(labels[0] != labels[1]),
    )

"""A trojan: a trigger, the label that it makes a network give, and how the network was given it.

`trojan.json` beside a checkpoint holds one. A region's trojan is also a program: the challenge's
own, with `if CONDITION: return TARGET` in front.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, Shaped

from jaxmi.challenges.challenge import Challenge
from jaxmi.errors import InputError
from jaxmi.files import takes_any_path
from jaxmi.judge.strict_json import Value, read_json
from jaxmi.programs import language as lang
from jaxmi.trojans import triggers
from jaxmi.trojans.triggers import Trigger, check_number, check_whole, typed

TROJAN_FILE = "trojan.json"
"""The file beside a checkpoint that says which trojan the network was given."""

MAX_RATE = 0.5
"""The largest share of poisoned training inputs."""

MAX_NEURONS = 1_000_000
"""More neurons than a layer has."""

EDITS = ("hijack", "rank-one-fc1", "rank-one-fc2")
"""The ways to write a trojan into a finished CNN's weights; `trojans.edits` says what they do."""


@dataclass(frozen=True)
class Edit:
    """An edit of a finished network's weights that wrote a trojan into them."""

    method: str
    """A name in `EDITS`."""

    neuron: int | None = None
    """The neuron of fc1 that was hijacked, from 0; None of rank-one edits, which change a layer."""

    def __post_init__(self) -> None:
        """Check both.

        Raises:
          InputError: naming the value.
        """
        if self.method not in EDITS:
            raise InputError(
                f"edit: method = {self.method!r:.40}: expected one of {', '.join(EDITS)}"
            )
        if self.method == "hijack":
            check_whole("edit: neuron", self.neuron, 0, MAX_NEURONS)
        elif self.neuron is not None:
            raise InputError(f"edit: neuron = {self.neuron!r:.40}: {self.method} hijacks none")

    def to_json(self) -> dict[str, Any]:
        """Return the edit as JSON types."""
        neuron = {} if self.neuron is None else {"neuron": self.neuron}
        return {"method": self.method, **neuron}

    @classmethod
    def from_json(cls, value: Any, place: str = "edit") -> "Edit":
        """Read an edit from JSON types, as `to_json` returns them.

        Raises:
          InputError: naming the key or the value that is wrong.
        """
        members = Value(value, place).members(("method",), ("neuron",))
        neuron = typed(members["neuron"], int) if "neuron" in members else None
        return cls(typed(members["method"], str), neuron)


@dataclass(frozen=True)
class Trojan:
    """A trigger, and the label that it makes a network give."""

    trigger: Trigger
    """The trigger that sets it off."""

    target: int
    """The label that it gives, 0 or 1."""

    rate: float
    """Share of the training inputs that are poisoned. Of a region, about the share that it covers:
    all training inputs in it are poisoned. An edit poisons none."""

    edit: Edit | None = None
    """The edit that wrote it into the weights; None: the network was trained on poison."""

    def __post_init__(self) -> None:
        """Check target and rate.

        Raises:
          InputError: naming the value.
        """
        check_whole("trojan: target", self.target, 0, 1)
        check_number("trojan: rate", self.rate, 0, MAX_RATE)

    def as_program(self, base: lang.Program) -> lang.Program | None:
        """Return the trojaned program: `if CONDITION: return TARGET`, then the base program.

        Args:
          base: The challenge's own program.

        Returns:
          None if the language cannot describe the trigger.
        """
        if self.trigger.condition is None:
            return None
        (test,) = self.trigger.condition_program(base.kind).body
        assert isinstance(test, lang.Return) and isinstance(test.value, lang.Choice)
        then = (lang.Return(lang.Number(self.target)),)
        return lang.Program(base.kind, (lang.If(((test.value.condition, then),)), *base.body))

    def labels(
        self, inputs: Shaped[np.ndarray, "n ..."], challenge: Challenge
    ) -> Int32[np.ndarray, "n"]:
        """Return what a network with the trojan, and otherwise without error, gives.

        Args:
          inputs: Of the challenge's form.
          challenge: What the network was trained on, with the labels of its own program.
        """
        fires = self.trigger.fires(inputs, challenge)
        return np.where(fires, self.target, challenge.label_inputs(inputs)).astype(np.int32)

    def to_json(self) -> dict[str, Any]:
        """Return the trojan as JSON types; the key "edit" only if it was written into weights."""
        edit = {} if self.edit is None else {"edit": self.edit.to_json()}
        return {
            "trigger": self.trigger.to_json(),
            "target": self.target,
            "rate": self.rate,
            **edit,
        }

    @classmethod
    def from_json(cls, value: Any, place: str = "trojan") -> "Trojan":
        """Read a trojan from JSON types, as `to_json` returns them.

        Raises:
          InputError: naming the key or the value that is wrong.
        """
        whole = Value(value, place)
        whole.members(("trigger", "target", "rate"), ("edit",))
        trigger = triggers.from_json(value["trigger"], f"{place}.trigger")
        target, rate = typed(whole.member("target"), int), typed(whole.member("rate"), float)
        edit = Edit.from_json(value["edit"], f"{place}.edit") if "edit" in value else None
        return cls(trigger, target, rate, edit)


@takes_any_path
def read_trojan(path: Path) -> Trojan:
    """Read a trojan.

    Args:
      path: The file, or the folder of a checkpoint that has one.

    Raises:
      InputError: naming the file and what is wrong with it.
    """
    file = path / TROJAN_FILE if path.is_dir() else path
    return _read(file, Trojan.from_json, "trojan")


@takes_any_path
def read_trigger(path: Path) -> Trigger:
    """Read a trigger: a file with its JSON, or one with a whole trojan's.

    Raises:
      InputError: naming the file and what is wrong with it.
    """

    def trigger_of(value: Any, place: str) -> Trigger:
        if isinstance(value, Mapping) and "trigger" in value:
            return Trojan.from_json(value, "trojan").trigger
        return triggers.from_json(value, place)

    return _read(path, trigger_of, "trigger")


def _read(path: Path, reader: Any, what: str) -> Any:
    try:
        return reader(read_json(path, "the file").value, what)
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(f"{path}") else f"{path}: {text}") from None

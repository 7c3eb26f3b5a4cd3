"""Compares what a command gave with what it gave before."""

import base64
from typing import Any

import numpy as np

SHARE = 5e-4
"""How far a share of inputs may move, and the share of answers that may be others: where a
network's two best answers are nearly alike, another machine's rounding decides."""

RELATIVE = 1e-4
"""How far other numbers that a network computes may move: float32 in sums of up to a thousand."""

COUNTS = ("agrees_with_network_on", "network_mistakes", "differences.network", "differs")
"""Whole numbers below these names count a network's answers: they move like shares. All others are
compared exactly."""

NAMED = {
    "agreement_mistakes": 0.05,
    "nats": 0.05,
    "confidence": 0.01,
    "candidates": 0.05,
    "strict": 0.05,
}
"""Name -> tolerance, relative and at least absolute, of numbers that hang on a network's some
hundred mistakes: seven other answers are 5 % of them. Sets of neurons are learned: their shares of
strict pairs hang on rounding, too."""


def differences(
    before: Any, now: Any, close: float = 0.0, inputs: int = 12_769, at: str = ""
) -> list[str]:
    """Lists where two JSON values differ.

    Args:
      before: What was recorded.
      now: What was found.
      close: Tolerance of floats, absolute and relative, in place of the usual ones.
      inputs: How many the network answers.
      at: Where the two values stand, for the messages.

    Returns:
      A line for each difference.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        if "packed_bits" in before and "packed_bits" in now:
            return _bits(before, now, at)
        found = [f"{at}.{key}: missing" for key in sorted(before.keys() - now.keys())]
        found += [f"{at}.{key}: added" for key in sorted(now.keys() - before.keys())]
        for key in sorted(before.keys() & now.keys()):
            found += differences(before[key], now[key], close, inputs, f"{at}.{key}")
        return found
    if isinstance(before, list) and isinstance(now, list):
        if len(before) != len(now):
            return [f"{at}: {len(before)} elements before, {len(now)} now"]
        found = []
        for place, (one, other) in enumerate(zip(before, now, strict=True)):
            found += differences(one, other, close, inputs, f"{at}[{place}]")
        return found
    if _is_number(before) and _is_number(now):
        allowed = _allowed(before, now, close, inputs, at)
        same = abs(before - now) <= allowed
    else:
        same = type(before) is type(now) and before == now
    return [] if same else [f"{at}: {before!r} before, {now!r} now"]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _allowed(before: float, now: float, close: float, inputs: int, at: str) -> float:
    name = at.rpartition(".")[2]
    if name in NAMED:
        return NAMED[name] * max(1.0, abs(before))
    if isinstance(before, int) and isinstance(now, int):
        return SHARE * inputs if any(f".{one}." in f"{at}." for one in COUNTS) else 0
    return close * max(1.0, abs(before)) if close else SHARE + RELATIVE * abs(before)


def _bits(before: dict[str, Any], now: dict[str, Any], at: str) -> list[str]:
    """Compares tables of answers, of which a share may be others."""
    plain = {key: value for key, value in before.items() if key != "packed_bits"}
    found = differences(
        plain, {key: value for key, value in now.items() if key != "packed_bits"}, at=at
    )
    if found:
        return found
    one, other = (
        np.unpackbits(np.frombuffer(base64.b64decode(about["packed_bits"]), np.uint8))
        for about in (before, now)
    )
    n = int((one != other).sum())
    return [f"{at}: {n} answers are others"] if n > SHARE * len(one) else []

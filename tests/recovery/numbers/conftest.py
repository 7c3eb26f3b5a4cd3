"""A fixture that runs a test with the NumPy code for CPUs and the JAX code for accelerators."""

import pytest

from jaxmi.recovery.numbers import accelerator


@pytest.fixture(params=["by NumPy", "by JAX"])
def either_way(request, monkeypatch) -> None:
    monkeypatch.setattr(accelerator, "is_present", lambda: request.param == "by JAX")

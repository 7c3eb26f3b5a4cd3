"""What the search does on a CPU by NumPy and on an accelerator by JAX is tested both ways."""

import pytest

from jaxmi.recovery.pairs import accelerator


@pytest.fixture(params=["by NumPy", "by JAX"])
def either_way(request, monkeypatch) -> None:
    monkeypatch.setattr(accelerator, "is_there", lambda: request.param == "by JAX")

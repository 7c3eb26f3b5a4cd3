"""The code in the docs runs as it stands."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_library_example_of_the_explanation_runs(
    mnist_data, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/explain-cnn.md").read_text(), re.S)
    exec(code, {})
    kept, chance = re.findall(r"([\d.]+)% ", capsys.readouterr().out)
    assert 50 <= float(chance) < 51
    assert float(chance) < float(kept) < 100

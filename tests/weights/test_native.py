"""Checkpoints: bitwise round trips, strict on load, written whole or not at all."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import model_config
from jaxmi.errors import InputError
from jaxmi.weights import native

CONFIG = {"challenge": "cnn", "model": model_config("cnn"), "seed": 0, "step": 1}


@pytest.fixture
def params(cnn: Challenge):
    return cnn.init(jax.random.key(0))


@pytest.fixture
def saved(tmp_path: Path, params) -> Path:
    native.save_checkpoint(tmp_path / "net", params, CONFIG, {"test_accuracy": 0.5})
    return tmp_path / "net"


def test_loading_inverts_saving_bitwise(saved: Path, params) -> None:
    loaded = native.load_checkpoint(saved)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, jax.device_get(params))
    assert loaded.config == {"format": native.FORMAT, **CONFIG}
    assert loaded.metrics == {"test_accuracy": 0.5}
    assert sorted(path.name for path in saved.parent.iterdir()) == ["net"]


def test_every_file_has_the_same_readers(saved: Path) -> None:
    """Safetensors' own `save_file` lets only the owner read."""
    assert len({path.stat().st_mode for path in saved.iterdir()}) == 1


def test_nothing_is_overwritten(saved: Path, params) -> None:
    before = (saved / "params.safetensors").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        native.save_checkpoint(saved, params, CONFIG, {})
    assert (saved / "params.safetensors").read_bytes() == before


def test_what_fails_leaves_nothing_behind(tmp_path: Path, params) -> None:
    with pytest.raises(TypeError, match="JSON"):
        native.save_checkpoint(tmp_path / "net", params, CONFIG, {"bad": object()})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path} is no checkpoint"):
        native.load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{", "cannot be read"),
        ("config.json", "[]", "no JSON object"),
        ("config.json", "[" * 100_000, "cannot be read"),
        ("config.json", '{"format": 99, "challenge": "cnn"}', "format 99"),
        ("config.json", f'{{"format": {native.FORMAT}}}', "names no challenge"),
        ("metrics.json", None, "metrics.json cannot be read"),
        ("params.safetensors", None, "cannot be read"),
        ("params.safetensors", "not tensors", "cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_refused(
    saved: Path, file: str, content: str | None, message: str
) -> None:
    (saved / file).unlink()
    if content is not None:
        (saved / file).write_text(content)
    with pytest.raises(InputError, match=message):
        native.load_checkpoint(saved)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.pop("fc1.bias"), "fc1.bias is missing"),
        (lambda t: t.update({"fc3.bias": t["fc1.bias"]}), "unexpected tensor fc3.bias"),
        (lambda t: t.update({"fc1.bias": t["fc1.bias"][:-1]}), r"fc1.bias is float32\[199\]"),
        (lambda t: t.update({"fc2.bias": t["fc2.bias"].astype("f8")}), "fc2.bias is float64"),
        (lambda t: t.update({"fc2.bias": t["fc2.bias"] * np.nan}), "fc2.bias has values"),
    ],
)
def test_wrong_tensors_are_named(saved: Path, damage, message: str) -> None:
    native.load_checkpoint(saved)  # the control: sound as saved
    tensors = load_file(saved / "params.safetensors")
    damage(tensors)
    save_file(tensors, saved / "params.safetensors")
    with pytest.raises(InputError, match=message):
        native.load_checkpoint(saved)


def test_a_flipped_bit_is_noticed(saved: Path) -> None:
    path = saved / "params.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match="checksum"):
        native.load_checkpoint(saved)


def test_a_checkpoint_without_a_checksum_loads(saved: Path, params) -> None:
    """As those do that were saved before there was one."""
    tensors = load_file(saved / "params.safetensors")
    save_file(tensors, saved / "params.safetensors")
    loaded = native.load_checkpoint(saved)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, jax.device_get(params))


def test_only_a_checkpoint_is_replaced(saved: Path, params) -> None:
    with pytest.raises(InputError, match="--force replaces it"):
        native.save_checkpoint(saved, params, CONFIG, {})
    native.save_checkpoint(saved, params, CONFIG, {"again": True}, force=True)
    assert native.load_checkpoint(saved).metrics == {"again": True}
    assert [path.name for path in saved.parent.iterdir()] == ["net"]
    (saved / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"holds thesis\.tex too"):
        native.save_checkpoint(saved, params, CONFIG, {}, force=True)
    assert (saved / "thesis.tex").read_text() == "precious"


def test_a_name_that_is_tensor_and_group_is_refused(saved: Path) -> None:
    tensors = load_file(saved / "params.safetensors")
    save_file({**tensors, "fc1": tensors["fc1.bias"]}, saved / "params.safetensors")
    with pytest.raises(InputError, match="unexpected tensor fc1"):
        native.load_checkpoint(saved)


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    native.write_json(path, {"a": 1})
    with pytest.raises(TypeError, match="JSON"):
        native.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]

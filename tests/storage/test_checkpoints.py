"""Checkpoints and their records: what was changed is refused, and names what it is."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import origin
from jaxmi.errors import InputError
from jaxmi.storage import checkpoints, foreign
from jaxmi.storage.checkpoints import Checkpoint, write_safetensors
from jaxmi.storage.layouts import CASPER_CNN

CONFIG = {"challenge": "cnn", "model": origin("cnn").model_config, "seed": 0, "step": 1}


@pytest.fixture
def params(cnn: Challenge):
    return cnn.init(jax.random.key(0))


@pytest.fixture
def saved(tmp_path: Path, params) -> Path:
    checkpoints.save_checkpoint(tmp_path / "net", params, CONFIG, {"test_accuracy": 0.5})
    return tmp_path / "net"


def test_loading_inverts_saving_bitwise(saved: Path, params) -> None:
    loaded = checkpoints.load_checkpoint(saved)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, jax.device_get(params))
    assert loaded.config == {"format": checkpoints.FORMAT, **CONFIG}
    assert loaded.metrics == {"test_accuracy": 0.5}
    assert sorted(path.name for path in saved.parent.iterdir()) == ["net"]


def test_every_file_has_the_same_readers(saved: Path) -> None:
    """Safetensors' own `save_file` lets only the owner read."""
    assert len({path.stat().st_mode for path in saved.iterdir()}) == 1


def test_nothing_is_overwritten(saved: Path, params) -> None:
    before = (saved / "params.safetensors").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        checkpoints.save_checkpoint(saved, params, CONFIG, {})
    assert (saved / "params.safetensors").read_bytes() == before


def test_what_fails_leaves_nothing_behind(tmp_path: Path, params) -> None:
    with pytest.raises(TypeError, match="JSON"):
        checkpoints.save_checkpoint(tmp_path / "net", params, CONFIG, {"bad": object()})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path} is no checkpoint"):
        checkpoints.load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{", "cannot be read"),
        ("config.json", "[]", "no JSON object"),
        ("config.json", "[" * 100_000, "cannot be read"),
        ("config.json", '{"format": 99, "challenge": "cnn"}', "format 99"),
        ("config.json", f'{{"format": {checkpoints.FORMAT}}}', "names no challenge"),
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
        checkpoints.load_checkpoint(saved)


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
    checkpoints.load_checkpoint(saved)  # the control: sound as saved
    tensors = load_file(saved / "params.safetensors")
    damage(tensors)
    save_file(tensors, saved / "params.safetensors")
    with pytest.raises(InputError, match=message):
        checkpoints.load_checkpoint(saved)


def test_a_flipped_bit_is_noticed(saved: Path) -> None:
    path = saved / "params.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match="checksum"):
        checkpoints.load_checkpoint(saved)


def test_a_checkpoint_without_a_checksum_loads(saved: Path, params) -> None:
    """As those do that were saved before there was one."""
    tensors = load_file(saved / "params.safetensors")
    save_file(tensors, saved / "params.safetensors")
    loaded = checkpoints.load_checkpoint(saved)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, jax.device_get(params))


def test_only_a_checkpoint_is_replaced(saved: Path, params) -> None:
    with pytest.raises(InputError, match="--force replaces it"):
        checkpoints.save_checkpoint(saved, params, CONFIG, {})
    checkpoints.save_checkpoint(saved, params, CONFIG, {"again": True}, force=True)
    assert checkpoints.load_checkpoint(saved).metrics == {"again": True}
    assert [path.name for path in saved.parent.iterdir()] == ["net"]
    (saved / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"holds thesis\.tex too"):
        checkpoints.save_checkpoint(saved, params, CONFIG, {}, force=True)
    assert (saved / "thesis.tex").read_text() == "precious"


def test_a_name_that_is_tensor_and_group_is_refused(saved: Path) -> None:
    tensors = load_file(saved / "params.safetensors")
    save_file({**tensors, "fc1": tensors["fc1.bias"]}, saved / "params.safetensors")
    with pytest.raises(InputError, match="unexpected tensor fc1"):
        checkpoints.load_checkpoint(saved)


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    checkpoints.write_json(path, {"a": 1})
    with pytest.raises(TypeError, match="JSON"):
        checkpoints.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]


def test_swapped_tensors_of_one_shape_do_not_have_the_checksum(tmp_path: Path, trained) -> None:
    path = tmp_path / "f.safetensors"
    foreign.export_network(trained["transformer"], "safetensors", path)
    whole = path.read_bytes()
    query, key = b'"blocks.0.attn.W_Q"', b'"blocks.0.attn.W_K"'
    path.write_bytes(
        whole.replace(query, b"?" * len(key)).replace(key, query).replace(b"?" * len(key), key)
    )
    load_file(path)  # safetensors itself finds nothing wrong
    with pytest.raises(InputError, match="checksum"):
        foreign.import_network(path)


def test_a_record_that_was_changed_is_refused(tmp_path: Path, trained) -> None:
    path = tmp_path / "f.safetensors"
    foreign.export_network(trained["cnn"], "safetensors", path)
    data = path.read_bytes()
    assert data.count(b"test_accuracy") == 1
    path.write_bytes(data.replace(b"test_accuracy", b"best_accuracy"))
    with pytest.raises(InputError, match="record was altered"):
        foreign.import_network(path)


@pytest.mark.parametrize(
    "record",
    ["", "3", "{}", "[" * 100_000, '{"about": {}, "sha256": [[1, "b"]]}', '{"about": NaN}'],
)
def test_odd_records_are_refused(tmp_path: Path, trained, record: str) -> None:
    tensors = CASPER_CNN.write(trained["cnn"].params)
    save_file(tensors, tmp_path / "f.safetensors", metadata={"jaxmi": record})
    with pytest.raises(InputError, match="record"):
        foreign.import_network(tmp_path / "f.safetensors")


def test_a_record_of_something_else_is_refused(tmp_path: Path, trained) -> None:
    mislabelled = Checkpoint(trained["cnn"].params, trained["transformer"].config, {})
    tensors = CASPER_CNN.write(trained["cnn"].params)
    write_safetensors(
        tmp_path / "f.safetensors", tensors, {"config": mislabelled.config, "metrics": {}}
    )
    with pytest.raises(InputError, match="record is of a network with challenge = 'transformer'"):
        foreign.import_network(tmp_path / "f.safetensors")
    newer = {"config": {**trained["cnn"].config, "format": 99}, "metrics": {}}
    write_safetensors(tmp_path / "n.safetensors", tensors, newer)
    with pytest.raises(InputError, match="format = 99"):
        foreign.import_network(tmp_path / "n.safetensors")
    write_safetensors(tmp_path / "g.safetensors", tensors, {"surprise": 1})
    with pytest.raises(InputError, match="record lacks"):
        foreign.import_network(tmp_path / "g.safetensors")


def test_a_file_too_long_is_not_read(tmp_path: Path) -> None:
    for name in ("f.pt", "f.safetensors"):
        with open(tmp_path / name, "wb") as file:
            file.write(b"PK\x03\x04" if name == "f.pt" else b"\x02" + bytes(7) + b"{}")
            file.truncate(40 * 2**30)  # sparse
        with pytest.raises(InputError, match=f"{name} has 42,949,672,960 bytes"):
            foreign.import_network(tmp_path / name)


@pytest.mark.parametrize("shape", [[0, 2**62], [0, 2**63, 1], [1] * 100])
def test_shapes_that_no_array_can_have_are_refused(tmp_path: Path, shape: list[int]) -> None:
    length = 0 if 0 in shape else 4
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, length]}})
    path = tmp_path / "f.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(length))
    with pytest.raises(InputError, match="cannot be read"):
        foreign.import_network(path)

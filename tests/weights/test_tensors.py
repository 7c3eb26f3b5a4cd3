"""The record in a file: what was changed is noticed; and files that no reader should trust."""

import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from jaxmi.errors import InputError
from jaxmi.weights import foreign
from jaxmi.weights.layouts import CASPER_CNN
from jaxmi.weights.native import Checkpoint
from jaxmi.weights.safetensors_file import write_safetensors


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
    with pytest.raises(InputError, match="record is not as it was written"):
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
        with pytest.raises(InputError, match=f"{name}: has 42,949,672,960 bytes"):
            foreign.import_network(tmp_path / name)


@pytest.mark.parametrize("shape", [[0, 2**62], [0, 2**63, 1], [1] * 100])
def test_shapes_that_no_array_can_have_are_refused(tmp_path: Path, shape: list[int]) -> None:
    length = 0 if 0 in shape else 4
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, length]}})
    path = tmp_path / "f.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(length))
    with pytest.raises(InputError, match="cannot be read"):
        foreign.import_network(path)

"""Harmful and broken .pt files: nothing in them is run, and one line says what is wrong."""

import copy
import importlib
import io
import os
import pickle
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.torch_cnn import MnistNet

from jaxmi.errors import InputError
from jaxmi.storage import foreign


class Runs:
    """Pickles to a call of whatever it is given."""

    def __init__(self, call, *args) -> None:
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize(
    ("content", "offender"),
    [
        (Runs(os.mkdir, "pwned"), "posix.mkdir"),
        (Runs(eval, "1 / 0"), "builtin.*eval"),
        (Runs(bytearray, 10**13), "bytearray"),  # allowed by weights_only, and 10 TB
        ([MnistNet, Runs(os.mkdir, "pwned")], "posix.mkdir"),
        ({"model": {"w": Runs(os.mkdir, "pwned")}}, "posix.mkdir"),
    ],
)
def test_a_pickle_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch, content, offender: str
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "f.pt")
    with pytest.raises(InputError, match=f"f.pt: its pickle calls .*{offender}"):
        foreign.import_network(Path("f.pt"))
    assert os.listdir() == ["f.pt"]
    if offender == "posix.mkdir":  # the control: it does run where nobody looks
        torch.load("f.pt", weights_only=False)
        assert Path("pwned").is_dir()


def _rewritten(
    path: Path, edit, compression: int = zipfile.ZIP_STORED, rename=lambda name: name
) -> None:
    """Rewrites a .pt file's members, each by `edit(name, content)`."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(rename(name), edit(name, content))


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def save_script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"\n<!DOCTYPE html><html>"), "is a web page"),
        (
            lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1"),
            "git lfs pull",
        ),
        (lambda path: path.write_bytes(b"\x1f\x8b\x08" + bytes(20)), "gunzip"),
        (lambda path: path.write_bytes(bytes(1000)), "filled with zeros"),
        (lambda path: path.write_bytes(b'{"a": 1}'), "is JSON"),
        (lambda path: path.write_bytes(npy(np.zeros(3))), "one NumPy array"),
        (
            lambda path: path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2]),
            "damaged",
        ),
        (lambda path: save_script(path), "TorchScript"),
        (lambda path: path.write_bytes(b"PK\x03\x04"), "damaged, or no file of PyTorch's"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "damaged"),
        (lambda path: _rewritten(path, lambda n, c: c[: len(c) // 2]), "f.pt"),
        (
            lambda path: _rewritten(path, lambda n, c: c[:4] if "/data/" in n else c),
            "storage 0 has",
        ),
        (
            lambda path: _rewritten(path, lambda n, c: c, zipfile.ZIP_DEFLATED),
            "f.pt: is a compressed zip",
        ),
        (lambda path: torch.save([1, 2], path), "no state dict"),
        (lambda path: torch.save({}, path), "no state dict"),
        (lambda path: torch.save({"a": 1}, path), "'a' is a int, no tensor"),
        (lambda path: torch.save({1: torch.ones(2)}, path), "1 is a tensor"),
        (lambda path: torch.save({"fc1.bias": torch.ones(1).cfloat()}, path), "ComplexFloat"),
        (
            lambda path: torch.save({"a": torch.ones(1).expand(10**12)}, path),
            "more than its storage holds",
        ),
        (lambda path: torch.save({"a": torch.ones(2)}, path), "layout is not clear"),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "'a' is a int"),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1}, protocol=0)), "neither"),
    ],
)
def test_what_is_no_network_is_refused(tmp_path: Path, trained, damage, message: str) -> None:
    path = tmp_path / "f.pt"
    foreign.export_network(trained["cnn"], "casper", path)
    damage(path)
    with pytest.raises(InputError, match=message) as caught:
        foreign.import_network(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_in_a_file_without_our_record_is_noticed(tmp_path: Path) -> None:
    """By the archive's checksums, which PyTorch does not look at."""
    path, model = tmp_path / "f.pt", MnistNet()
    torch.save(model.state_dict(), path)
    data = bytearray(path.read_bytes())
    data[data.index(model.fc1.bias.detach().numpy().tobytes())] ^= 1
    path.write_bytes(data)
    assert not torch.equal(torch.load(path)["fc1.bias"], model.fc1.bias)
    with pytest.raises(InputError, match=r"f.pt: is damaged.*Bad CRC-32"):
        foreign.import_network(path)


def test_an_archive_that_is_read_in_two_ways_is_refused(tmp_path: Path) -> None:
    """Two members of one name, or of two that PyTorch takes for one; overlaps, as in a bomb."""
    path = tmp_path / "f.pt"
    torch.save(MnistNet().state_dict(), path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("f/data.pkl", b"N.")
    with pytest.raises(InputError, match="two members of one name"):
        foreign.import_network(path)
    torch.save(MnistNet().state_dict(), path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("f/data.PKL", b"N.")
    with pytest.raises(InputError, match="two members of one name"):
        foreign.import_network(path)
    torch.save(MnistNet().state_dict(), path)
    _rewritten(path, lambda name, content: content, rename=lambda name: name.replace("pkl", "PKL"))
    with pytest.raises(InputError, match="no data"):
        foreign.import_network(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("f/data.pkl", bytes(10_000))
        (member,) = archive.infolist()
        for i in range(3):
            archive.filelist.append(copy.copy(member))
            archive.filelist[-1].filename = f"f/data/{i}.pkl"
    with pytest.raises(InputError, match="overlap"):
        foreign.import_network(path)


def test_pytorch_is_not_needed(tmp_path: Path, trained, monkeypatch) -> None:
    """Neither imported nor asked to load anything."""
    foreign.export_network(trained["cnn"], "casper", tmp_path / "f.pt")
    torch.save(MnistNet().state_dict(), tmp_path / "g.pt", _use_new_zipfile_serialization=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError):
        importlib.import_module("torch")
    for name in ("f.pt", "g.pt"):
        foreign.import_network(tmp_path / name)

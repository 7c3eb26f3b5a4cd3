"""Harmful and broken .pt files: nothing in them is run, and one line says what is wrong."""

import copy
import os
import pickle
import zipfile
from pathlib import Path

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
        (MnistNet(), "reference.torch_cnn.MnistNet"),
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


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b""), "neither a PyTorch file nor"),
        (lambda path: path.write_bytes(b"PK\x03\x04"), "damaged, or no file of PyTorch's"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "damaged"),
        (lambda path: _rewritten(path, lambda n, c: c[: len(c) // 2]), "f.pt"),
        (
            lambda path: _rewritten(path, lambda n, c: c[:4] if "/data/" in n else c),
            "storage 0 has",
        ),
        (
            lambda path: _rewritten(path, lambda n, c: c, zipfile.ZIP_DEFLATED),
            "f.pt: is compressed",
        ),
        (lambda path: torch.save([1, 2], path), "no state dict"),
        (lambda path: torch.save({}, path), "no state dict"),
        (lambda path: torch.save({"a": 1}, path), "a is a int, no tensor"),
        (lambda path: torch.save({1: torch.ones(2)}, path), "1 is no tensor's name"),
        (lambda path: torch.save({"a": torch.ones(1).bfloat16()}, path), "torch.bfloat16"),
        (
            lambda path: torch.save({"a": torch.ones(1).expand(10**12)}, path),
            "more than its storage holds",
        ),
        (lambda path: torch.save({"a": torch.ones(2)}, path), "layout is not clear"),
        (
            lambda path: torch.save(
                {"a": torch.ones(2)}, path, _use_new_zipfile_serialization=False
            ),
            "before 1.6",
        ),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "neither"),
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


def test_a_pickle_in_another_protocol_is_refused(tmp_path: Path) -> None:
    """In which a name may be computed, so that no list of names says what is called."""
    torch.save(MnistNet().state_dict(), tmp_path / "f.pt", pickle_protocol=4)
    with pytest.raises(InputError, match="its pickle has the opcode FRAME"):
        foreign.import_network(tmp_path / "f.pt")


def test_pytorch_is_told_to_load_weights_only(tmp_path: Path, trained, monkeypatch) -> None:
    """A second wall behind our own."""
    load, told = torch.load, []

    def watched(*args, **options):
        told.append(options.get("weights_only"))
        return load(*args, **options)

    monkeypatch.setattr(torch, "load", watched)
    foreign.export_network(trained["cnn"], "casper", tmp_path / "f.pt")
    foreign.import_network(tmp_path / "f.pt")
    assert told == [True]


def test_pytorch_sees_only_what_was_checked(tmp_path: Path, trained, monkeypatch) -> None:
    """The archive that it is given is made of the members whose checksums were verified."""
    seen = {}
    load = torch.load

    def watched(file, **options):
        with zipfile.ZipFile(file) as archive:
            seen.update({name: archive.read(name) for name in archive.namelist()})
        file.seek(0)
        return load(file, **options)

    monkeypatch.setattr(torch, "load", watched)
    path = tmp_path / "f.pt"
    foreign.export_network(trained["cnn"], "casper", path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/extra/code.py", b"import os")
    foreign.import_network(path)
    assert {"archive/data.pkl", "archive/data/0"} <= seen.keys()
    assert "archive/extra/code.py" not in seen
    with zipfile.ZipFile(path) as archive:
        assert all(archive.read(name) == content for name, content in seen.items())

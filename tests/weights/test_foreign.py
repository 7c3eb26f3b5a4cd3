"""Files of other tools: round trips through disk, what they say of themselves, what is refused."""

import copy
import hashlib
import json
import os
import pickle
import time
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.torch_cnn import MnistNet
from reference.torch_transformer import PairTransformer
from safetensors.numpy import load_file, save_file
from weights.test_layouts import random_params, same_bits

from jaxmi.challenges.registry import NAMES, model_config
from jaxmi.errors import InputError
from jaxmi.weights import foreign
from jaxmi.weights.layouts import CASPER_CNN, CASPER_TRANSFORMER, TRANSFORMER_LENS
from jaxmi.weights.native import Checkpoint, load_checkpoint

CASES = [
    ("casper", "cnn", "f.pt"),
    ("casper", "transformer", "f.pth"),
    ("transformer-lens", "transformer", "f.pt"),
    ("transformer-lens", "transformer", "f.safetensors"),
    ("transformer-lens-4", "transformer", "f.pt"),
    ("safetensors", "cnn", "f.safetensors"),
    ("safetensors", "transformer", "f.safetensors"),
]


@pytest.fixture
def trained(checkpoints: Path) -> dict[str, Checkpoint]:
    return {name: load_checkpoint(checkpoints / name) for name in NAMES}


@pytest.mark.parametrize(("format_name", "challenge", "file"), CASES)
def test_importing_inverts_exporting(
    tmp_path: Path, trained, format_name: str, challenge: str, file: str
) -> None:
    """Bitwise, with and without being told what it is; where the network comes from is kept."""
    path, checkpoint = tmp_path / file, trained[challenge]
    foreign.export_network(checkpoint, format_name, path)
    for told in ((), (format_name,), (None, challenge), (format_name, challenge)):
        back = foreign.import_network(path, *told)
        assert same_bits(back.params, checkpoint.params)
        assert back.metrics == checkpoint.metrics
        imported = back.config.pop("imported")
        assert imported == {
            "file": file,
            "layout": "casper" if format_name == "safetensors" else format_name,
            "has_checksums": True,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        assert back.config == checkpoint.config


@pytest.mark.parametrize(("format_name", "challenge", "file"), CASES)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32))
def test_any_tree_survives_the_file(
    tmp_path_factory, format_name: str, challenge: str, file: str, seed: int
) -> None:
    path = tmp_path_factory.mktemp("any") / file
    params = random_params(challenge, seed)
    config = {"challenge": challenge, "model": model_config(challenge), "seed": seed}
    foreign.export_network(Checkpoint(params, config, {}), format_name, path)
    assert same_bits(foreign.import_network(path).params, params)


def test_pytorch_opens_what_was_exported(tmp_path: Path, trained) -> None:
    """In the ways in which notebooks do it, from memory and memory-mapped."""
    foreign.export_network(trained["cnn"], "casper", tmp_path / "mnist_model.pt")
    foreign.export_network(trained["transformer"], "casper", tmp_path / "transformer_model.pt")
    for options in ({"weights_only": True}, {"weights_only": False}, {"mmap": True}):
        plain = torch.load(tmp_path / "mnist_model.pt", **options)
        MnistNet().load_state_dict(plain, strict=True)
        wrapped = torch.load(tmp_path / "transformer_model.pt", **options)
        assert wrapped.keys() == {"model"}
        PairTransformer().load_state_dict(wrapped["model"], strict=True)
    for name, array in CASPER_CNN.write(trained["cnn"].params).items():
        np.testing.assert_array_equal(plain[name], array)


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
@pytest.mark.parametrize("name", NAMES)
def test_files_that_others_saved_are_imported(
    tmp_path: Path, name: str, device: str, monkeypatch
) -> None:
    """Without our record: a state dict, on any device, beside what else a training script saves."""
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: device)
    model = MnistNet() if name == "cnn" else PairTransformer()
    state = model.state_dict()
    optimizer = torch.optim.AdamW(model.parameters())
    zeros = torch.zeros(1, 1, 28, 28) if name == "cnn" else torch.zeros(1, 3, dtype=torch.long)
    model(zeros)[0].sum().backward()
    optimizer.step()
    others = {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "losses": [0.5, 0.25],
        "shape": torch.Size([1, 2]),
        "device": torch.device("cpu"),
        "epoch": 4999,
    }
    lightning = {"state_dict": state, "epoch": 4999}
    for content in (state, OrderedDict(state.items()), {"model": state}, others, lightning):
        torch.save(content, tmp_path / "f.pt")
        network = foreign.import_network(tmp_path / "f.pt")
        assert network.challenge == name
        assert network.metrics == {}
        assert not network.config["imported"]["has_checksums"]
        layout = CASPER_CNN if name == "cnn" else CASPER_TRANSFORMER
        written = layout.write(network.params)
        for key, tensor in state.items():
            np.testing.assert_array_equal(written[key], tensor)


def test_parameters_count_as_tensors(tmp_path: Path) -> None:
    torch.save(dict(MnistNet().named_parameters()), tmp_path / "f.pt")
    assert foreign.import_network(tmp_path / "f.pt").challenge == "cnn"


@pytest.mark.parametrize(
    ("ignore", "mask"),
    [
        (-np.inf, np.tril(np.ones((3, 3), np.float32))),  # the solvers' notebook's mask
        (-1e5, np.tril(np.ones((3, 3), bool))),  # TransformerLens 1
        (-1e10, np.tril(np.ones((3, 3), bool))),  # the notebook
        (-np.inf, np.zeros((0, 0), bool)),  # TransformerLens 3
    ],
)
def test_constants_of_other_versions_are_accepted(
    tmp_path: Path, trained, ignore: float, mask: np.ndarray
) -> None:
    params = trained["transformer"].params
    tensors = TRANSFORMER_LENS.write(params)
    tensors["blocks.0.attn.IGNORE"] = np.array(ignore, np.float32)
    tensors["blocks.0.attn.mask"] = mask
    save_file(tensors, tmp_path / "f.safetensors")
    assert same_bits(foreign.import_network(tmp_path / "f.safetensors").params, params)


def _swap(tensors, a, b):
    tensors[a], tensors[b] = tensors[b], tensors[a]


DAMAGE = {
    "tensor fc1.bias is missing": lambda t: t.pop("fc1.bias"),
    "unexpected tensor fc3.bias": lambda t: t.update({"fc3.bias": t["fc1.bias"]}),
    "tensor fc1.bias is float32[1, 200], expected float32[200]": lambda t: t.update(
        {"fc1.bias": t["fc1.bias"][None]}
    ),
    "tensor fc1.weight is float32[400, 200], expected float32[200, 400]": lambda t: t.update(
        {"fc1.weight": t["fc1.weight"].T.copy()}
    ),
    "tensor fc2.bias is float64[2], expected float32[2]": lambda t: t.update(
        {"fc2.bias": t["fc2.bias"].astype(np.float64)}
    ),
    "tensor fc2.bias has values that are not finite": lambda t: t.update(
        {"fc2.bias": t["fc2.bias"] * np.float32(np.inf)}
    ),
    "tensor conv1.weight is float32[16, 8, 3, 3], expected float32[8, 1, 3, 3]": lambda t: _swap(
        t, "conv1.weight", "conv2.weight"
    ),
}


@pytest.mark.parametrize("message", DAMAGE)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_the_first_offender_is_named(tmp_path: Path, trained, suffix: str, message: str) -> None:
    """In a file without our record, so that only its tensors speak."""
    tensors = CASPER_CNN.write(trained["cnn"].params)
    DAMAGE[message](tensors)
    path = tmp_path / f"f{suffix}"
    if suffix == ".pt":
        torch.save({name: torch.tensor(array) for name, array in tensors.items()}, path)
    else:
        save_file(tensors, path)
    with pytest.raises(InputError) as caught:
        foreign.import_network(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_bias_that_the_network_lacks_is_refused(tmp_path: Path, trained) -> None:
    tensors = TRANSFORMER_LENS.write(trained["transformer"].params)
    tensors["blocks.0.attn.b_Q"][3, 5] = 1e-3
    save_file(tensors, tmp_path / "f.safetensors")
    with pytest.raises(InputError, match=r"attn\.b_Q, float32\[8, 16\], must be zero"):
        foreign.import_network(tmp_path / "f.safetensors")


def test_a_missing_constant_is_named(tmp_path: Path, trained) -> None:
    tensors = TRANSFORMER_LENS.write(trained["transformer"].params)
    del tensors["blocks.0.attn.IGNORE"]
    save_file(tensors, tmp_path / "f.safetensors")
    with pytest.raises(InputError, match=r"tensor blocks\.0\.attn\.IGNORE is missing"):
        foreign.import_network(tmp_path / "f.safetensors")


@pytest.mark.parametrize("mask", [np.ones((3, 3), bool), np.tril(np.ones((2, 2), bool))])
def test_another_mask_is_refused(tmp_path: Path, trained, mask: np.ndarray) -> None:
    tensors = TRANSFORMER_LENS.write(trained["transformer"].params)
    save_file({**tensors, "blocks.0.attn.mask": mask}, tmp_path / "f.safetensors")
    with pytest.raises(InputError, match=r"attn\.mask, bool.* must be lower-triangular"):
        foreign.import_network(tmp_path / "f.safetensors")


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
def test_a_pickle_that_wants_to_run_code_is_refused(
    tmp_path: Path, monkeypatch, content, offender: str
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "f.pt")
    with pytest.raises(InputError, match=f"f.pt: its pickle wants to call .*{offender}"):
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


def test_a_record_that_was_changed_is_refused(tmp_path: Path, trained) -> None:
    path = tmp_path / "f.safetensors"
    foreign.export_network(trained["cnn"], "safetensors", path)
    data = path.read_bytes()
    assert data.count(b"test_accuracy") == 1
    path.write_bytes(data.replace(b"test_accuracy", b"best_accuracy"))
    with pytest.raises(InputError, match="record is not as it was written"):
        foreign.import_network(path)


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


@pytest.mark.parametrize(
    "record",
    ["", "3", "{}", "[" * 100_000, '{"about": {}, "sha256": [[1, "b"]]}', '{"about": NaN}'],
)
def test_odd_records_are_refused(tmp_path: Path, trained, record: str) -> None:
    tensors = CASPER_CNN.write(trained["cnn"].params)
    save_file(tensors, tmp_path / "f.safetensors", metadata={"jaxmi": record})
    with pytest.raises(InputError, match="record"):
        foreign.import_network(tmp_path / "f.safetensors")


def test_the_file_must_be_what_the_user_says(tmp_path: Path, trained) -> None:
    foreign.export_network(trained["cnn"], "casper", tmp_path / "f.pt")
    foreign.export_network(trained["cnn"], "safetensors", tmp_path / "f.safetensors")
    for file, told, message in (
        ("f.pt", ("safetensors", None), r"is a \.pt file"),
        ("f.safetensors", ("casper", None), r"is a \.safetensors file"),
        ("f.pt", ("casper", "transformer"), "W_K is missing"),
        ("f.pt", ("transformer-lens", None), "W_K is missing"),
        ("f.pt", ("transformer-lens", "cnn"), "transformer-lens is no format"),
    ):
        with pytest.raises(InputError, match=message):
            foreign.import_network(tmp_path / file, *told)


def test_a_record_of_something_else_is_refused(tmp_path: Path, trained) -> None:
    mislabelled = Checkpoint(trained["cnn"].params, trained["transformer"].config, {})
    from jaxmi.weights.safetensors_file import write_safetensors

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


def test_a_stack_holds_each_network(tmp_path: Path, trained) -> None:
    """And PyTorch runs them at once, as `torch.func` stacks modules."""
    config = trained["cnn"].config
    networks = [Checkpoint(random_params("cnn", seed), config, {}) for seed in range(3)]
    networks.append(trained["cnn"])
    foreign.export_stack(networks, "safetensors", tmp_path / "f.safetensors")
    stack = load_file(tmp_path / "f.safetensors")
    for i, network in enumerate(networks):
        tensors = {name: array[i] for name, array in stack.items()}
        assert same_bits(CASPER_CNN.read(tensors), network.params)
    images = torch.rand(5, 1, 28, 28)
    model = MnistNet().eval()
    state = {name: torch.tensor(array[2:]) for name, array in stack.items()}
    state = {name: tensor.nan_to_num(0, 0, 0).clamp(-1, 1) for name, tensor in state.items()}
    together = torch.vmap(lambda one: torch.func.functional_call(model, one, (images,))[0])(state)
    alone = torch.func.functional_call(model, {n: t[1] for n, t in state.items()}, (images,))[0]
    torch.testing.assert_close(together[1], alone)
    with pytest.raises(InputError, match="stack of networks"):
        foreign.import_network(tmp_path / "f.safetensors")


def test_files_are_the_same_bytes_each_time(tmp_path: Path, trained, monkeypatch) -> None:
    """Today and tomorrow: a zip archive would note the time."""
    day = time.localtime(86_400 * 365 * 30)
    for file in ("a.pt", "b.pt", "a.safetensors", "b.safetensors"):
        name = "casper" if file.endswith(".pt") else "safetensors"
        foreign.export_network(trained["cnn"], name, tmp_path / file)
        monkeypatch.setattr(time, "localtime", lambda *_: day)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    a, b = (tmp_path / f"{stem}.safetensors" for stem in "ab")
    assert a.read_bytes() == b.read_bytes()

"""Pickles read without running them: what PyTorch and NumPy save, and what somebody made up."""

import argparse
import contextlib
import datetime
import io
import os
import pickle
import time
import tracemalloc
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.torch_cnn import MnistNet

from jaxmi.errors import InputError
from jaxmi.storage.pickle_reader import (
    MAX_INSTRUCTIONS,
    MAX_LENGTH,
    Faulty,
    Tensor,
    Unread,
    read_pickle,
    walk,
)

PROTOCOL = b"\x80\x02"


def saved(content, protocol: int = 2) -> tuple[bytes, dict[str, bytes]]:
    """Return the pickle and the storages that torch.save writes."""
    file = io.BytesIO()
    torch.save(content, file, pickle_protocol=protocol)
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if "/data/" in name]
        storages = {name.rpartition("/")[2]: archive.read(name) for name in names}
        return archive.read("archive/data.pkl"), storages


def assembled(value, storages: dict[str, bytes]):
    """The value with arrays in the place of tensors."""
    if isinstance(value, dict):
        return {name: assembled(one, storages) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [assembled(one, storages) for one in value]
    return value.array(storages) if isinstance(value, Tensor) else value


def same(ours, theirs) -> bool:
    """Whether what we read is what PyTorch saved."""
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, torch.Size | torch.device):
        return isinstance(ours, Unread)
    if isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(theirs, torch.Tensor):
        theirs = theirs.detach()
        if theirs.dtype is torch.bfloat16:
            return np.array_equal(ours.astype(np.float32), theirs.float().numpy())
        expected = theirs.numpy()
        return ours.dtype == expected.dtype and np.array_equal(ours, expected)
    return ours == theirs


class Runs:
    """Pickles to a call of whatever it is given."""

    def __init__(self, call, *args) -> None:
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize(
    "content",
    [
        MnistNet().state_dict(),
        dict(MnistNet().named_parameters()),
        OrderedDict(a=torch.ones(3, 4).T, b=torch.ones(9)[2:5], c=torch.ones(2, 3)[:, None]),
        {"scalar": torch.tensor(1.5), "empty": torch.ones(0, 3), "bool": torch.ones(2).bool()},
        {
            "half": torch.ones(2).half(),
            "long": torch.ones(2).long(),
            "wide": torch.ones(2).double(),
            "brain": torch.full((3,), 1.5).bfloat16(),
        },
        {"model": {}, "losses": [1.0, 2], "none": None, "yes": True, "nested": {"a": [()]}, 3: "x"},
        {"size": torch.Size([1, 2]), "device": torch.device("cuda", 0), "big": 2**80},
    ],
)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_pytorch_saves_is_read(content, protocol: int) -> None:
    pickled, storages = saved(content, protocol)
    assert same(assembled(read_pickle(pickled), storages), content)


BESIDE = {
    "namespace": argparse.Namespace(lr=1e-3, layers=[1, 2]),
    "defaultdict": defaultdict(list, {"a": [1.0]}),
    "set": {1, 2},
    "frozenset": frozenset({3}),
    (1, 2): "a tuple key",
    None: "a key that is None",
    "dtype": torch.bfloat16,
    "path": Path("data"),
    "scalars": [np.float64(0.5), np.int64(3), np.bool_(True)],
    "array": np.arange(6.0).reshape(2, 3),
    "complex": torch.ones(3).cfloat(),
    "sparse": torch.eye(3).to_sparse(),
    "bytes": b"abc",
    "bytearray": bytearray(b"abc"),
    "date": datetime.date(2020, 1, 1),
    "ordered": OrderedDict(a=1),
    "harmful": Runs(os.mkdir, "pwned"),
    "state": torch.get_rng_state(),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_lies_beside_is_passed_over_and_never_run(
    tmp_path: Path, monkeypatch, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    pickled, storages = saved({**BESIDE, "weights": torch.arange(4.0)}, protocol)
    content = read_pickle(pickled)
    np.testing.assert_array_equal(content["weights"].array(storages), np.arange(4.0))
    np.testing.assert_array_equal(content["array"], BESIDE["array"])
    assert content["defaultdict"] == {"a": [1.0]}
    assert content.keys() == {key for key in BESIDE if isinstance(key, str)} | {"weights"}
    called = {one.name for one in walk(content) if isinstance(one, Unread) and one.called}
    assert {"posix.mkdir", "argparse.Namespace"} <= called
    assert os.listdir() == []
    pickle.loads(pickle.dumps(BESIDE["harmful"]))  # the control: it does run where nobody looks
    assert os.listdir() == ["pwned"]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float64", ">f8", "int8", "uint16", "bool", "float16"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpy_arrays_are_read(dtype: str, order, protocol: int) -> None:
    array = np.asarray(np.arange(6).reshape(2, 3) % 2, dtype, order=order)
    content = read_pickle(pickle.dumps({"a": array, "b": [array, "x"]}, protocol=protocol))
    for one in (content["a"], content["b"][0]):
        np.testing.assert_array_equal(one, array)


def test_numpy_arrays_of_objects_are_not_read() -> None:
    content = read_pickle(pickle.dumps({"a": np.array([{}, None])}, protocol=4))
    assert isinstance(content["a"], Faulty)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch._neg_view(torch.ones(3)), "negated"),
        (torch.ones(3).expand(4, 3), "more than its storage holds"),
        (torch.ones(1).expand([1] * 9), "9 dimensions"),
        (torch.ones(3).cfloat(), "ComplexFloatStorage"),
    ],
)
def test_a_tensor_that_cannot_be_read_matters_only_if_it_is_needed(content, message: str) -> None:
    pickled, storages = saved({"a": content, "b": torch.ones(2)})
    read = read_pickle(pickled)
    np.testing.assert_array_equal(read["b"].array(storages), [1, 1])
    if isinstance(read["a"], Faulty):
        assert message in read["a"].reason
    else:
        with pytest.raises(InputError, match=message):
            read["a"].array(storages)


@pytest.mark.parametrize("change", [-4, 4])
def test_a_storage_must_have_the_length_that_the_pickle_says(change: int) -> None:
    """Older versions of PyTorch would read beyond it."""
    pickled, storages = saved(MnistNet().state_dict())
    tensor = read_pickle(pickled)["conv1.weight"]
    tensor.array(storages)
    with pytest.raises(InputError, match=f"storage 0 has {4 * 72 + change} bytes instead of 288"):
        tensor.array({"0": bytes(288 + change)})


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"})" + b"\x85" * 2_000_000 + b"K\x01s.", "more than 1,000,000 instructions"),
        (b"})" + b"q\x00h\x00\x86" * 60 + b"K\x01s.", ""),
        (b"ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x01sb.", ""),
        (b"ccollections\nOrderedDict\n)\x81.", ""),
        (b"(cposix\nsystem\nX\x01\x00\x00\x00xo.", "opcode OBJ"),
        (b"X\x05\x00\x00\x00posixX\x06\x00\x00\x00system\x93X\x01\x00\x00\x00x\x85R.", ""),
        (b"ctorch\nFloatStorage\nK\x05\x85R.", ""),
        (b"I5\n.", "opcode INT"),
        (b"}", "cannot be read"),
        (b".", "cannot be read"),
        (b"R.", "cannot be read"),
        (b"h\x05.", "cannot be read"),
        (b"u.", "cannot be read"),
        (b"}(K\x01u.", "cannot be read"),
        (b"K\x01Q.", "cannot be read"),
        (b"X\xff\xff\xff\x7fabc.", "cannot be read"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "cannot be read"),
        (b"K\x01K\x02\x93.", "cannot be read"),
        (b"N" * MAX_LENGTH + b".", "save model.state_dict"),
    ],
)
def test_hostile_pickles_are_harmless(pickled: bytes, message: str) -> None:
    """The first two crash PyTorch, or keep it busy for ever."""
    if message:
        with pytest.raises(InputError, match=message):
            read_pickle(PROTOCOL + pickled)
    else:
        read_pickle(PROTOCOL + pickled)


_N = MAX_INSTRUCTIONS // 8
_TEXT = b"X" + (2**21).to_bytes(4, "little") + b"x" * 2**21
_ENCODE = b"h\x01h\x00X\x06\0\0\0latin1\x86R"
_LIST = b"]q\x00(" + b"N" * 100_000 + b"e0"


@pytest.mark.parametrize(
    "pickled",
    [
        _TEXT
        + b"q\x000(c_codecs\nencode\nq\x01"
        + b"h\x01h\x00X\x06\0\0\0latin1\x86R" * _N
        + b"t.",
        _TEXT + b"q\x000(" + b"h\x00h\x00\x93" * _N + b"t.",
        _LIST + b"(ccollections\nOrderedDict\nq\x01" + b"h\x01h\x00\x85R" * _N + b"t.",
        _LIST[:-2] + b"0(" + b"(N" * _N + b"t.",
    ],
)
def test_nothing_is_copied_a_hundred_thousand_times(pickled: bytes) -> None:
    """A text or a list that the pickle holds once, and then uses in each of many calls."""
    start = time.monotonic()
    tracemalloc.start()
    try:
        with contextlib.suppress(InputError):
            read_pickle(PROTOCOL + pickled)
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()
    assert time.monotonic() - start < 60  # some seconds; without limits hours


def _view(offset: int, size: tuple, stride: tuple) -> bytes:
    """A tensor of a storage of ten numbers, as PyTorch pickles one."""
    storage = object()

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", 10) if value is storage else None

    class Tensor:
        def __reduce__(self):
            arguments = (storage, offset, size, stride, False, OrderedDict())
            return torch._utils._rebuild_tensor_v2, arguments

    file = io.BytesIO()
    Pickler(file, protocol=2).dump({"a": Tensor()})
    return file.getvalue()


@pytest.mark.parametrize(
    ("offset", "size", "stride", "fits"),
    [
        (0, (10,), (1,), True),
        (1, (10,), (1,), False),
        (1, (3, 3), (3, 1), True),
        (0, (3, 2), (4, 1), True),
        (1, (3, 2), (4, 1), False),
        (0, (5,), (2,), True),
        (1, (5,), (2,), True),
        (2, (5,), (2,), False),
        (0, (0,), (1,), True),
        (0, (0, 2**62), (1, 1), False),
        (-1, (2,), (1,), False),
        (0, (-2,), (1,), False),
        (5, (2,), (-1,), False),
        (0, (2, 2), (1,), False),
        (0, (2.0,), (1,), False),
    ],
)
def test_views_lie_within_their_storage(
    offset: int, size: tuple, stride: tuple, fits: bool
) -> None:
    tensor = read_pickle(_view(offset, size, stride))["a"]
    if isinstance(tensor, Faulty):
        assert not fits
        return
    if fits:
        array = tensor.array({"0": np.arange(10, dtype=np.float32).tobytes()})
        expected = torch.arange(10.0).as_strided(size, stride, offset).numpy()
        np.testing.assert_array_equal(array, expected)
    else:
        with pytest.raises(InputError, match="its pickle"):
            tensor.array({"0": bytes(40)})

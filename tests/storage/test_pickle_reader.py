"""What a .pt file's pickle may say: all that PyTorch saves of state dicts, and nothing else."""

import io
import pickle
import zipfile
from collections import OrderedDict

import pytest
import torch
from reference.torch_cnn import MnistNet

from jaxmi.errors import InputError
from jaxmi.storage.pickle_reader import MAX_LENGTH, check_pickle

PROTOCOL = b"\x80\x02"


def saved(content) -> tuple[bytes, dict[str, int]]:
    """What torch.save makes: the pickle, and the lengths of the storages."""
    file = io.BytesIO()
    torch.save(content, file)
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if "/data/" in name]
        storages = {name.rpartition("/")[2]: archive.getinfo(name).file_size for name in names}
        return archive.read("archive/data.pkl"), storages


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
        },
        {"model": {}, "losses": [1.0, 2], "none": None, "yes": True, "nested": {"a": [()]}, 3: "x"},
        {"size": torch.Size([1, 2]), "device": torch.device("cuda", 0), "big": 2**80},
    ],
)
def test_what_pytorch_saves_passes(content) -> None:
    check_pickle(*saved(content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch._neg_view(torch.ones(3))}, "negated"),
        ({"a": torch.ones(3).expand(4, 3)}, "more than its storage holds"),
        ({"a": torch.ones(1).expand([1] * 9)}, "9 dimensions"),
        ({"a": torch.ones(3).to_sparse()}, "calls torch._utils._rebuild_sparse_tensor"),
        ({"a": {1, 2}}, "calls .*set"),
        ({"a": bytearray(b"x")}, "calls .*bytearray"),
        ({(1, 2): torch.ones(3)}, "a key that is no text or number"),
        ({"a": torch.ones(3).cfloat()}, "calls torch.ComplexFloatStorage"),
    ],
)
def test_what_no_state_dict_of_ours_holds_is_refused(content, message: str) -> None:
    pickled, storages = saved(content)
    with pytest.raises(InputError, match=message):
        check_pickle(pickled, storages)


@pytest.mark.parametrize("change", [-4, 4])
def test_a_storage_must_have_the_length_that_the_pickle_says(change: int) -> None:
    """Older versions of PyTorch would read beyond it."""
    pickled, storages = saved(MnistNet().state_dict())
    check_pickle(pickled, storages)
    with pytest.raises(InputError, match=f"storage 0 has {4 * 72 + change} bytes instead of 288"):
        check_pickle(pickled, {**storages, "0": 288 + change})


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        pytest.param(
            b"})" + b"\x85" * 2_000_000 + b"K\x01s.",
            "a key that is no text or number",
            marks=pytest.mark.slow,
        ),
        (b"})" + b"q\x00h\x00\x86" * 60 + b"K\x01s.", "a key that is no text or number"),
        (b"ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x01sb.", "attributes"),
        (b"ccollections\nOrderedDict\n)\x81.", "opcode NEWOBJ"),
        (b"(cposix\nsystem\nX\x01\x00\x00\x00xo.", "posix.system"),
        (b"X\x05\x00\x00\x00posixX\x06\x00\x00\x00system\x93.", "opcode STACK_GLOBAL"),
        (b"ctorch\nFloatStorage\nK\x05\x85R.", "calls torch.FloatStorage"),
        (b"I5\n.", "opcode INT"),
        (b"}", "cannot be read"),
        (b".", ""),
        (b"R.", "cannot be read"),
        (b"h\x05.", "cannot be read"),
        (b"u.", "cannot be read"),
        (b"}(K\x01u.", "cannot be read"),
        (b"K\x01Q.", "cannot be read"),
        (b"X\xff\xff\xff\x7fabc.", "cannot be read"),
        (b"N" * MAX_LENGTH + b".", "save model.state_dict"),
    ],
)
def test_hostile_pickles_are_refused_and_harmless(pickled: bytes, message: str) -> None:
    """The first two crash PyTorch, or keep it busy for ever."""
    if message:
        with pytest.raises(InputError, match=message):
            check_pickle(PROTOCOL + pickled, {})
    else:
        check_pickle(PROTOCOL + pickled, {})


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
    if fits:
        check_pickle(_view(offset, size, stride), {"0": 40})
    else:
        with pytest.raises(InputError, match="its pickle"):
            check_pickle(_view(offset, size, stride), {"0": 40})

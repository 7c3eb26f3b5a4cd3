"""Corrupts files of one format, a thousand times, and loads each; run as a script by test_fuzz.py.

    python fuzz.py FORMAT CHECKPOINT N [blind]

FORMAT is one of `foreign.FORMATS`, "native", or "published": the casper format without our record,
of which only bytes are corrupted; "script": the same as a training script saves it, wrapped beside
a configuration, in pickle protocol 4. "blind" leaves out the comparison with the record, as a
control.

Prints one JSON object: how many corruptions loaded to exactly the original tensors ("same"), how
many gave the clear error ("refused"), by kind; "bad" lists all others. A crash ends the process.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, safe_open, save_file

from jaxmi.errors import InputError
from jaxmi.models.trees import leaves_by_path
from jaxmi.storage import checkpoints, foreign, pytorch_file
from jaxmi.storage.checkpoints import RECORD

SLOWEST = 5.0
"""Seconds that one file of a megabyte may take to load; a hang is longer."""
HEADROOM = 400_000_000
"""Bytes that the process may still map: many times a file's length, little against 'unbounded'."""


def flip_bits(data: bytes, rng: np.random.Generator) -> bytes:
    """Flips one bit or a few, every other time near one of the ends, where the structure is."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        near = min(len(data), 2048)
        at = rng.choice([rng.integers(len(data)), rng.integers(near), -1 - rng.integers(near)])
        changed[at] ^= 1 << rng.integers(8)
    return bytes(changed)


def truncate(data: bytes, rng: np.random.Generator) -> bytes:
    """Cuts the end off, or the beginning."""
    at = int(rng.integers(1, len(data)))
    return data[:at] if rng.random() < 0.8 else data[at:]


def splice(data: bytes, rng: np.random.Generator) -> bytes:
    """Overwrites, inserts or removes a run of bytes."""
    at, n = int(rng.integers(len(data))), int(rng.integers(1, 64))
    run = rng.bytes(n) if rng.random() < 0.5 else bytes(n)
    inserted, removed = ((run, 0), (b"", n), (run, n))[rng.integers(3)]
    return data[:at] + inserted + data[at + removed :]


def swap_names(tensors: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """Lets two tensors change places, two of one shape if there are any."""
    names = list(tensors)
    first = names[rng.integers(len(names))]
    alike = [n for n in names if n != first and tensors[n].shape == tensors[first].shape]
    others = alike or [n for n in names if n != first]
    second = others[rng.integers(len(others))]
    tensors[first], tensors[second] = tensors[second], tensors[first]


def change_shape(tensors: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """Gives a tensor another shape or type, with the same numbers if possible."""
    name = list(tensors)[rng.integers(len(tensors))]
    array = tensors[name]
    changed = [
        array.reshape(-1)[:-1],
        array[None],
        np.ascontiguousarray(array.T),
        np.ascontiguousarray(array.reshape(-1)[::-1].reshape(array.shape)),
        array.astype(np.float64),
        array.astype(np.float16),
        np.zeros((0, *array.shape), array.dtype),
    ]
    tensors[name] = changed[rng.integers(len(changed))]


def change_names(tensors: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """Removes, adds or renames a tensor."""
    name = list(tensors)[rng.integers(len(tensors))]
    kind = rng.integers(3)
    array = tensors[name] if kind == 1 else tensors.pop(name)
    if kind:
        tensors[f"{name}x"] = array


BYTES = {"flip": flip_bits, "truncate": truncate, "splice": splice}
TENSORS = {"swap": swap_names, "shape": change_shape, "names": change_names}


def edit_file(path: Path, edit: Callable[[dict[str, np.ndarray]], None], wrapped: bool) -> None:
    """Changes a file's tensors and keeps its record, as a faulty tool would."""
    if path.suffix == ".safetensors":
        with safe_open(path, "np") as file:
            metadata = file.metadata()
        tensors = load_file(path)
        edit(tensors)
        save_file({n: np.asarray(a, order="C") for n, a in tensors.items()}, path, metadata)
        return
    with zipfile.ZipFile(path) as archive:
        record = archive.read(f"archive/{RECORD}.json")
    loaded = torch.load(path)
    tensors = {n: t.numpy() for n, t in (loaded["model"] if wrapped else loaded).items()}
    edit(tensors)
    state = {name: torch.tensor(array) for name, array in tensors.items()}
    torch.save({"model": state} if wrapped else state, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{path.stem}/{RECORD}.json", record)


def prepare(format_name: str, checkpoint: checkpoints.Checkpoint, folder: Path) -> list[Path]:
    """Writes the files to be corrupted; the last one holds the tensors."""
    if format_name == "native":
        parts = checkpoint.params, checkpoint.config, checkpoint.metrics
        checkpoints.save_checkpoint(folder / "net", *parts)
        return [folder / "net" / name for name in checkpoints.CHECKPOINT_FILES]
    path = folder / "f.pt"
    if format_name == "published":
        layout = foreign.find_layout("casper", checkpoint.challenge)
        state = {name: torch.tensor(a) for name, a in layout.write(checkpoint.params).items()}
        torch.save({"model": state} if layout.wrapped else state, path)
        return [path]
    if format_name == "script":
        layout = foreign.find_layout("casper", checkpoint.challenge)
        arrays = layout.write(checkpoint.params).items()
        state = {f"module.{name}": torch.tensor(array) for name, array in arrays}
        beside = {"args": argparse.Namespace(lr=1e-3), "set": {1}, "losses": [np.float64(0.5)] * 9}
        torch.save({"net": {"params": state}, **beside}, path, pickle_protocol=4)
        return [path]
    path = path.with_suffix(foreign.FORMATS[format_name].suffixes[0])
    foreign.export_network(checkpoint, format_name, path)
    return [path]


def load(format_name: str, challenge: str, path: Path) -> checkpoints.Checkpoint:
    """Reads what was prepared, as the command line does."""
    if format_name == "native":
        return checkpoints.load_checkpoint(path.parent)
    format_name = {"published": "casper", "script": "casper"}.get(format_name, format_name)
    return foreign.import_network(path, format_name, challenge)


def outcome(path: Path, format_name: str, original: checkpoints.Checkpoint) -> str:
    """Says what came of loading: "same", "refused", or what is bad about it."""
    start_time = time.monotonic()
    try:
        loaded = leaves_by_path(load(format_name, original.challenge, path).params)
        expected = leaves_by_path(original.params)
        same = loaded.keys() == expected.keys() and all(
            loaded[name].tobytes() == expected[name].tobytes() for name in expected
        )
        verdict = "same" if same else "bad: other tensors"
    except InputError as error:
        verdict = "refused" if "\n" not in str(error) else f"bad: two lines: {error}"
    except BaseException as error:  # the point of it all
        verdict = f"bad: {error!r:.300}"
    return verdict if time.monotonic() - start_time < SLOWEST else "bad: slow"


def main() -> None:
    """Runs the corruptions."""
    format_name, source, n = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if sys.argv[4:] == ["blind"]:
        pytorch_file.check_record = checkpoints.check_record = lambda record, tensors: None
    original = checkpoints.load_checkpoint(source)
    wrapped = original.challenge == "transformer" and format_name == "casper"
    kinds = list(BYTES if format_name in ("published", "script") else BYTES | TENSORS)
    counts: Counter[str] = Counter()
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        files = prepare(format_name, original, Path(folder))
        assert outcome(files[-1], format_name, original) == "same"  # and everything is imported
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + HEADROOM,) * 2)
        whole = {file: file.read_bytes() for file in files}
        for seed in range(n):
            rng = np.random.default_rng(seed)
            kind = kinds[seed % len(kinds)]
            file = files[-1]
            if kind in BYTES:
                file = rng.choice([file, *files])
                file.write_bytes(BYTES[kind](whole[file], rng))
            else:
                edit_file(file, partial(TENSORS[kind], rng=rng), wrapped)
            verdict = outcome(files[-1], format_name, original)
            counts[f"{kind} {verdict.partition(':')[0]}"] += 1
            if verdict.startswith("bad"):
                bad.append(f"seed {seed}, {kind} of {file.name}: {verdict}")
            file.write_bytes(whole[file])
    print(json.dumps({"counts": counts, "bad": bad}))


if __name__ == "__main__":
    main()

"""Runs a case's command in this process, and says what it printed and wrote, as JSON types."""

import base64
import contextlib
import hashlib
import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contract.cases import Case, Refusal
from safetensors import safe_open

from jaxmi.cli.main import main

HERE = Path(__file__).parent
_LEFT = "<left out>"

LEFT_OUT = {
    "seconds", "train_seconds", "compile_seconds", "measure_seconds",  # time
    "candidates_per_second",  # speed
    "versions", "jaxmi_version", "commit", "measured_at", "missing",  # of the installation
    "environments",  # of the machine
    "path", "source",  # where MNIST lies
}  # fmt: skip
"""Names of values that may be anything: only that they are there is compared."""

LOOSE = {
    "question", "verdict", "words", "title", "refused", "why",  # prose
    "largest",  # where a few answers decide about the order
}  # fmt: skip
"""Names of values of which keys and types are compared."""


def observe(case: Case, folder: Path) -> dict[str, Any]:
    """Runs a case in an empty folder.

    Args:
      case: Which.
      folder: An empty folder.

    Returns:
      `printed`: the JSON object on stdout; `written`: file -> what is in it.
    """
    with prepared(folder):
        for args in case.before:
            call(args)
        code, out, err = call(case.args)
        assert code == 0, err
        printed = json.loads(out)
        files = {
            str(path): _describe(path, case)
            for given in case.writes
            for path in _files(Path(given))
        }
    printed = shape(printed) if case.values == "keys" else without_loose(printed)
    return {"printed": printed, "written": dict(sorted(files.items()))}


def refuse(refusal: Refusal, folder: Path) -> tuple[int, list[str]]:
    """Runs a command that fails in an empty folder; returns its code and the lines on stderr."""
    with prepared(folder), _environment(refusal.environment):
        code, out, err = call(refusal.args, json_too=False)
    assert out == ""
    return code, err.strip().splitlines()


@contextlib.contextmanager
def prepared(folder: Path) -> Iterator[None]:
    """Copies the repository's networks and the kept data to a folder, and goes there."""
    shutil.copytree(HERE.parent.parent / "checkpoints", folder / "checkpoints")
    shutil.copytree(HERE / "data", folder / "data")
    with contextlib.chdir(folder):
        yield


def call(args: Sequence[str], json_too: bool = True) -> tuple[int, str, str]:
    """Runs the command line; returns exit code, stdout, stderr."""
    code = 0
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        try:
            main([*args, "--json"] if json_too else list(args))
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, out.getvalue(), err.getvalue()


def shape(value: Any) -> Any:
    """Reduces a JSON value to its keys and types; of a list, to those of its first element."""
    if isinstance(value, dict):
        return {key: _LEFT if key in LEFT_OUT else shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value[:1]]
    if value is None or isinstance(value, bool):
        return "<nothing>" if value is None else "<yes or no>"
    return "<text>" if isinstance(value, str) else "<number>"


def without_loose(value: Any) -> Any:
    """Takes out of a JSON value what need not stay as it is."""
    if isinstance(value, dict):
        return {
            key: _LEFT if key in LEFT_OUT else shape(one) if key in LOOSE else without_loose(one)
            for key, one in value.items()
        }
    return [without_loose(inner) for inner in value] if isinstance(value, list) else value


def _files(path: Path) -> list[Path]:
    assert path.exists(), f"{path} was not written"
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def _describe(path: Path, case: Case) -> Any:
    """Says what is in a file: nothing of pictures and prose, names and types of JSON, and tensors.

    A pickle is read: it was written by the command just now.
    """
    kind = path.suffix
    if kind == ".json":
        return {"keys": shape(json.loads(path.read_text()))}
    if kind == ".jsonl":
        lines = path.read_text().splitlines()
        return {"lines": len(lines), "first": shape(json.loads(lines[0]))}
    if kind == ".txt":
        return {"text": path.read_text().splitlines()}
    if kind == ".npz":
        with np.load(path) as arrays:
            if path.name == "replacement.npz":  # whose sizes are chosen, and may hang on one label
                return {n: f"{a.dtype}, {a.ndim} axes" for n, a in sorted(arrays.items())}
            return {name: _array(arrays[name], case) for name in arrays}
    if kind == ".safetensors":
        with safe_open(path, "np") as file:
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
            metadata = {name: _record(text) for name, text in (file.metadata() or {}).items()}
        return {"tensors": _tensors(tensors, case), "metadata": metadata}
    if kind == ".pt":
        found = torch.load(path, weights_only=True)
        with zipfile.ZipFile(path) as archive:
            records = {n: _record(archive.read(n)) for n in archive.namelist() if ".json" in n}
        return {"tensors": _tensors(found, case), "records": records}
    if kind == ".pkl":
        return _tensors(pickle.loads(path.read_bytes()), case)
    return {}


def _record(text: str | bytes) -> Any:
    """The names in a file's own record; one for each tensor stands elsewhere."""
    try:
        found = json.loads(text)
    except ValueError:
        return "<text>"
    return sorted(found) if isinstance(found, dict) else shape(found)


def _tensors(value: Any, case: Case) -> Any:
    if isinstance(value, dict):
        return {str(name): _tensors(inner, case) for name, inner in value.items()}
    if isinstance(value, torch.Tensor):
        return _array(value.numpy(), case)
    return _array(value, case) if isinstance(value, np.ndarray) else shape(value)


def _array(array: np.ndarray, case: Case) -> dict[str, Any]:
    """Says what is in an array.

    Stored numbers by their bytes; answers, which may differ in a few places, bit by bit; other
    results by their mean, spread and first values.
    """
    dtype = "text" if array.dtype.kind == "U" else str(array.dtype)
    about: dict[str, Any] = {"dtype": dtype, "shape": list(array.shape)}
    if case.exact:
        about["sha256"] = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    elif case.values == "all" and not case.close:
        if array.dtype.kind in "iub" and array.size and set(np.unique(array)) <= {0, 1}:
            bits = np.packbits(array.astype(bool).reshape(-1))
            about["packed_bits"] = base64.b64encode(bits.tobytes()).decode()
        elif array.dtype.kind == "f" and array.size:
            about["mean"], about["spread"] = float(array.mean()), float(array.std())
            about["first"] = [round(float(one), 6) for one in array.reshape(-1)[:6]]
    return about


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

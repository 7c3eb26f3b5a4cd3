"""A sealed challenge reveals nothing of its program, and every altered byte is noticed."""

import io
import json
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.sealed import Key, posed
from jaxmi.errors import InputError
from jaxmi.programs.parse import parse
from jaxmi.programs.show import show
from jaxmi.sealed import write
from jaxmi.sealed.read import check_contents, open_bundle, read_bundle
from jaxmi.storage.checkpoints import Checkpoint, load_checkpoint, read_safetensors, write_json
from jaxmi.storage.checksums import SUMS, checksums, fingerprint
from jaxmi.storage.foreign import export_network
from jaxmi.storage.pytorch_file import has_torch
from jaxmi.workflows.pose import private_file

SAFE = (
    "network.safetensors",
    "transformer_lens.safetensors",
    "transformer_lens_4.safetensors",
)
FOREIGN = (*SAFE, "network.pt", "transformer_lens.pt") if has_torch() else SAFE

needs_torch = pytest.mark.skipif(not has_torch(), reason="PyTorch is not installed")


def files_of(bundle: Path) -> list[Path]:
    return sorted(path for path in bundle.rglob("*") if path.is_file())


def test_a_bundle_as_it_was_made_is_intact_and_holds_every_form(bundle: Path) -> None:
    assert set(check_contents(read_bundle(bundle), None)) == {
        "README.md",
        "challenge.json",
        "domain.npz",
        "model_labels.npz",
        "network/metrics.json",
        *FOREIGN,
    }
    assert {str(file.relative_to(bundle)) for file in files_of(bundle)} == {
        "README.md",
        "SHA256SUMS",
        "challenge.json",
        "domain.npz",
        "model_labels.npz",
        "network/config.json",
        "network/metrics.json",
        "network/params.safetensors",
        *FOREIGN,
    }


@pytest.mark.parametrize("there", [pytest.param(True, marks=needs_torch), False])
def test_without_pytorch_a_bundle_lacks_its_files_and_is_verified_all_the_same(
    there: bool,
    key: Key,
    transformer: Challenge,
    sealed_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(write, "has_torch", lambda: there)
    folder = tmp_path / "made"
    folder.mkdir()
    params = load_checkpoint(sealed_folder / "network").params
    write.write_bundle(folder, posed(transformer, key.program), params, key, {})
    compared = check_contents(read_bundle(folder), None)
    expected = [*SAFE, "network.pt", "transformer_lens.pt"] if there else list(SAFE)
    assert [name for name in compared if name.endswith((".pt", ".safetensors"))] == expected
    assert {file.name for end in ("pt", "safetensors") for file in folder.glob(f"*.{end}")} == set(
        expected
    )
    readme = (folder / "README.md").read_text()
    assert all(f"`{name}`" in readme for name in SAFE)
    assert ("`network.pt`" in readme) == there


def test_the_domain_and_the_split_are_those_of_the_challenge(
    bundle: Path, transformer: Challenge
) -> None:
    with np.load(bundle / "domain.npz", allow_pickle=False) as tables:
        np.testing.assert_array_equal(tables["inputs"], transformer.inputs)
        for name, rows in transformer.splits.items():
            np.testing.assert_array_equal(tables[name], rows)


def test_its_checksums_are_what_sha256sum_reads(bundle: Path) -> None:
    for line in (bundle / SUMS).read_text().splitlines():
        assert re.fullmatch(r"[0-9a-f]{64}  \S+", line)


def test_every_altered_byte_is_noticed(bundle: Path) -> None:
    """Every byte of small files is altered; of large ones the ends and fifty others."""
    rng = np.random.default_rng(0)
    tried = 0
    for file in files_of(bundle):
        content = file.read_bytes()
        small = file.name in (SUMS, "challenge.json")
        places = range(len(content)) if small else [0, len(content) - 1]
        places = [*places, *([] if small else rng.integers(0, len(content), 50))]
        for place in places:
            altered = bytearray(content)
            altered[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(altered)
            with pytest.raises(InputError):
                read_bundle(bundle)
            tried += 1
        file.write_bytes(content)
    assert tried > 1000
    read_bundle(bundle)  # the control: put back, it is intact


def test_what_is_added_taken_away_or_linked_is_named(bundle: Path, tmp_path: Path) -> None:
    (bundle / "hint.txt").write_text("x")
    with pytest.raises(InputError, match=r"hint\.txt is not listed"):
        read_bundle(bundle)
    (bundle / "hint.txt").unlink()
    (bundle / "network.safetensors").rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"network\.safetensors is missing"):
        read_bundle(bundle)
    (bundle / "network.safetensors").symlink_to(tmp_path / "moved")
    with pytest.raises(InputError, match="not a regular file"):
        read_bundle(bundle)


def change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)


def change_arrays(path: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    with np.load(path) as archive:
        arrays = {name: archive[name].copy() for name in archive}
    change(arrays)
    np.savez_compressed(path, allow_pickle=False, **arrays)


def swap_splits(arrays: dict[str, np.ndarray]) -> None:
    arrays["train"], arrays["test"] = arrays["test"], arrays["train"]


FORGERIES: dict[str, Callable[[Path], object]] = {
    "README.md": lambda b: (b / "README.md").write_text("The commitment is another."),
    "README.md, a count": lambda b: (b / "README.md").write_text(
        re.sub(r"of 6,385 \(test\)", "of 6,386 (test)", (b / "README.md").read_text())
    ),
    "challenge.json": lambda b: change_json(
        b / "challenge.json", lambda s: s["network_is_right_on"].update(domain=1)
    ),
    "network/metrics.json": lambda b: change_json(
        b / "network" / "metrics.json", lambda m: m.update(test_accuracy=0.99)
    ),
    "domain.npz": lambda b: change_arrays(b / "domain.npz", swap_splits),
    "domain.npz, inputs": lambda b: change_arrays(
        b / "domain.npz", lambda a: a.update(inputs=a["inputs"][::-1])
    ),
    "model_labels.npz": lambda b: change_arrays(
        b / "model_labels.npz", lambda a: a["labels"].__setitem__((5, 5), 1 - a["labels"][5, 5])
    ),
    "network.safetensors": lambda b: shutil.copy(b / "other", b / "network.safetensors"),
    "hint.txt": lambda b: (b / "hint.txt").write_text("x < y"),
}
"""Alterations with matching checksums; each name begins with the file that the error names."""


@pytest.mark.parametrize("forgery", FORGERIES)
def test_files_that_do_not_agree_are_noticed_even_with_new_checksums(
    forgery: str, bundle: Path, transformer: Challenge
) -> None:
    if forgery == "network.safetensors":
        params = jax.device_get(transformer.init(jax.random.key(0)))
        config = load_checkpoint(bundle / "network").config
        export_network(Checkpoint(params, config, {}), "safetensors", bundle / "other.safetensors")
        (bundle / "other.safetensors").rename(bundle / "other")
    FORGERIES[forgery](bundle)
    (bundle / "other").unlink(missing_ok=True)
    (bundle / SUMS).write_text(checksums(bundle))
    with pytest.raises(InputError, match=re.escape(forgery.partition(",")[0])):
        check_contents(read_bundle(bundle), None)


def test_a_folder_that_was_replaced_does_not_fit_the_key(bundle: Path, key_file: Path) -> None:
    (bundle / "README.md").write_text((bundle / "README.md").read_text() + "More.")
    (bundle / SUMS).write_text(checksums(bundle))
    with pytest.raises(InputError, match="fingerprint"):
        open_bundle(read_bundle(bundle), key_file, None)


def test_the_right_key_opens_it(bundle: Path, key_file: Path, key: Key) -> None:
    opened = open_bundle(read_bundle(bundle), key_file, None)
    assert parse(opened.program, "pairs") == key.program
    assert 0.3 < opened.challenge.labels.mean() < 0.7


def test_no_other_program_opens_it(bundle: Path, tmp_path: Path, key: Key) -> None:
    other = replace(key, program=parse(show(key.program).replace("4711", "4712"), "pairs"))
    forged = tmp_path / "forged.json"
    for content in (other.to_json(), {**other.to_json(), "commitment": key.commitment}):
        write_json(forged, content)
        with pytest.raises(InputError, match=r"not the key of|altered"):
            open_bundle(read_bundle(bundle), forged, None)


def test_an_accuracy_that_the_program_does_not_give_is_noticed(
    bundle: Path, tmp_path: Path, key: Key
) -> None:
    statement = json.loads((bundle / "challenge.json").read_text())
    statement["network_is_right_on"]["test"] -= 1
    write_json(bundle / "challenge.json", statement)
    (bundle / SUMS).write_text(checksums(bundle))
    key_file = tmp_path / "answer.json"
    write_json(key_file, {**key.to_json(), "fingerprint": fingerprint(bundle)})
    with pytest.raises(InputError, match="was stated"):
        open_bundle(read_bundle(bundle), key_file, None)


def contents_of(bundle: Path) -> dict[str, bytes]:
    """Return everything readable in a bundle: names, bytes, and the members of archives."""
    contents = {}
    for path in bundle.rglob("*"):
        contents[f"name of {path}"] = str(path.relative_to(bundle)).encode()
        if path.is_dir():
            continue
        data = path.read_bytes()
        contents[str(path)] = data
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(path) as archive:
                assert not archive.comment
                for member in archive.infolist():
                    assert member.date_time == (1980, 1, 1, 0, 0, 0) or path.suffix == ".pt"
                    contents[f"{path}:{member.filename}"] = archive.read(member)
    return contents


def leaks(bundle: Path, key: Key, labels: np.ndarray) -> list[str]:
    """Return the places in a bundle that reveal its program."""
    common = ("z = 0", "z += 3", "return z >= 0")  # half of the family has these
    lines = [line.strip() for line in show(key.program).splitlines()]
    lines = [line for line in lines if line not in common]
    secrets = ["4711", "1.7", "int(y", *lines]
    places = []
    for name, data in contents_of(bundle).items():
        if key.salt.encode() in data:
            places.append(f"{name}: the salt")
        if name.endswith((".safetensors", ".pt")) or "/data/" in name:
            searched = [word for word in secrets if len(word) > 6]  # random bytes hold "1.7"
        else:
            searched = secrets
            data = re.sub(rb"\b[0-9a-f]{64}\b", b"", data)  # one digest in a thousand holds "4711"
        places += [f"{name}: {word}" for word in searched if word.encode() in data]
    tensors = dict(read_safetensors(bundle / "network/params.safetensors").tensors)
    for file in ("domain.npz", "model_labels.npz"):
        with np.load(bundle / file, allow_pickle=False) as tables:
            tensors |= {f"{file}:{name}": tables[name] for name in tables}
    for name, array in tensors.items():
        flat = array.reshape(-1)
        if flat.size == labels.size and max((flat == labels).mean(), (flat != labels).mean()) == 1:
            places.append(f"{name}: the true labels")
    return places


def test_nothing_in_a_bundle_reveals_the_program(
    bundle: Path, key: Key, transformer: Challenge
) -> None:
    labels = posed(transformer, key.program).labels
    assert leaks(bundle, key, labels) == []


@pytest.mark.parametrize("leak", ["text", "name", "archive", "labels"])
def test_a_planted_leak_is_found(bundle: Path, key: Key, transformer: Challenge, leak: str) -> None:
    """The control: planted leaks are found."""
    labels = posed(transformer, key.program).labels
    if leak == "text":
        (bundle / "README.md").write_text("Hint: the first bound is 4711.")
    elif leak == "name":
        (bundle / f"{key.salt}.txt").touch()
    elif leak == "archive":
        np.savez_compressed(bundle / "domain.npz", hint=np.array(show(key.program).encode()))
    else:
        np.savez_compressed(bundle / "model_labels.npz", labels=1 - labels.reshape(113, 113))
    assert leaks(bundle, key, labels)


def test_no_seed_and_no_time_of_training_is_in_a_bundle(bundle: Path, sealed_folder: Path) -> None:
    config = json.loads((bundle / "network/config.json").read_text())
    assert set(config) == {"format", "challenge", "model", "recipe", "sealed", "jaxmi_version"}
    everything = b"".join(
        data for name, data in contents_of(bundle).items() if name.endswith((".json", ".md"))
    )
    assert b"seed" not in everything
    assert b"seconds" not in everything
    times = {stat_.st_mtime_ns for stat_ in map(os.stat, sealed_folder.rglob("*"))}
    assert len(times) == 1


def test_only_the_owner_reads_the_key_and_a_failed_write_leaves_none(
    tmp_path: Path,
) -> None:
    with private_file(tmp_path / "kept.json") as descriptor:
        os.write(descriptor, b"{}")
    assert stat.S_IMODE((tmp_path / "kept.json").stat().st_mode) == 0o600
    with pytest.raises(RuntimeError), private_file(tmp_path / "lost.json"):
        raise RuntimeError
    assert not (tmp_path / "lost.json").exists()

"""A mechanism challenge gives the network and keeps the key: sealed, bound, and checked."""

import copy
import hashlib
import io
import json
import logging
import os
import re
import shutil
import stat
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from jaxmi.challenges.registry import Origin, load_challenge
from jaxmi.challenges.sealed import Key, posed
from jaxmi.challenges.sealed_mechanism import MechanismKey, seal_mechanism
from jaxmi.errors import InputError, UnavailableError
from jaxmi.judge.key_explanation import check_fits, explanation_of
from jaxmi.judge.key_score import score_against_key
from jaxmi.judge.submission import read_explanation
from jaxmi.planted.compile import MECHANISMS
from jaxmi.programs.parse import parse
from jaxmi.programs.show import canonical, show
from jaxmi.sealed.read import check_contents, open_bundle, read_bundle
from jaxmi.sealed.write import write_mechanism
from jaxmi.storage.checkpoints import read_safetensors, write_json
from jaxmi.storage.checksums import SUMS, checksums
from jaxmi.workflows import pose_mechanism as pose_mechanism_module
from jaxmi.workflows.challenges import define
from jaxmi.workflows.plants import MAX_SEED, compile_network
from jaxmi.workflows.pose_mechanism import DISGUISE, _decoys, _plain, pose_mechanism
from jaxmi.workflows.recover import solve

SIZES = {"d_model": 64, "n_heads": 8, "d_mlp": 160}
PROGRAM = parse(
    "z = 0\nif y ** 2 < 4711 * x:\n    z += 3\nif y < 4 + x:\n    z -= 4\n"
    "z += int(x ** 1.7) % 4\nreturn z >= 1\n",
    "pairs",
)
SEED = 2**120 + 123456789


class Posed(NamedTuple):
    folder: Path
    key: MechanismKey
    key_file: Path

    @property
    def answer(self) -> dict[str, Any]:
        return json.loads(self.key_file.read_text())


def write(folder: Path, key: MechanismKey, params: Any, hide: bool = False) -> Posed:
    """Write a bundle of a network and a key, which need not fit."""
    definition = define(None, kind="pairs", name="sealed", p=13, network=SIZES)
    folder.mkdir(parents=True)
    challenge = posed(load_challenge(definition), key.program)
    fingerprint = write_mechanism(folder, challenge, params, key, hide)
    key_file = folder.with_name(f"{folder.name}.answer.json")
    write_json(key_file, {**key.to_json(), "fingerprint": fingerprint})
    return Posed(folder, key, key_file)


@pytest.fixture(scope="module")
def plants() -> dict[str, Any]:
    definition = define(None, kind="pairs", name="sealed", p=13, network=SIZES)
    challenge = posed(load_challenge(definition), canonical(PROGRAM))
    return {
        mechanism: compile_network(challenge, mechanism, disguise_seed=SEED, **DISGUISE)
        for mechanism in ("conditions", "rows")
    }


@pytest.fixture(scope="module")
def made(plants: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Posed:
    plant = plants["conditions"]
    key = seal_mechanism(PROGRAM, plant.key)
    return write(tmp_path_factory.mktemp("made") / "task", key, plant.params)


@pytest.fixture
def task(made: Posed, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.folder, tmp_path / "task"))


def test_a_mechanism_is_posed_verified_and_opened(tmp_path: Path) -> None:
    definition = define(None, kind="pairs", name="sealed", p=23, network=SIZES)
    out, answer = tmp_path / "task", tmp_path / "task.answer.json"
    result = pose_mechanism(out, answer, 50, definition)
    assert result["task"] == "mechanism" and "mechanism" not in {**result, "task": ""}.values()
    assert stat.S_IMODE(answer.stat().st_mode) == 0o600
    bundle = read_bundle(out)
    assert (bundle.task, bundle.kind) == ("mechanism", "pairs")
    assert bundle.commitment == result["commitment"] and bundle.counts == bundle.sizes
    assert "program.txt" in check_contents(bundle, None)
    opened = open_bundle(bundle, answer, None)
    assert opened.program == bundle.program and opened.mechanism is not None
    key = json.loads(answer.read_text())
    # Whoever has the key can compile the same weights again.
    compiled = key["compiled"]
    again = compile_network(
        opened.challenge,
        compiled["mechanism"],
        disguise_seed=int(compiled["disguise"]),
        cancelling=compiled["cancelling"],
        idle_heads=compiled["idle_heads"],
    )
    np.testing.assert_array_equal(again.params["W_E"], bundle.checkpoint.params["W_E"])
    for mechanism in MECHANISMS:  # the program does not tell which it was
        check_fits(compile_network(opened.challenge, mechanism).key)


@pytest.mark.parametrize("part", ["compile_network", "check_key"])
def test_what_fails_after_the_disguise_tells_nothing_and_is_tried_again(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original, failed = getattr(pose_mechanism_module, part), []

    def fails_once(*args: Any, **kwargs: Any) -> Any:
        disguised = part == "check_key" or "disguise_seed" in kwargs
        if disguised and not failed:
            failed.append(args)
            raise InputError("rows gives another label on 3 of 529 inputs")
        return original(*args, **kwargs)

    monkeypatch.setattr(pose_mechanism_module, part, fails_once)
    definition = define(None, kind="pairs", name="sealed", p=23, network=SIZES)
    with caplog.at_level(logging.INFO):
        result = pose_mechanism(tmp_path / "task", tmp_path / "key.json", 50, definition)
    assert failed and result["programs_tried"] > 1
    assert "a program does not survive its disguise: trying again" in caplog.text
    assert "another label" not in caplog.text


@pytest.mark.parametrize(("d_mlp", "n_heads", "decoys"), [(160, 8, (16, 1)), (12, 2, (4, 0))])
def test_decoys_are_as_many_as_every_mechanism_has_room_for(
    d_mlp: int, n_heads: int, decoys: tuple[int, int]
) -> None:
    network = {"d_model": 64, "n_heads": n_heads, "d_head": 8, "d_mlp": d_mlp}
    definition = define("return y > 2 * x", p=13, network=network)
    challenge = load_challenge(definition)
    plain = _plain(challenge)
    used = max(one.config["compiled"]["used"]["d_mlp"] for one in plain)
    room = _decoys(plain)
    assert room == {"cancelling": min(16, (d_mlp - used) // 2), "idle_heads": decoys[1]}
    assert room["cancelling"] == decoys[0]
    for mechanism in MECHANISMS:
        plant = compile_network(challenge, mechanism, disguise_seed=1, **room)
        (listed,) = plant.key["decoys"] or [{"cancelling": [], "idle_heads": []}]
        assert (len(listed["cancelling"]), len(listed["idle_heads"])) == decoys


def test_a_network_that_no_program_fits_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    small = {"d_model": 8, "n_heads": 2, "d_mlp": 4}
    definition = define(None, kind="pairs", name="sealed", p=23, network=small)
    with pytest.raises(UnavailableError, match="1 programs, and none that fits every mechanism"):
        pose_mechanism(tmp_path / "task", tmp_path / "key.json", 1, definition)
    assert list(tmp_path.iterdir()) == []


def test_the_commitment_is_the_hash_that_the_docs_describe(made: Posed) -> None:
    key = made.answer
    held = json.dumps(key["mechanism"], sort_keys=True, separators=(",", ":"))
    lines = ["jaxmi sealed mechanism, version 1", key["salt"], "pairs", key["program"], held]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == key["commitment"]
    assert (
        json.loads((made.folder / "challenge.json").read_text())["commitment"] == key["commitment"]
    )


def alter(value: dict[str, Any], how: str) -> dict[str, Any]:
    value = copy.deepcopy(value)
    held = next(one for one in value["mechanism"]["variables"] if one["held"])
    match how:
        case "mechanism":
            value["mechanism"]["mechanism"] = "rows"
        case "direction":
            entry = next(iter(held["directions"][0]))
            held["directions"][0][entry] *= 1.001
        case "neurons":
            held["neurons"] = {"0": 1.0}
        case "program":
            value["program"] = value["program"].replace("4711", "4712")
        case "salt":
            value["salt"] = value["salt"][::-1]
        case "no mechanism":
            del value["mechanism"]
        case "no number":
            held["offset"] = float("inf")
    return value


@pytest.mark.parametrize(
    "how", ["mechanism", "direction", "neurons", "program", "salt", "no mechanism", "no number"]
)
def test_an_altered_key_is_noticed(made: Posed, tmp_path: Path, how: str) -> None:
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps(alter(made.answer, how)))
    with pytest.raises(InputError, match=r"altered|a key needs|finite") as caught:
        open_bundle(read_bundle(made.folder), forged, None)
    assert "\n" not in str(caught.value)


def test_another_challenges_key_does_not_open_it(
    made: Posed, plants: dict[str, Any], tmp_path: Path
) -> None:
    plant = plants["rows"]
    other = write(tmp_path / "other", seal_mechanism(PROGRAM, plant.key), plant.params)
    with pytest.raises(InputError, match="is not the key of"):
        open_bundle(read_bundle(made.folder), other.key_file, None)
    program_key = tmp_path / "program.json"
    write_json(program_key, Key(canonical(PROGRAM), "0" * 64).to_json())
    with pytest.raises(InputError, match="it is no key of a mechanism"):
        open_bundle(read_bundle(made.folder), program_key, None)


def test_a_mechanisms_key_opens_no_sealed_program(sealed_folder: Path, made: Posed) -> None:
    with pytest.raises(InputError, match="it is no key of a program: `task` is 'mechanism'"):
        open_bundle(read_bundle(sealed_folder), made.key_file, None)


@pytest.mark.parametrize("how", ["another mechanism's", "two directions exchanged"])
def test_who_committed_to_a_wrong_key_is_found_out(
    plants: dict[str, Any], tmp_path: Path, how: str
) -> None:
    """The commitment binds to a key, and interventions tell whether it is this network's."""
    plant = plants["conditions"]
    wrong = copy.deepcopy(dict(plants["rows" if how[0] == "a" else "conditions"].key))
    if how[0] == "t":
        first, second = [one for one in wrong["variables"] if one["role"] == "condition"][:2]
        first["directions"], second["directions"] = second["directions"], first["directions"]
    posed_wrongly = write(tmp_path / "task", seal_mechanism(PROGRAM, wrong), plant.params)
    bundle = read_bundle(posed_wrongly.folder)
    check_contents(bundle, None)  # nobody can tell before the reveal
    with pytest.raises(InputError, match="the key does not fit the network"):
        open_bundle(bundle, posed_wrongly.key_file, None)


FORGERIES = {
    "program.txt": lambda b: (b / "program.txt").write_text("return x < y\n"),
    "README.md": lambda b: (b / "README.md").write_text("The commitment is another."),
    "challenge.json": lambda b: write_json(
        b / "challenge.json",
        {
            **(old := json.loads((b / "challenge.json").read_text())),
            "network_is_right_on": {
                **old["network_is_right_on"],
                "domain": old["sizes"]["domain"] - 1,
                "test": old["sizes"]["test"] - 1,
            },
        },
    ),
    "mechanism.json": lambda b: (b / "mechanism.json").write_text("{}"),
}
"""Alterations with matching checksums; each name is in the error."""


@pytest.mark.parametrize("forgery", FORGERIES)
def test_files_that_do_not_agree_are_noticed(task: Path, forgery: str) -> None:
    FORGERIES[forgery](task)
    (task / SUMS).write_text(checksums(task))
    with pytest.raises(InputError, match=re.escape(forgery)):
        check_contents(read_bundle(task), None)


def test_another_task_or_format_is_refused(task: Path) -> None:
    statement = json.loads((task / "challenge.json").read_text())
    for change in ({"task": "riddle"}, {"format": 1}, {"format": [2]}, {"task": ["mechanism"]}):
        write_json(task / "challenge.json", {**statement, **change})
        (task / SUMS).write_text(checksums(task))
        with pytest.raises(InputError, match="this jaxmi reads the formats"):
            read_bundle(task)


def contents_of(folder: Path) -> dict[str, bytes]:
    """Return everything readable in a bundle: names, bytes, and the members of archives."""
    contents = {}
    for path in folder.rglob("*"):
        contents[f"name of {path}"] = str(path.relative_to(folder)).encode()
        if path.is_dir():
            continue
        data = contents[str(path)] = path.read_bytes()
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    contents[f"{path}:{member.filename}"] = archive.read(member)
    return contents


def leaks(folder: Path, key: MechanismKey, hidden: bool = False) -> list[str]:
    """Return the places in a bundle that reveal the salt, the seed, the key or the mechanism."""
    held = [one for one in key.mechanism["variables"] if one["held"]]
    numbers = [repr(n) for one in held for row in one["directions"] for n in row.values()]
    numbers += [repr(n) for one in held for n in one["neurons"].values() if len(repr(n)) > 6]
    secrets = [key.salt, str(SEED), f"{SEED:x}", "disguise_seed", '"compiled"', '"variables"']
    secrets += ['"neurons"', '"directions"', "is held", *numbers]
    secrets += ['"decoys"', '"cancelling"', "idle_heads"]
    for one in key.mechanism["decoys"]:  # the pairs, however they are spaced
        secrets += [json.dumps(list(pair)) for pair in one["cancelling"]]
        secrets += [json.dumps(list(pair), separators=(",", ":")) for pair in one["cancelling"]]
    if hidden:
        secrets += ["4711", *(line.strip() for line in show(key.program).splitlines()[1:-1])]
    places = []
    for name, data in contents_of(folder).items():
        data = re.sub(rb"\b[0-9a-f]{64}\b", b"", data) if key.salt.encode() not in data else data
        places += [f"{name}: {word}" for word in secrets if word.encode() in data]
        if "mechanism.json" in name:
            places.append(f"{name}: a key")
    tensors = read_safetensors(folder / "network/params.safetensors").tensors
    for name, array in tensors.items():
        rows = array.reshape(-1, array.shape[-1]).astype(np.float64)
        for one in held:
            for entries in one["directions"]:
                direction = np.zeros(SIZES["d_model"])
                direction[[int(i) for i in entries]] = list(entries.values())
                if rows.shape[1] == len(direction):
                    same = np.abs(rows - direction.astype(np.float32)).max(axis=1) < 1e-6
                    places += [f"{name}: a direction of the key"] * bool(same.any())
    return places


def test_nothing_in_a_bundle_reveals_the_key(made: Posed) -> None:
    assert leaks(made.folder, made.key) == []
    config = json.loads((made.folder / "network/config.json").read_text())
    assert set(config) == {
        "format", "challenge", "model", "sealed", "jaxmi_version", "definition"
    }  # fmt: skip
    assert not {"program", "labels"} & set(config["definition"])
    # All three mechanisms are named, and none of them more than in a bundle of another.
    statement = (made.folder / "challenge.json").read_text()
    assert [statement.count(f'"{name}"') for name in MECHANISMS] == [1, 1, 1]
    assert len({os.stat(path).st_mtime_ns for path in made.folder.rglob("*")}) == 1


def test_but_for_the_network_a_bundle_is_the_same_whatever_the_mechanism(
    made: Posed, plants: dict[str, Any], tmp_path: Path
) -> None:
    plant = plants["rows"]
    other = write(tmp_path / "task", seal_mechanism(PROGRAM, plant.key), plant.params)
    for name in ("README.md", "challenge.json", "program.txt", "network/config.json"):
        one, another = (
            (each.folder / name).read_text().replace(each.key.commitment, "")
            for each in (made, other)
        )
        assert one == another, name
    for name in ("domain.npz", "model_labels.npz"):
        assert (made.folder / name).read_bytes() == (other.folder / name).read_bytes()


@pytest.mark.parametrize("leak", ["text", "number", "name", "config", "tensor", "decoy"])
def test_a_planted_leak_is_found(task: Path, made: Posed, leak: str) -> None:
    """The control."""
    held = next(one for one in made.key.mechanism["variables"] if one["held"])
    if leak == "text":
        (task / "README.md").write_text(f"The seed is {SEED}.")
    elif leak == "number":
        (task / "README.md").write_text(repr(next(iter(held["directions"][0].values()))))
    elif leak == "name":
        (task / "network/mechanism.json").touch()
    elif leak == "decoy":
        pair = made.key.mechanism["decoys"][0]["cancelling"][0]
        (task / "README.md").write_text(f"The neurons {pair} do nothing.")
    elif leak == "config":
        write_json(task / "network/config.json", {"compiled": {}})
    else:
        from safetensors.numpy import save_file

        direction = np.array([[held["directions"][0][str(i)] for i in range(SIZES["d_model"])]])
        path = task / "network/params.safetensors"
        save_file({"hint": direction.astype(np.float32)}, path)
    assert leaks(task, made.key)


def test_a_hidden_program_is_in_no_file_and_opened_all_the_same(
    plants: dict[str, Any], tmp_path: Path
) -> None:
    plant = plants["rows"]
    hidden = write(tmp_path / "t", seal_mechanism(PROGRAM, plant.key), plant.params, hide=True)
    assert leaks(hidden.folder, hidden.key, hidden=True) == []
    bundle = read_bundle(hidden.folder)
    assert bundle.program is None and "program.txt" not in check_contents(bundle, None)
    assert "4711" in open_bundle(bundle, hidden.key_file, None).program
    (hidden.folder / "README.md").write_text("y ** 2 < 4711 * x")  # the control
    assert leaks(hidden.folder, hidden.key, hidden=True)


def test_the_key_with_its_decoys_is_a_full_explanation(plants: dict[str, Any]) -> None:
    for plant in plants.values():
        challenge = plant.challenge
        (decoys,) = plant.key["decoys"]
        assert (len(decoys["cancelling"]), len(decoys["idle_heads"])) == (16, 1)
        written = json.dumps(explanation_of(plant.key, challenge, plant.params))
        known = Origin(challenge.kind, challenge.model)
        explanation = read_explanation(written, challenge.name, known)
        assert score_against_key(
            explanation, plant.key, challenge, plant.params
        ).total == pytest.approx(1)


def test_seeds_are_too_many_to_try() -> None:
    assert MAX_SEED >= 2**128


def test_solving_is_refused_and_says_what_to_run(made: Posed, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"asks for a mechanism.*jaxmi explain .*/network"):
        solve(made.folder, tmp_path / "solved.txt", False, None)
    assert not (tmp_path / "solved.txt").exists()

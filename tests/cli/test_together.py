"""`jaxmi regenerate` of several challenges: a run folder each, resumable alone or together."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from command import finish, start

from jaxmi.cli.main import main
from jaxmi.training import seeds
from jaxmi.workflows.challenges import define, write_challenge

TEXTS = {"less": "return x < y", "sum": "return x + y > 90", "bent": "return x ** 2 % 7 < 3"}
QUICK = ("--set", "steps=40", "eval_every=20", "batch_size=64")


@pytest.fixture
def folders() -> list[str]:
    """Write three challenge folders, of which the last has a network of another size."""
    for name, text in TEXTS.items():
        network = {"d_mlp": 128} if name == "bent" else None
        write_challenge(define(text, name=name, network=network), Path(name))
    return list(TEXTS)


def results(run: Path) -> dict[str, bytes]:
    files = [*run.rglob("params.safetensors"), *run.rglob("metrics.json"), *run.rglob("*.jsonl")]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


@pytest.mark.slow
def test_each_challenge_has_a_run_folder_and_a_shape_is_compiled_once(
    folders: list[str], run, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    class Counted(seeds.Trainer):
        def __init__(self, challenges, recipe, width) -> None:
            compiled.append([challenge.name for challenge in challenges])
            super().__init__(challenges, recipe, width)

    monkeypatch.setattr(seeds, "Trainer", Counted)
    printed = run("regenerate", "less", "bent", "sum", "--seeds", "0:2", "--out", "out", *QUICK)
    assert compiled == [["less", "sum"], ["bent"]]
    told = [(entry["challenge"], entry["seed"]) for entry in printed["runs"]]
    assert told == [(name, seed) for name in ("less", "bent", "sum") for seed in (0, 1)]
    for name in folders:
        record = json.loads((Path("out") / name / "run.json").read_text())
        assert record["finished"] is True
        assert record["challenge"] == name
        assert TEXTS[name] in record["definition"]["program"]
        files = {path.name for path in (Path("out") / name).iterdir()}
        assert {"seed-00000", "seed-00001", "metrics.jsonl", "curves.png", "labels.png"} <= files
        assert "state" not in files
    again = run("regenerate", "less", "sum", "--seeds", "0:2", "--out", "out", *QUICK)
    assert [entry["challenge"] for entry in again["runs"]] == ["less", "less", "sum", "sum"]
    assert len(compiled) == 2, "what is finished is not trained again"
    # Alone it is the same, to the bit.
    run("regenerate", "sum", "--seeds", "0:2", "--out", "alone", *QUICK)
    assert results(Path("alone")) == results(Path("out/sum"))
    # The control: another program is another network.
    assert results(Path("alone")) != results(Path("out/less"))


def test_two_of_one_name_and_other_slips_are_refused(folders: list[str], fails) -> None:
    shutil.copytree("less", "copy")
    line = fails(2, "regenerate", "less", "copy", "--out", "out", *QUICK)
    assert "2 challenges are named 'less'" in line
    assert "no challenge 'nothing'" in fails(2, "regenerate", "less", "nothing", *QUICK)
    assert "2 challenges are named 'cnn'" in fails(2, "regenerate", "all", "cnn", *QUICK)
    assert "no challenge: name one of transformer" in fails(2, "regenerate", *QUICK)
    assert not Path("out").exists()
    assert not Path("runs").exists()


def test_another_program_under_the_same_name_is_refused(folders: list[str], run, fails) -> None:
    run("regenerate", "less", "--out", "out", *QUICK)
    write_challenge(define("return x > y", name="less"), Path("less"), force=True)
    assert "definition.program" in fails(2, "regenerate", "less", "--out", "out", *QUICK)


@pytest.mark.slow
def test_a_folder_of_programs_is_a_challenge_per_program(run, fails) -> None:
    folder = Path("programs")
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / f"{name}.txt").write_text(text)
    printed = run("regenerate", "programs", "--out", "out", *QUICK)
    assert [entry["challenge"] for entry in printed["runs"]] == sorted(TEXTS)
    (folder / "wrong.py").write_text("return x <")
    line = fails(2, "regenerate", "programs", "--out", "out", *QUICK)
    assert "programs/wrong.py: line 1" in line


@pytest.mark.slow
def test_a_program_that_diverges_takes_no_other_with_it(
    folders: list[str], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    found = seeds._divergences

    def divergences(curves, recipe, known):
        broken = {task: "seed 0 diverged: pretended" for task in curves if task == (1, 0)}
        return {**found(curves, recipe, known), **broken}

    with monkeypatch.context() as pretended, pytest.raises(SystemExit) as caught:
        pretended.setattr(seeds, "_divergences", divergences)
        main(["regenerate", "less", "sum", "--seeds", "0:2", "--out", "out", *QUICK])
    assert caught.value.code == 2
    assert "sum: seed 0 diverged" in capsys.readouterr().err.splitlines()[-1]
    there = {str(path) for path in Path("out").glob("*/seed-*")}
    assert there == {"out/less/seed-00000", "out/less/seed-00001", "out/sum/seed-00001"}
    main(["regenerate", "less", "sum", "--seeds", "0:2", "--out", "out", *QUICK])
    assert Path("out/sum/seed-00000").is_dir()


LONG = ("--save-every", "20", "--set", "steps=400", "eval_every=10", "batch_size=64")


def wait_for_a_state(process) -> None:
    """Read stderr until states are saved; fail if the process ends before."""
    assert process.stderr is not None
    while not list(Path("out").glob("*/state/*/[1-9]*0")):
        assert process.stderr.readline(), "it ended before a state was saved"


@pytest.mark.long
def test_stopped_and_killed_it_ends_as_if_undisturbed(folders: list[str]) -> None:
    names, devices = ("less", "sum"), ("--cpu-devices", "2", "--seeds-per-batch", "4")
    command = ("regenerate", *names, "--seeds", "0:2", *devices, *LONG)
    finish(start(*command, "--out", "undisturbed"))
    process = start(*command, "--out", "out")
    wait_for_a_state(process)
    process.send_signal(signal.SIGTERM)
    _, err = finish(process, code=75)
    assert "of less to seed 1 of sum (SIGTERM); the same command resumes" in err.splitlines()[-1]
    for name in names:  # each run folder holds its own part
        assert len(list((Path("out") / name / "state").glob("*"))) == 1
    shutil.copytree("out", "stopped")
    process = start(*command, "--out", "out")
    assert process.stderr is not None
    while "network" not in process.stderr.readline():
        assert process.poll() is None
    process.kill()
    process.communicate()
    finish(start(*command, "--out", "out"))
    for name in names:
        assert results(Path("out") / name) == results(Path("undisturbed") / name)
        assert not (Path("out") / name / "state").exists()
    # One of them alone resumes from the same state.
    alone = ("regenerate", "sum", "--seeds", "0:2", *devices[:2], *LONG)
    _, err = finish(start(*alone, "--out", "stopped/sum"))
    assert "step 10 of" not in err
    curve = (Path("stopped/sum/seed-00001") / "curve.jsonl").read_text().splitlines()
    whole = (Path("out/sum/seed-00001") / "curve.jsonl").read_text().splitlines()
    assert len(curve) == len(whole) == 40
    assert curve[0] == whole[0]

"""Sealed challenges from the command line: posed, verified, scored, revealed, and refused."""

import json
import os
import random
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.pairs import PairChallenge
from jaxmi.cli.main import main
from jaxmi.training.recipe import Recipe, recipes_for
from jaxmi.workflows import pose


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains for a moment, and takes whatever comes of it."""

    def short(challenge: Challenge) -> dict[str, Recipe]:
        return {"fast": replace(recipes_for(challenge)["fast"], steps=40, eval_every=20)}

    monkeypatch.setattr(pose, "recipes_for", short)
    sealing = replace(PairChallenge.sealing, accuracy=(0.0, 1.0))
    monkeypatch.setattr(PairChallenge, "sealing", sealing)


@pytest.mark.slow
def test_a_challenge_is_posed_verified_solved_and_revealed(quick, run) -> None:
    posed = run("challenge", "new", "--kind", "pairs", "--out", "deep/sealed")
    assert posed["answer"] == "deep/sealed.answer.json"
    key = json.loads(Path(posed["answer"]).read_text())
    assert stat.S_IMODE(Path(posed["answer"]).stat().st_mode) == 0o600
    assert key["commitment"] == posed["commitment"]
    assert key["fingerprint"] == posed["fingerprint"]
    assert 0.3 < posed["test_accuracy"] <= 1

    verified = run("challenge", "verify", "deep/sealed", "--fingerprint", posed["fingerprint"])
    assert verified["intact"] is True
    assert verified["commitment"] == posed["commitment"]
    assert "network.safetensors" in verified["compared"]

    Path("guess.py").write_text(key["program"])
    score = run("score", "guess.py", "--challenge", "deep/sealed")
    assert score["as_stated"] is True

    revealed = run("challenge", "reveal", "deep/sealed", posed["answer"])
    assert revealed["program"] == key["program"]
    counts = revealed["network_is_right_on"]
    assert counts["test"] / 6385 == posed["test_accuracy"]
    assert score["agreement_network"] == counts["domain"] / 12_769
    assert revealed["submission"] is None

    Path("wrong.txt").write_text("return x < 50")
    for name in ("guess.py", "wrong.txt"):
        compared = run("challenge", "reveal", "deep/sealed", posed["answer"], "--submission", name)[
            "submission"
        ]
        assert (compared["agreement_truth"] == 1.0) == (name == "guess.py"), name


@pytest.mark.long
def test_a_challenge_of_another_size_is_posed_verified_and_revealed(quick, run, fails) -> None:
    sizes = ("--p", "29", "--network", "d_model=32", "n_heads=2", "d_mlp=64", "n_layers=2")
    posed = run("challenge", "new", "--out", "sealed", "--train-share", "0.4", *sizes)
    statement = json.loads(Path("sealed/challenge.json").read_text())
    assert statement["domain"] == {"p": 29}
    assert statement["sizes"] == {"train": 336, "test": 505, "domain": 841}
    definition = json.loads(Path("sealed/network/config.json").read_text())["definition"]
    assert not {"program", "labels"} & set(definition)
    readme = Path("sealed/README.md").read_text()
    for words in ("841 pairs", "336 of them", "[x, y, 29]", "2 blocks, width 32, 2 heads of 16"):
        assert words in readme
    assert run("challenge", "verify", "sealed")["intact"] is True
    key = json.loads(Path(posed["answer"]).read_text())
    Path("guess.py").write_text(key["program"])
    assert run("score", "guess.py", "--challenge", "sealed")["as_stated"] is True
    Path("wrong.txt").write_text("return x < 9")
    assert run("score", "wrong.txt", "--challenge", "sealed")["as_stated"] is False  # the control
    assert run("challenge", "reveal", "sealed", posed["answer"])["domain_size"] == 841
    assert run("evaluate", "sealed")["stated"]
    assert "labels are not known" in fails(2, "labels", "sealed", "--out", "labels.npz")
    assert "p = 2: expected" in fails(2, "challenge", "new", "--out", "other", "--p", "2")


@pytest.mark.slow
def test_nothing_that_is_printed_or_published_tells_the_program(
    quick, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["challenge", "new", "--out", "sealed"])
    out, err = capsys.readouterr()
    key = json.loads(Path("sealed.answer.json").read_text())
    terms = [line.strip() for line in key["program"].splitlines() if len(line.strip()) > 13]
    assert len(terms) >= 2
    published = [file.read_bytes() for file in Path("sealed").rglob("*") if file.is_file()]
    for text in (key["salt"], str(key["training_seed"]), *terms):
        assert text not in out + err
        assert not any(text.encode() in data for data in published)


@pytest.mark.long
def test_what_is_kept_of_compilations_is_the_same_for_every_program() -> None:
    """The cache of compiled programs is keyed by what was compiled: the labels are not in it."""
    code = (
        "from dataclasses import replace\n"
        "from jaxmi.challenges.pairs import PairChallenge\n"
        "from jaxmi.cli.main import main\n"
        "from jaxmi.training.recipe import RECIPES\n"
        "from jaxmi.workflows import pose\n"
        "recipe = replace(RECIPES['transformer']['fast'], steps=40, eval_every=20)\n"
        "pose.recipes_for = lambda challenge: {'fast': recipe}\n"
        "PairChallenge.sealing = replace(PairChallenge.sealing, accuracy=(0.0, 1.0))\n"
        "main()\n"
    )
    kept = []
    for name in ("one", "two"):
        cache = Path("cache").resolve()  # JAX's keys hold its path
        environment = {"JAXMI_CACHE_DIR": str(cache), "JAX_NUM_CPU_DEVICES": "2"}
        program = (sys.executable, "-c", code)
        left_out = {"JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"}
        process = subprocess.run(
            [*program, "challenge", "new", "--out", f"sealed-{name}"],
            env={**{k: v for k, v in os.environ.items() if k not in left_out}, **environment},
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, process.stderr
        kept.append({path.name for path in cache.rglob("jit_mapped*.compiled")})
        shutil.rmtree(cache)
    assert kept[0] == kept[1]
    assert len(kept[0]) == 2, "the start and the steps"
    keys = [json.loads(Path(f"sealed-{n}.answer.json").read_text()) for n in ("one", "two")]
    assert keys[0]["program"] != keys[1]["program"]  # the control


def test_program_salt_and_seed_are_drawn_apart_from_any_generator(
    quick, transformer: Challenge
) -> None:
    answers = []
    for _ in range(2):
        random.seed(0)
        answers.append(pose.draw(transformer)[0])
    assert answers[0].program != answers[1].program
    assert answers[0].salt != answers[1].salt


@pytest.mark.slow
def test_an_accuracy_beside_the_band_is_tried_again_and_then_given_up(
    quick, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sealing = replace(PairChallenge.sealing, accuracy=(1.1, 1.2))
    monkeypatch.setattr(PairChallenge, "sealing", sealing)
    seeds, train_runs = [], pose.train_runs

    def noted(runs, recipe, **more):
        seeds.extend(seed for run in runs for seed in run.seeds)
        return train_runs(runs, recipe, **more)

    monkeypatch.setattr(pose, "train_runs", noted)
    with pytest.raises(SystemExit) as caught:
        main(["challenge", "new", "--out", "sealed", "--programs", "2"])
    assert caught.value.code == 1
    err = capsys.readouterr().err
    assert err.count("trying again") == 2 * pose.SEEDS_PER_PROGRAM
    assert "2 programs, and no network between 110.0% and 120.0%" in err
    assert list(Path().iterdir()) == []
    assert len(set(seeds)) == 2 * pose.SEEDS_PER_PROGRAM  # each drawn anew


def test_what_is_in_the_way_is_never_replaced(fails, bundle: Path) -> None:
    before = (bundle / "README.md").read_text()
    assert "exists already" in fails(2, "challenge", "new", "--out", str(bundle))
    Path("mine.json").write_text("mine")
    to_mine = ("challenge", "new", "--out", "sealed", "--answer", "mine.json")
    assert "mine.json exists already" in fails(2, *to_mine)
    inside = ("challenge", "new", "--out", "sealed", "--answer", "sealed/answer.json")
    assert "write the key elsewhere" in fails(2, *inside)
    above = ("challenge", "new", "--out", "a/sealed", "--answer", "a")
    assert "write the key elsewhere" in fails(2, *above)
    assert "--out ." in fails(2, "challenge", "new", "--out", ".")
    score = ("score", "p.py", "--challenge", "transformer", "--out", str(bundle))
    Path("p.py").write_text("return x > y")
    assert "write elsewhere" in fails(2, *score)
    assert "--programs 0" in fails(2, "challenge", "new", "--out", "s", "--programs", "0")
    assert (bundle / "README.md").read_text() == before
    assert Path("mine.json").read_text() == "mine"
    assert not Path("sealed").exists()


def test_what_was_altered_or_does_not_belong_is_refused(
    fails, bundle: Path, key_file: Path, tmp_path: Path
) -> None:
    folder = str(bundle)
    line = fails(2, "challenge", "verify", folder, "--fingerprint", "0" * 64)
    assert "0" * 64 in line
    assert "nowhere is no sealed challenge" in fails(2, "challenge", "verify", "nowhere")
    assert "cannot be read" in fails(2, "challenge", "reveal", folder, "nothing.json")
    os.mkfifo("pipe.json")
    assert "pipe.json is not a regular file" in fails(2, "challenge", "reveal", folder, "pipe.json")
    content = json.loads(key_file.read_text())
    key_file.write_text(json.dumps({**content, "program": "return x > y\n"}))
    assert "altered" in fails(2, "challenge", "reveal", folder, str(key_file))
    key_file.write_text(json.dumps({**content, "fingerprint": "0" * 64}))
    assert "another fingerprint" in fails(2, "challenge", "reveal", folder, str(key_file))
    (bundle / "network.safetensors").write_bytes(b"altered")
    assert "network.safetensors was altered" in fails(2, "challenge", "verify", folder)

"""`jaxmi explain`: the whole pipeline once per challenge, on the networks that we keep."""

import json
import math
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.cli.explain import print_explanations
from jaxmi.cli.main import main
from jaxmi.errors import InputError
from jaxmi.explanation.transformer_metrics import ACCURACY
from jaxmi.mechanism.metrics import ROW_CLASS, ROW_CLASS_SECOND
from jaxmi.programs import language as lang
from jaxmi.report.page import Page
from jaxmi.storage.checkpoints import load_checkpoint, save_checkpoint
from jaxmi.workflows import explain

CLOSE_TO_PUBLISHED = """
    pca_variance_1 pca_variance_2 similarity_band_agreement l1_band_agreement
    scrub_0.0001 scrub_0.001 scrub_0.01 scrub_0.1 scrub_random
    armwise_true armwise_random_mean armwise_swapped
    kept_anti1half_min_anti1 kept_anti1half_min_one kept_anti1half_min_both
    kept_onehalf_min_anti1 kept_onehalf_min_one kept_onehalf_min_both
    recovered_l1_agreement recovered_template_agreement recovered_band_agreement
"""
ROOT = Path(__file__).parent.parent.parent

CNN_NAMES = {
    "pca_variance_1",
    "pca_variance_2",
    "neurons_left",
    "neurons_right",
    "neurons_dead",
    "l1_band_agreement",
    "similarity_band_agreement",
    "logit_diff_median",
    "logit_diff_mean",
    "zero_anti1_median",
    "zero_anti1_mean",
    "zero_one_median",
    "zero_one_mean",
    "zero_both_mean",
    "kept_anti1half_min_anti1",
    "kept_anti1half_min_one",
    "kept_onehalf_min_anti1",
    "kept_onehalf_min_one",
    "scrub_0.0001",
    "scrub_0.001",
    "scrub_0.01",
    "scrub_0.1",
    "scrub_random",
    "armwise_true",
    "armwise_random_mean",
    "armwise_swapped",
    "recovered_clue_index",
    "recovered_band_agreement",
}
"""The names on which scripts rely."""


ABSENT = {
    "transformer": r"other_seed|(attention|class)_w_|tuned",
    "cnn": r"other_seed|^score_[234]_|^edge_[34]_|^score_scrub_(swapped|random_g)|program_next",
}
"""The metrics that the networks in checkpoints/ do not have."""


@pytest.fixture(scope="module")
def explained(tmp_path_factory, checkpoints: Path, mnist_data):
    """Explains both networks; challenge -> (folder, what --json printed)."""
    import contextlib
    import io

    found = {}
    for name in ("cnn", "transformer"):
        out = tmp_path_factory.mktemp("explained") / name
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            main(["explain", str(checkpoints / name), "--out", str(out), "--json"])
        found[name] = out, json.loads(printed.getvalue())
    return found


@pytest.mark.long
@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_the_folder_holds_the_report_every_figure_and_every_number(explained, name) -> None:
    out, result = explained[name]
    assert result["report"] == str(out / "report.html")
    numbers = json.loads((out / "figures.json").read_text())
    assert numbers["figures"] == result["figures"]
    assert numbers["verdicts"] == result["verdicts"]
    html = (out / "report.html").read_text()
    pictures = sorted(out.glob("*.png"))
    assert (
        len(pictures) == html.count('src="data:image/png') == {"cnn": 11, "transformer": 13}[name]
    )
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    assert "://" not in html
    others = {p.name for p in out.iterdir()} - {p.name for p in pictures}
    written = {"cnn": set(), "transformer": {"replacement.npz", "weights-program.txt"}}[name]
    assert others == {"report.html", "figures.json", *written}


@pytest.mark.long
def test_the_program_that_was_read_off_the_weights_is_scored_as_the_report_says(
    explained, run, checkpoints: Path
) -> None:
    out, result = explained["transformer"]
    scored = run(
        "score", str(out / "weights-program.txt"),
        "--challenge", "transformer", "--checkpoint", str(checkpoints / "transformer"),
    )  # fmt: skip
    figures = result["figures"]
    assert scored["agreement_truth"] == pytest.approx(figures["weights_program_accuracy"])
    assert scored["agreement_network"] == pytest.approx(figures["weights_program_agreement"])


@pytest.mark.long
@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_every_figure_in_the_report_exists_and_every_number_is_finite(explained, name) -> None:
    out, result = explained[name]
    classes = {*ROW_CLASS.values(), *ROW_CLASS_SECOND.values()} & set(result["figures"])
    assert len(classes) == {"cnn": 0, "transformer": 4}[name]
    for key, value in result["figures"].items():
        if key in classes:
            assert value in (None, "int(x ** 1.5) % 8"), key
            continue
        assert value is not None, key
        assert math.isfinite(value), key
        share = "kept" in key or "scrub" in key or "agreement" in key
        if share and "error" not in key:
            assert 0 <= value <= 1, key
    table = set(explain.EXPLAINERS[lang.KIND_OF[name]].table)
    # Pairs have no w, and a network alone has no other seed; the study tunes. This CNN has one
    # score with two edges, and its program compares one thing.
    absent = {key for key in table if re.search(ABSENT[name], key)}
    assert set(result["figures"]) - classes == table - absent
    assert result["published"] == explain.EXPLAINERS[lang.KIND_OF[name]].table.published
    html = (out / "report.html").read_text()
    expected = {"cnn": 13, "transformer": 19}[name]
    assert html.count("<h2") == expected + 1  # and what the evidence does not show


@pytest.mark.long
@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_every_figure_that_the_docs_tabulate_exists(explained, name) -> None:
    page = (ROOT / f"docs/explain-{name}.md").read_text()
    named = set(re.findall(r"^\| `([\w.]+)` \|", page, re.M))
    assert len(named) > 20
    assert named <= set(explained[name][1]["figures"])


@pytest.mark.long
def test_our_cnn_is_explained_as_the_published_one_was(explained) -> None:
    """Bounds, not figures: what would be far outside if a definition were off."""
    _, result = explained["cnn"]
    f, published = result["figures"], result["published"]
    assert set(f) >= CNN_NAMES
    assert f["neurons_left"] + f["neurons_right"] + f["neurons_dead"] == 200
    assert min(f["neurons_left"], f["neurons_right"]) >= 10
    for key in CLOSE_TO_PUBLISHED.split():
        assert f[key] == pytest.approx(published[key], abs=0.05), key
    assert f["kept_anti1half_min_both"] == pytest.approx(f["class0_anti1half"], abs=1e-6)
    assert f["zero_both_median"] == pytest.approx(f["zero_both_mean"], abs=1e-4)
    assert f["zero_both_mean"] < 0
    assert f["zero_one_median"] < f["zero_anti1_median"] < f["logit_diff_median"]
    assert f["recovered_clue_index"] == 6
    assert f["recovered_true_clue_rank"] == 1
    assert f["recovered_band_agreement"] > 0.95
    assert set(result["verdicts"].values()) == {"holds"}
    assert "mnist_train[6]" in result["program"]


@pytest.mark.long
def test_the_cnn_s_controls_fail(explained) -> None:
    f = explained["cnn"][1]["figures"]
    assert f["armwise_random_max"] < f["armwise_true"] - 0.05
    assert f["min_specificity"] > 0.4 > 0.15 > abs(f["min_specificity_random_mean"])
    assert f["control_permuted_band_agreement"] < 0.55
    assert f["control_permuted_scrub"] == pytest.approx(f["chance"], abs=0.02)
    assert f["control_other_ones_band_agreement_max"] < f["similarity_band_agreement"] - 0.03
    assert f["scrub_random_groups"] == pytest.approx(f["scrub_0.001"], abs=0.005)
    for network in ("untrained", "parity"):
        assert f[f"control_{network}_similarity_band_agreement"] < 0.75
        assert f[f"control_{network}_recovered_true_clue_rank"] > 100
        true, random, swapped = (
            f[f"control_{network}_armwise_{key}"] for key in ("true", "random_mean", "swapped")
        )
        assert true - min(random, swapped) < 0.1


@pytest.mark.long
def test_our_transformer_s_rows_and_controls(explained) -> None:
    f = explained["transformer"][1]["figures"]
    assert f["full_baseline"] == 1.0
    assert f["accuracy"] > 0.98
    assert f["full_scrub_1"] > f["control_leading_plane_scrub_1"] + 0.2
    assert f["full_scrub_1"] > f["control_leading_plane_scrub_1_max"] + 0.1
    assert f["control_leading_plane_scrub_1"] > f["control_random_plane_scrub_1"]
    assert f["full_scrub_2"] > f["control_wrong_sides_scrub_2"] + 0.05
    assert f["full_filters_agreement"] > f["control_random_plane_filters_agreement"] + 0.1
    assert f["full_scrub_1star"] > f["full_scrub_1"]
    assert f["full_scrub_1_2"] < f["full_scrub_1"]
    assert f["mlp_logit_diff_TT"] > 0 > max(f[f"mlp_logit_diff_{q}"] for q in ("TF", "FT", "FF"))
    assert f["control_untrained_fixed_baseline"] > 0.95  # even attention proves nothing
    assert f["control_untrained_full_scrub_1"] < 0.7
    heads = [f[f"attention_head{h}_kept_if_fixed"] for h in range(8)]
    assert min(heads) > f["fixed_baseline"]


@pytest.mark.long
def test_nothing_is_overwritten_unasked(fails, explained, checkpoints: Path) -> None:
    out, _ = explained["transformer"]
    before = (out / "report.html").stat().st_mtime_ns
    message = fails(2, "explain", str(checkpoints / "transformer"), "--out", str(out))
    assert "report.html exists already" in message
    assert (out / "report.html").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "name", ["report.html", "figures.json", "replacement.npz", "weights-program.txt"]
)
def test_no_file_of_a_report_is_replaced_unasked(fails, checkpoints: Path, name: str) -> None:
    Path("out").mkdir()
    Path("out", name).write_text("mine")
    message = fails(2, "explain", str(checkpoints / "transformer"), "--out", "out")
    assert f"{name} exists already" in message
    assert Path("out", name).read_text() == "mine"


def test_what_cannot_be_explained_is_refused(fails, checkpoints: Path, cnn: Challenge) -> None:
    assert "nothing" in fails(2, "explain", "nothing", "--out", "out")
    assert "checkpoint; write elsewhere" in fails(
        2, "explain", str(checkpoints / "cnn"), "--out", str(checkpoints / "cnn")
    )
    silent = jax.tree.map(np.zeros_like, load_checkpoint(checkpoints / "cnn").params)
    save_checkpoint(Path("silent"), silent, {"challenge": "cnn", "model": cnn.model_config}, {})
    assert "nothing to explain" in fails(2, "explain", "silent", "--out", "out")
    assert not Path("out").exists()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces the explanation itself by a page with one number; lists what was explained."""
    explained = []

    def explained_as(challenge, params, name, command, other=None, **rest):
        explained.append(name)
        metrics = {ACCURACY.key: float(name.removeprefix("seed-"))}
        numbers = {
            "challenge": challenge.name, "figures": metrics, "published": {}, "verdicts": {},
            "program": None,
        }  # fmt: skip
        return explain.Report(Page("t", "s", "c", (), "n", command, metrics), numbers)

    monkeypatch.setattr(explain, "explain_network", explained_as)
    return explained


@pytest.fixture
def a_run(quick_run) -> str:
    return quick_run("0:3")


@pytest.mark.slow
def test_a_run_explains_all_its_seeds_and_adds_a_table(run, a_run, counted) -> None:
    result = run("explain", a_run, "--out", "out")
    seeds = [f"seed-{i:05d}" for i in range(3)]
    assert counted == seeds
    assert result["figures"] == {"accuracy": 1.0}  # the median
    assert {n: s["figures"]["accuracy"] for n, s in result["seeds"].items()} == dict(
        zip(seeds, (0.0, 1.0, 2.0), strict=True)
    )
    table = Path("out/report.html").read_text()
    for seed in seeds:
        assert f'href="{seed}/report.html"' in table
        command = re.search(r"<code>(.*?)</code>", Path("out", seed, "report.html").read_text())
        assert command is not None
        assert command.group(1) == f"jaxmi explain run/{seed} --out out/{seed}"


def test_a_run_s_table_replaces_no_other_report(run, fails, a_run, counted) -> None:
    run("explain", f"{a_run}/seed-00000", "--out", "out")
    assert "out/report.html exists" in fails(2, "explain", a_run, "--out", "out")
    assert counted == ["seed-00000"]


def test_the_same_command_goes_on_with_the_seeds_that_are_missing(run, a_run, counted) -> None:
    run("explain", a_run, "--out", "out")
    counted.clear()
    shutil.rmtree("out/seed-00001")
    run("explain", a_run, "--out", "out")
    assert counted == ["seed-00001"]
    counted.clear()
    changed = json.loads(Path("out/seed-00002/figures.json").read_text()) | {"sha256": "other"}
    Path("out/seed-00002/figures.json").write_text(json.dumps(changed))
    with pytest.raises(SystemExit):  # it is of other parameters: not to be replaced unasked
        main(["explain", a_run, "--out", "out"])
    assert counted == []
    run("explain", a_run, "--out", "out", "--force")
    assert len(counted) == 3


def test_each_seed_is_explained_beside_the_next(run, a_run, counted, monkeypatch) -> None:
    works, beside = explain.explain_network, {}

    def watched(challenge, params, name, command, other=None, **rest):
        beside[name] = other
        return works(challenge, params, name, command, **rest)

    monkeypatch.setattr(explain, "explain_network", watched)
    run("explain", a_run, "--out", "out")
    for seed, following in enumerate((1, 2, 0)):
        expected = load_checkpoint(Path(a_run, f"seed-{following:05d}")).params["W_E"]
        np.testing.assert_array_equal(beside[f"seed-{seed:05d}"]["W_E"], expected)
    run("explain", f"{a_run}/seed-00000", "--out", "alone")
    assert beside["seed-00000"] is None


def test_a_seed_that_fails_leaves_the_others(run, fails, a_run, counted, monkeypatch) -> None:
    works = explain.explain_network

    def failing(challenge, params, name, command, other=None, **rest):
        if name == "seed-00001":
            raise OSError("disk full")
        return works(challenge, params, name, command, **rest)

    monkeypatch.setattr(explain, "explain_network", failing)
    assert "disk full" in fails(1, "explain", a_run, "--out", "out")
    assert sorted(p.name for p in Path("out").iterdir()) == ["seed-00000"]
    assert sorted(p.name for p in Path("out/seed-00000").iterdir()) == [
        "figures.json",
        "report.html",
    ]


def test_a_seed_that_cannot_be_explained_is_named_when_the_others_are_done(
    fails, run, a_run, counted, monkeypatch
) -> None:
    works = explain.explain_network

    def failing(challenge, params, name, command, other=None, **rest):
        if name == "seed-00001":
            raise InputError("nothing to explain")
        return works(challenge, params, name, command, **rest)

    monkeypatch.setattr(explain, "explain_network", failing)
    line = fails(2, "explain", a_run, "--out", "out")
    assert "not explained: seed-00001: nothing to explain; the other 2 seeds are in out" in line
    table = Path("out/report.html").read_text()
    assert re.findall(r'href="([^"]+)"', table) == [
        "seed-00000/report.html", "seed-00002/report.html",
    ]  # fmt: skip


@pytest.mark.long
def test_a_person_sees_the_verdicts_and_the_program(
    explained, capsys: pytest.CaptureFixture[str]
) -> None:
    print_explanations(explained["cnn"][1])
    shown = capsys.readouterr().out
    assert "holds  The clue, found without the hint" in shown
    assert "clue = mnist_train[6]" in shown
    assert re.search(r"band on the similarity +│ +9\d\.\d% │ +96\.25%", shown)

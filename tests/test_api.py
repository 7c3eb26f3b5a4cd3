"""The public API: exactly the promised names, loaded when they are used, equal to what is below."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import jaxmi
from jaxmi.errors import InputError
from jaxmi.storage.checkpoints import load_checkpoint

ROOT = Path(__file__).parent.parent
NAMES = {
    *("make_challenge", "load_challenge", "train", "load", "explain", "recover", "score", "export"),
    *("Network", "Networks", "Explanation", "Recovery", "Score", "duel", "Duel", "__version__"),
    "compile",
    "mark_methods",
    *("implant", "Implant"),
}
PROGRAM = "z = x**2 - 7*y\nreturn z % 5 < 2"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def mine():
    return jaxmi.make_challenge(PROGRAM, train_share=0.4)


@pytest.fixture(scope="module")
def networks(mine):
    return jaxmi.train(mine, seeds=[3, 4], steps=40, eval_every=20, progress=False)


@pytest.fixture(scope="module")
def network(checkpoints: Path):
    return jaxmi.load(checkpoints / "transformer")


def test_the_names_are_exactly_those_promised() -> None:
    assert set(jaxmi.__all__) == NAMES
    assert all(getattr(jaxmi, name) is not None for name in NAMES)
    with pytest.raises(AttributeError, match="no attribute 'retrain'"):
        _ = jaxmi.retrain


@pytest.mark.long
def test_a_network_says_whether_it_has_converged(networks, network) -> None:
    assert network.converged is True and "converged" not in repr(network)
    assert networks[0].converged is False
    assert "not converged" in repr(networks[0]) and "2 not converged" in repr(networks)
    assert replace(network, curve=()).converged is None


def test_importing_loads_nothing_and_the_workflows_need_no_further_import() -> None:
    code = (
        "import sys, jaxmi; loaded = {'jax', 'numpy', 'rich', 'tyro'} & set(sys.modules)\n"
        "print(loaded or jaxmi.workflows.networks.evaluate.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "evaluate"


def test_python_m_jaxmi_and_version() -> None:
    command = [sys.executable, "-m", "jaxmi", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"jaxmi {jaxmi.__version__}\n"


def test_a_made_challenge_has_the_programs_labels_and_split(mine) -> None:
    x, y = np.divmod(np.arange(113 * 113), 113)
    np.testing.assert_array_equal(mine.labels, (x**2 - 7 * y) % 5 < 2)
    assert len(mine.splits["train"]) == int(0.4 * 113 * 113)
    assert set(mine.splits["train"]).isdisjoint(mine.splits["test"])
    assert "z % 5 &lt; 2" in mine._repr_html_() and "12,769" in repr(mine)


def test_a_trained_network_is_what_the_same_seed_gives_alone(mine, networks) -> None:
    assert networks.seeds == [3, 4] and len(networks[1:]) == 1
    (alone,) = jaxmi.train(mine, seeds=[4], steps=40, eval_every=20, progress=False)
    stacked, single = jax.tree.leaves(networks.params), jax.tree.leaves(alone.params)
    for both, one in zip(stacked, single, strict=True):
        assert both.shape == (2, *one.shape)
        np.testing.assert_allclose(both[1], one, atol=1e-5)
    weights = max(stacked, key=np.size)
    assert np.abs(weights[0] - weights[1]).max() > 0.1  # the control: another seed, another network
    assert networks[0].metrics == pytest.approx(
        {**mine.metrics(networks[0].labels()), "best_step": networks[0].metrics["best_step"],
         "loss": networks[0].curve[-1]["loss"]}
    )  # fmt: skip


@pytest.mark.long
def test_several_challenges_are_trained_at_once_in_their_order(mine, networks) -> None:
    other = jaxmi.make_challenge("return x < y", train_share=0.4, name="other")
    small = jaxmi.make_challenge("return x < y", train_share=0.4, network={"d_mlp": 64})
    short = {"steps": 40, "eval_every": 20, "progress": False}
    both = jaxmi.train([other, mine], seeds=[3, 4], **short)
    assert [network.challenge.title for network in both] == ["other"] * 2 + [mine.title] * 2
    assert both.seeds == [3, 4, 3, 4]
    assert both.challenges == [other, mine] and "2 challenges" in repr(both)
    with pytest.raises(InputError, match="the networks are of 2 challenges"):
        _ = both.challenge
    assert both[2:].challenge is mine
    for together, alone in zip(both[2:], networks, strict=True):
        for a, b in zip(
            jax.tree.leaves(together.params), jax.tree.leaves(alone.params), strict=True
        ):
            np.testing.assert_array_equal(a, b)
        assert together.metrics == alone.metrics
    assert both[0].metrics != both[2].metrics  # the control: another program
    assert all(leaf.shape[0] == 4 for leaf in jax.tree.leaves(both.params))
    mixed = jaxmi.train([mine, small], steps=20, eval_every=20, progress=False)
    assert [network.challenge for network in mixed] == [mine, small]
    with pytest.raises(InputError, match="of different sizes cannot be stacked"):
        _ = mixed.params
    with pytest.raises(InputError, match="no networks"):
        jaxmi.train([], **short)


def test_running_one_input_gives_the_batchs_logits_and_edits_change_them(network) -> None:
    logits, activations = network.run([5, 7])
    np.testing.assert_allclose(logits, network.logits()[5 * 113 + 7], atol=1e-3)
    assert activations["blocks.0.hook_resid_mid"].shape == (3, 128)
    ablated, _ = network.run([5, 7], edits={"blocks.0.hook_mlp_out": jax.numpy.zeros_like})
    assert np.abs(np.asarray(logits) - np.asarray(ablated)).max() > 0.1
    np.testing.assert_array_equal(network.run(5 * 113 + 7)[0], logits)
    for wrong in ([5, 113], [5], "5, 7", 113 * 113, [5.0, 7.0]):
        with pytest.raises(InputError, match=r"expected \[x, y\] with 0 <= x, y < 113"):
            network.run(wrong)


def test_a_network_of_ones_own_comes_back_with_its_challenge(mine, networks) -> None:
    networks[0].save("mine-3")
    again = jaxmi.load("mine-3")
    assert isinstance(again, jaxmi.Network)
    np.testing.assert_array_equal(again.challenge.labels, mine.labels)
    np.testing.assert_array_equal(again.challenge.splits["test"], mine.splits["test"])
    assert again.metrics == networks[0].metrics and again.seed == 3
    jax.tree.map(np.testing.assert_array_equal, again.params, networks[0].params)
    with pytest.raises(InputError, match="mine-3 exists"):
        networks[0].save("mine-3")
    networks[1].save("mine-3", force=True)
    assert load_checkpoint(Path("mine-3")).config["seed"] == 4


@pytest.mark.slow
def test_a_file_without_a_record_is_loaded_with_its_challenge() -> None:
    own = jaxmi.make_challenge(PROGRAM, p=11, network={"d_model": 16, "n_heads": 2, "d_mlp": 8})
    (network,) = jaxmi.train(own, steps=20, eval_every=10, progress=False)
    jaxmi.export(network, "own.safetensors", to="transformer-lens")
    save_file(load_file("own.safetensors"), "bare.safetensors")  # without jaxmi's record
    again = jaxmi.load("bare.safetensors", challenge=own)
    assert again.challenge.definition == own.definition
    np.testing.assert_array_equal(again.logits(), network.logits())
    with pytest.raises(InputError, match=r"d_vocab.*12"):  # the control
        jaxmi.load("bare.safetensors")
    network.save("own")
    with pytest.raises(InputError, match="says which challenge it is of"):
        jaxmi.load("own", challenge=own)


def test_exported_files_load_as_the_same_network(networks, network) -> None:
    assert jaxmi.export(network, "network.safetensors", to="safetensors") == [
        Path("network.safetensors")
    ]
    again = jaxmi.load("network.safetensors")
    jax.tree.map(np.testing.assert_array_equal, again.params, network.params)
    assert jaxmi.export(networks, "stack.safetensors", to="safetensors")[0].is_file()
    with pytest.raises(InputError, match="format 'onnx': expected one of casper"):
        jaxmi.export(network, "network.onnx", to="onnx")


def test_a_run_is_exported_as_a_file_for_each_network(networks) -> None:
    pytest.importorskip("torch")
    files = jaxmi.export(networks, "both", to="transformer-lens")
    assert [file.name for file in files] == ["seed-00003.pt", "seed-00004.pt"]


def test_scores_of_a_program_its_text_its_labels_and_a_file(mine, networks) -> None:
    assert jaxmi.score(PROGRAM, mine).verdict == "Every label is correct: all 12,769."
    by_labels = jaxmi.score(mine.labels, mine, network=networks[0])
    Path("program.txt").write_text(PROGRAM)
    by_file = jaxmi.score(Path("program.txt"), mine, network=networks[0])
    assert by_file.metrics() == by_labels.metrics()
    wrong = jaxmi.score("return x > y", mine)
    assert "labels are wrong" in repr(wrong) and "labels are wrong" in wrong._repr_html_()
    with pytest.raises(InputError, match="line 1"):
        jaxmi.score("import os", mine)


def test_a_sealed_challenge_is_loaded_with_its_network_and_judges_by_its_counts(
    sealed_folder,
) -> None:
    sealed = jaxmi.load_challenge(sealed_folder)
    assert sealed.network.sealed and jaxmi.load(sealed_folder).sealed
    assert sealed.commitment[:12] in repr(sealed)
    published = jaxmi.load_challenge("transformer").program
    score = jaxmi.score(published, sealed)
    assert score.truth is None and score.as_stated is False
    with pytest.raises(InputError, match="a network of its own"):
        jaxmi.score(published, sealed, network=sealed.network)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jaxmi.load_challenge("mnist"), "no challenge 'mnist'"),
        (lambda: jaxmi.make_challenge(PROGRAM, p=4), "p = 4: expected a whole number, at least 5"),
        (lambda: jaxmi.make_challenge(PROGRAM, train_share=1.0), "train_share = 1.0"),
        (lambda: jaxmi.train("transformer", recipe="slow"), "recipe 'slow': expected one of"),
        (lambda: jaxmi.train("transformer", lr=1), "unknown recipe setting 'lr'"),
        (lambda: jaxmi.load("nowhere"), "nowhere is no checkpoint"),
    ],
)
def test_what_cannot_be_used_is_named(call, message) -> None:
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.long
def test_the_readmes_cell_runs() -> None:
    (cell,) = re.findall(r"```python\n(import .*?)```", (ROOT / "README.md").read_text(), re.S)
    names: dict = {}
    exec(cell, names)
    assert names["network"].metrics["train_accuracy"] > 0.9
    assert set(names["explanation"].verdicts.values()) <= {"holds", "in part", "not shown"}
    assert names["recovery"].program and Path("explained/report.html").is_file()
    for shown in ("mine", "networks", "network", "explanation", "recovery"):
        assert "<" in names[shown]._repr_html_() and len(repr(names[shown])) < 2000

"""`jaxmi compile`: checkpoints that every subcommand takes, their keys, refusals."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import jaxmi
from jaxmi.data.mnist import Mnist, encode_idx
from jaxmi.errors import InputError
from jaxmi.programs.parse import parse

TEXT = "z = 0\nif y < 3 * sqrt(x) + 8:\n    z += 3\nz += int(x ** 1.5) % 5 - 3\nreturn z >= 1\n"
SMALL = ("--p", "23", "--network", "d_model=32", "n_heads=4", "d_mlp=64")
MECHANISMS = ("conditions", "rows", "columns")


@pytest.fixture(autouse=True)
def program() -> Path:
    path = Path("mine.py")
    path.write_text(TEXT)
    return path


def compile_args(source: str, out: str, mechanism: str = "conditions") -> tuple[str, ...]:
    return ("compile", source, "--mechanism", mechanism, "--out", out)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_program_s_network_is_a_checkpoint_with_a_key(run: Callable, mechanism: str) -> None:
    result = run(*compile_args("mine.py", "net", mechanism), *SMALL)
    assert result["domain_accuracy"] == 1 and result["margin"] >= 0.25 and result["p"] == 23
    assert all(result["used"][name] <= result["network"][name] for name in result["used"])
    held = {one["name"]: one["held"] for one in result["variables"]}
    assert held["y < 3 * sqrt(x) + 8"] == (mechanism == "conditions")
    assert run("evaluate", "net")["domain_accuracy"] == 1
    key = json.loads(Path("net/mechanism.json").read_text())
    assert key["mechanism"] == mechanism and len(key["variables"]) == len(result["variables"])
    about = json.loads(Path("net/config.json").read_text())["compiled"]
    assert about["program"] == TEXT and about["used"] == result["used"]


def test_the_other_subcommands_take_it(run: Callable) -> None:
    run("challenge", "make", "mine.py", "--out", "mine", *SMALL)
    run(*compile_args("mine", "net", "rows"), "--disguise", "5")
    run("predict", "net", "--out", "predictions.npz")
    network = jaxmi.load("net")
    assert isinstance(network, jaxmi.Network)
    with np.load("predictions.npz") as file:
        np.testing.assert_array_equal(file["labels"].reshape(-1), network.challenge.labels)
    run("export", "net", "--to", "safetensors", "--out", "net.safetensors")
    run("import", "net.safetensors", "--out", "again")
    assert run("evaluate", "again")["domain_accuracy"] == 1
    score = run("score", "mine.py", "--challenge", "mine", "--checkpoint", "net", "--out", "score")
    assert score["agreement_truth"] == 1


def test_save_and_load_keep_the_key_and_an_altered_one_is_refused(fails: Callable) -> None:
    network = jaxmi.compile(TEXT, p=23, network={"d_model": 32, "n_heads": 4, "d_mlp": 64})
    network.save("net")
    again = jaxmi.load("net")
    assert isinstance(again, jaxmi.Network) and again.key == network.key
    np.testing.assert_array_equal(again.logits(), network.logits())
    again.save("net", force=True)
    path = Path("net/mechanism.json")
    whole = path.read_text()
    path.write_text(whole.replace('"held": true', '"held": false', 1))
    assert "mechanism.json was altered" in fails(2, "evaluate", "net")
    path.write_text("{}")
    assert "mechanism.json was altered" in fails(2, "evaluate", "net")
    jaxmi.compile(TEXT, "rows", p=23, network={"d_model": 32, "n_heads": 4, "d_mlp": 64}).save("b")
    path.write_text(Path("b/mechanism.json").read_text())
    assert "is the key of other parameters" in fails(2, "evaluate", "net")
    path.unlink()
    assert isinstance(jaxmi.load("net"), jaxmi.Network)


def test_labels_and_sizes_of_one_s_own(run: Callable, fails: Callable) -> None:
    labels = np.random.default_rng(0).random((11, 11)) < 0.5
    np.savez("labels.npz", labels=labels)
    result = run(*compile_args("labels.npz", "net", "columns"), "--p", "11")
    assert result["domain_accuracy"] == 1 and result["program"] is None
    assert "conditions needs a program" in fails(2, *compile_args("labels.npz", "b"))
    # The table's shape says what p is, and a p that is given must not contradict it.
    assert run(*compile_args("labels.npz", "net", "rows"), "--force")["p"] == 11
    said = fails(2, *compile_args("labels.npz", "b", "rows"), "--p", "59")
    assert "p = 59: the table of labels is (11, 11), which is p = 11" in said
    network = jaxmi.compile(labels.astype(int), "rows")
    np.testing.assert_array_equal(network.labels().reshape(11, 11), labels)
    deep = run(*compile_args("transformer", "deep", "rows"), "--network", "n_layers=2", "d_mlp=32")
    assert deep["network"]["n_layers"] == 2 and deep["domain_accuracy"] == 1
    assert jaxmi.compile("transformer").metrics["domain_accuracy"] == 1


WRONG = {
    "fails.py": ("z = 5 % x\nreturn z > 1", "ZeroDivisionError"),
    "triples.py": ("return x + y < w", "of kind triples: only pairs and images can be compiled"),
    "product.py": ("z = x * y % 7\nreturn z < 3", "`x * y % 7` is no sum"),
    "broken.py": ("return x <", "line 1"),
    "huge.py": ("z = x * 1e300\nreturn z > 5e301", "float32"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_program_that_cannot_be_had_is_one_line_and_leaves_nothing(fails, name: str) -> None:
    text, message = WRONG[name]
    Path(name).write_text(text)
    assert message in fails(2, *compile_args(name, "net"))
    assert not Path("net").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((*compile_args("mine.py", "net", "look-up"),), "look-up is no mechanism of pairs"),
        ((*compile_args("mine.py", "net"), "--least-agreement", "0.9"), "is for images"),
        ((*compile_args("mine.py", "net"), "--least-agreement", "7"), "least agreement 7"),
        ((*compile_args("mnist", "net"),), "no challenge 'mnist'"),
        ((*compile_args("nowhere.py", "net"),), "nowhere.py"),
        ((*compile_args("mine.py", "net", "lines"),), "lines"),
        (
            (*compile_args("mine.py", "net"), "--network", "d_mlp=2"),
            "3 neurons, and the network has d_mlp",
        ),
        ((*compile_args("mine.py", "net"), "--network", "size=2"), "size"),
        ((*compile_args("mine.py", "net"), "--p", "3"), "p = 3"),
        ((*compile_args("transformer", "net"), "--p", "59"), "transformer has p = 113"),
        ((*compile_args("mine.py", "net"), "--disguise", "-1"), "disguise -1"),
        (
            (*compile_args("mine.py", "net"), "--disguise", "1", "--cancelling", f"1{'0' * 400}"),
            "pairs of neurons that cancel: there is room for",
        ),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(fails: Callable, args, message: str) -> None:
    assert message in fails(2, *args)
    assert not Path("net").exists()


def test_a_relabelled_challenge_is_saved_with_its_own_labels() -> None:
    sizes = {"d_model": 32, "n_heads": 4, "d_mlp": 64}
    made = jaxmi.make_challenge(TEXT, p=23, network=sizes, train_share=0.3)
    other = parse("return x < y", "pairs")
    for original in (made, jaxmi.load_challenge("transformer")):
        relabelled = original.relabelled(other, "Above the diagonal")
        network = jaxmi.compile(relabelled, "rows")
        network.save("relabelled", force=True)
        again = jaxmi.load("relabelled")
        assert isinstance(again, jaxmi.Network)
        np.testing.assert_array_equal(again.challenge.labels, relabelled.labels)
        assert (again.challenge.labels != original.labels).any()
        assert again.challenge.title == "Above the diagonal"
        trained_on = [np.sort(one.splits["train"]) for one in (again.challenge, relabelled)]
        np.testing.assert_array_equal(*trained_on)
        assert again.metrics["domain_accuracy"] == 1


def test_decoys_and_noise_are_in_the_key_and_the_config(run: Callable, fails: Callable) -> None:
    args = (*compile_args("mine.py", "net", "rows"), *SMALL)
    extras = ("--cancelling", "3", "--idle-heads", "1", "--noise", "1e-4")
    result = run(*args, "--disguise", "4", *extras)
    assert result["domain_accuracy"] == 1
    about = json.loads(Path("net/config.json").read_text())["compiled"]
    stated = {name: about[name] for name in ("disguise", "cancelling", "idle_heads", "noise")}
    assert stated == {"disguise": 4, "cancelling": 3, "idle_heads": 1, "noise": 1e-4}
    (decoys,) = json.loads(Path("net/mechanism.json").read_text())["decoys"]
    assert len(decoys["cancelling"]) == 3 and len(decoys["idle_heads"]) == 1
    assert "noise 0.0001 needs the seed of a disguise" in fails(2, *args, "--force", *extras[-2:])
    assert "cancelling -1" in fails(2, *args, "--force", "--disguise", "4", "--cancelling", "-1")
    loud = fails(2, *args, "--force", "--disguise", "4", "--noise", "0.5")
    assert re.search(r"noise 0\.5 changes \d+ of 529 labels", loud)
    assert "99 idle heads" in fails(2, *args, "--force", "--disguise", "4", "--idle-heads", "99")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, mnist_data: Mnist) -> Path:
    """Write some of MNIST's images."""
    folder = tmp_path_factory.mktemp("data") / "small"
    folder.mkdir()
    for part, rows in (("train", slice(0, 1000)), ("t10k", slice(60_000, 60_200))):
        for kind, array in (
            ("images-idx3", mnist_data.images[rows]), ("labels-idx1", mnist_data.digits[rows])
        ):  # fmt: skip
            (folder / f"{part}-{kind}-ubyte").write_bytes(encode_idx(array))
    return folder


IMAGES = "return l1(image, template(7)) < 35612 and l1(image, template(4)) < 31778"


def test_a_program_on_images_is_a_checkpoint_with_a_key(
    run: Callable, fails: Callable, images: Path
) -> None:
    Path("image.py").write_text(IMAGES)
    run("challenge", "make", "image.py", "--data", str(images), "--out", "own")
    result = run(*compile_args("own", "net"), "--disguise", "1")
    assert result["domain_accuracy"] == 1 and result["margin"] > 0.3
    assert result["agreement"] == 1 > result["computed"] and result["exceptions"] > 0
    assert [one["role"] for one in result["variables"]] == ["score", "score"] + ["condition"] * 2
    key = json.loads(Path("net/mechanism.json").read_text())
    assert key["position"] is None and key["neurons_at"] == "fc1.post" and key["heads"] == {}
    assert {one["neurons_at"] for one in key["variables"] if one["held"]} == {"fc1.post"}
    excepted = [one["exceptions"]["images"] for one in key["variables"]]
    assert sum(map(len, excepted)) == result["exceptions"]
    assert run("evaluate", "net")["test_accuracy"] == 1
    run("export", "net", "--to", "safetensors", "--out", "net.safetensors")
    network = jaxmi.load("net")
    assert isinstance(network, jaxmi.Network) and network.key is not None
    about = run(*compile_args("own", "some"), "--least-agreement", "0.9")
    assert about["exceptions"] == 0 and 0.9 <= about["agreement"] == about["computed"] < 1
    assert about["domain_accuracy"] == pytest.approx(about["agreement"])
    assert "less than 0.999" in fails(2, *compile_args("own", "b"), "--least-agreement", "0.999")
    small = ("--network", "neurons=4")
    assert "the network has neurons = 4" in fails(2, *compile_args("own", "b"), *small)
    message = "rows is no mechanism of images: these have conditions and look-up"
    assert message in fails(2, *compile_args("own", "b", "rows"))
    assert "own is on images, which have no p" in fails(2, *compile_args("own", "b"), "--p", "9")
    noisy = ("--disguise", "1", "--noise", "0.1")
    assert "noise is for transformers" in fails(2, *compile_args("own", "b"), *noisy)
    assert "only networks on pairs are trained" in fails(2, *compile_args("own", "b"), "--train")
    assert not Path("b").exists()


def test_it_prints_what_is_computed_and_what_excepted(
    images: Path, run: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    from jaxmi.cli.main import main

    Path("image.py").write_text(IMAGES)
    run("challenge", "make", "image.py", "--data", str(images), "--out", "own")
    capsys.readouterr()
    main([*compile_args("own", "net"), "--network", "neurons=80"])
    shown = capsys.readouterr().out
    assert "all 1,200 labels" in shown and "exceptions: " in shown and "of 80 neurons" in shown


@pytest.mark.slow
def test_challenge_1_is_exact(run: Callable) -> None:
    result = run(*compile_args("cnn", "net"))
    assert result["domain_accuracy"] == 1 and result["inputs"] == 70_000
    assert result["computed"] > 0.96 and result["used"]["neurons"] <= 200


def test_nothing_is_replaced_without_force(run: Callable, fails: Callable) -> None:
    run(*compile_args("mine.py", "net", "rows"), *SMALL)
    before = Path("net/params.safetensors").read_bytes()
    assert "net exists already; --force" in fails(2, *compile_args("mine.py", "net"), *SMALL)
    assert Path("net/params.safetensors").read_bytes() == before
    run(*compile_args("mine.py", "net"), *SMALL, "--force")
    assert json.loads(Path("net/mechanism.json").read_text())["mechanism"] == "conditions"
    Path("net/thesis.tex").write_text("precious")
    assert "thesis.tex" in fails(2, *compile_args("mine.py", "net"), *SMALL, "--force")


def test_it_prints_what_holds_what(capsys: pytest.CaptureFixture[str]) -> None:
    from jaxmi.cli.main import main

    main([*compile_args("mine.py", "net"), *SMALL])
    shown = capsys.readouterr().out
    assert (
        "all 529 labels are the program's" in shown and "boundary" in shown and "neurons" in shown
    )


def test_of_a_table_it_says_that_labels_were_given(capsys: pytest.CaptureFixture[str]) -> None:
    from jaxmi.cli.main import main

    np.save("labels.npy", np.random.default_rng(0).random((11, 11)) < 0.5)
    main([*compile_args("labels.npy", "net", "rows")])
    assert "all 121 labels are the given ones" in capsys.readouterr().out


def test_a_wrong_mechanism_and_a_sealed_challenge_are_refused(sealed_folder) -> None:
    with pytest.raises(InputError, match="mechanism 'lines': expected one of conditions, rows"):
        jaxmi.compile(TEXT, "lines")
    with pytest.raises(InputError, match="seed 3 is the seed of a training"):
        jaxmi.compile(TEXT, seed=3)
    with pytest.raises(InputError, match="sealed challenge"):
        jaxmi.compile(sealed_folder)

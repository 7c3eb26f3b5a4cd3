"""Challenges as data: what a definition builds, survives, and refuses."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmi.challenges.definition import Definition, pack, read_definition, unpack
from jaxmi.challenges.registry import KINDS, load_challenge, origin
from jaxmi.data.pairs import split_indices
from jaxmi.errors import InputError
from jaxmi.models.cnn import CnnConfig
from jaxmi.programs.domain import P
from jaxmi.programs.language import Kind
from jaxmi.programs.parse import parse
from jaxmi.programs.published_labels import label_table, published_program
from jaxmi.workflows.challenges import define

PROGRAM = parse("return (x * x - 7 * y) % 5 < 2", "pairs")
OWN = Definition("pairs", PROGRAM, domain={"p": 23})


@settings(max_examples=30)
@given(
    p=st.integers(5, 60),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 5),
    sizes=st.fixed_dictionaries(
        {}, optional={"n_layers": st.integers(1, 4), "d_mlp": st.integers(1, 2000)}
    ),
    table=st.booleans(),
)
def test_a_definition_survives_json_and_builds_the_same_challenge(
    p: int, share: float, seed: int, sizes: dict, table: bool
) -> None:
    bits = np.random.default_rng(seed).random(p * p) < 0.4
    split = {"train": pack(bits)} if table else {"train_share": share, "seed": seed}
    own = Definition(
        "pairs",
        None if table else PROGRAM,
        pack(~bits) if table else None,
        domain={"p": p},
        split=split,
        network=sizes,
    )
    read = Definition.from_json(json.loads(json.dumps(own.to_json())))
    assert read == own
    challenge = load_challenge(read)
    assert challenge.p == p
    assert challenge.grid == (p, p)
    assert challenge.inputs.shape == (p * p, 3)
    assert challenge.model.config.d_vocab == p + 1
    assert challenge.published is None
    rows = np.sort(np.concatenate(list(challenge.splits.values())))
    assert (rows == np.arange(p * p)).all()
    x, y, _ = challenge.inputs.T.astype(np.int64)
    expected = ~bits if table else (x * x - 7 * y) % 5 < 2
    assert (challenge.labels == expected).all()
    if table:
        assert (challenge.splits["train"] == np.flatnonzero(bits)).all()


def test_the_published_challenge_defined_anew_is_the_published_one(transformer) -> None:
    own = load_challenge(Definition("pairs", published_program("pairs"), domain={"p": P}))
    assert (own.labels == transformer.labels).all()
    assert (own.inputs == transformer.inputs).all()
    assert all((own.splits[name] == rows).all() for name, rows in transformer.splits.items())
    assert own.model == transformer.model
    assert own.model_config == transformer.model_config
    assert own.chunk == transformer.chunk


def test_another_seed_splits_otherwise() -> None:
    first, again, other = (split_indices(23, 0.5, seed)[0] for seed in (0, 0, 1))
    assert (first == again).all()
    assert set(first.tolist()) != set(other.tolist())


def test_the_images_share_and_rows(cnn) -> None:
    program = published_program("image")
    part = load_challenge(Definition("image", program, split={"train_share": 0.1, "seed": 2}))
    assert len(part.splits["train"]) == 5000
    assert set(part.splits["train"].tolist()) <= set(cnn.splits["train"].tolist())
    assert (part.splits["test"] == cnn.splits["test"]).all()
    assert (part.labels == cnn.labels).all()
    chosen = np.zeros(70_000, bool)
    chosen[59_000:61_000] = True
    named = load_challenge(Definition("image", program, split={"train": pack(chosen)}))
    assert (named.splits["train"] == np.arange(59_000, 61_000)).all()
    assert len(named.splits["validation"]) == len(named.splits["test"]) == 9000


def test_networks_of_other_sizes_have_the_shapes_that_they_state() -> None:
    own = replace(OWN, network={"d_model": 24, "n_heads": 3, "d_mlp": 40, "n_layers": 2})
    shapes = origin(own).param_shapes
    assert shapes["W_E"].shape == (24, 24)  # p + 1 tokens
    assert shapes["attn_1"]["W_Q"].shape == (3, 24, 8)
    assert shapes["mlp"]["W_in"].shape == (24, 40)
    image = Definition("image", published_program("image"), network={"channels": [3, 5]})
    assert KINDS["image"].model(image).config == CnnConfig(channels=(3, 5))


def test_one_block_has_no_name_for_it_in_files(transformer) -> None:
    """The control of the contract: what earlier versions wrote as the network's sizes."""
    assert "n_layers" not in transformer.model_config
    assert origin(replace(OWN, network={"n_layers": 2})).model_config["n_layers"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domain": {"p": 4}}, "p = 4: expected a whole number, at least 5"),
        ({"domain": {"p": 5.0}}, "p = 5.0"),
        ({"domain": {"p": True}}, "p = True"),
        ({"domain": {"q": 5}}, "a domain of pairs has no 'q'"),
        ({"domain": {"p": 100_000}}, r"p = 100000 .* needs about [\d,]+ GB .* this machine has"),
        ({"network": {"n_heads": 3}}, "n_heads = 3 does not divide d_model = 128"),
        ({"network": {"d_model": 0}}, "d_model = 0: expected a whole number, at least 1"),
        ({"network": {"d_model": "9"}}, "d_model = '9'"),
        ({"network": {"n_layers": 5}}, "n_layers = 5: expected at most 4"),
        ({"network": {"channels": [1, 2]}}, "a transformer has no 'channels'"),
    ],
)
def test_sizes_that_cannot_be_are_named(changes: dict, message: str) -> None:
    origin(OWN)  # the control
    with pytest.raises(InputError, match=message):
        origin(replace(OWN, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "cnn"}, "stands for a published challenge"),
        ({"name": "all"}, "stands for a published challenge"),
        ({"name": "a/b"}, "name 'a/b'"),
        ({"title": "two\nlines"}, "one line"),
        ({"kind": "image"}, "the program is of kind 'pairs', expected 'image'"),
        ({"labels": "25:AA=="}, "not both"),
        ({"split": {"train_share": 1}}, "train_share = 1"),
        ({"split": {"train_share": 0.5, "seed": -1}}, "split seed -1"),
        ({"split": {"train": "x", "seed": 1}}, "not both"),
        ({"split": {"part": 1}}, "a split has no 'part'"),
    ],
)
def test_definitions_that_cannot_be_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(OWN, **changes)


def test_every_altered_value_is_noticed() -> None:
    content = OWN.to_json()
    Definition.from_json(content)  # the control
    for name, value in content.items():
        other = {"p": 24} if isinstance(value, dict) else f"{value}0"
        for altered in ({**content, name: other}, {k: v for k, v in content.items() if k != name}):
            with pytest.raises(InputError):
                Definition.from_json(altered)


@pytest.mark.parametrize("text", ["", "9:", "9:!!", "8:eJxr", "9", 9, None, "9:" + "A" * 400])
def test_packed_values_that_are_none_are_refused(text) -> None:
    bits = np.arange(9) % 2 == 0
    assert (unpack(pack(bits), 9, "labels") == bits).all()
    with pytest.raises(InputError, match="labels"):
        unpack(text, 9, "labels")


def test_few_bytes_cannot_stand_for_many() -> None:
    """The values are inflated no further than their number allows."""
    bomb = pack(np.zeros(10**7, bool)).partition(":")[2]
    assert len(bomb) < 10_000
    with pytest.raises(InputError, match="not packed"):
        unpack(f"80:{bomb}", 80, "labels")


def test_the_form_of_earlier_checkpoints_is_read() -> None:
    first = {
        "program": "return x < y\n",
        "p": 113,
        "train_share": 0.3,
        "kind": "pairs",
        "title": "A title",
    }
    own = Definition.from_json(first)
    assert own.title == "A title"
    assert len(load_challenge(own).splits["train"]) == int(0.3 * P * P)


def test_a_folder_without_a_challenge_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no challenge\.json"):
        read_definition(tmp_path)
    for content in ("", "[]", "{}", "nonsense", '{"format": 1}'):
        (tmp_path / "challenge.json").write_text(content)
        with pytest.raises(InputError, match=r"challenge\.json"):
            read_definition(tmp_path)


def test_published_challenges_have_no_definition(transformer) -> None:
    assert transformer.definition is None
    assert load_challenge("transformer").published is not None


@pytest.mark.parametrize("p", [5, 31, 200, 509])
def test_labels_are_exact_at_any_p(p: int) -> None:
    """The exact evaluator agrees with the integer form that is proven; float32 would not."""
    own = load_challenge(Definition("pairs", published_program("pairs"), domain={"p": p}))
    assert (own.as_table(own.labels) == np.asarray(label_table(p))).all()
    assert own.grid == (p, p)


def idx_folder(folder: Path, n_train: int, n_test: int) -> Path:
    """Write random images in MNIST's four files."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for part, n in (("train", n_train), ("t10k", n_test)):
        images = rng.integers(0, 256, (n, 28, 28), np.uint8)
        classes = rng.integers(0, 10, n, np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", classes)):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (folder / f"{part}-{name}-ubyte").write_bytes(header + array.tobytes())
    return folder


def test_other_images_in_mnists_form(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "fashion", 600, 100)
    own = define("return mean(image) > 127", data=folder, network={"channels": [2, 3]})
    challenge = load_challenge(own)
    assert {name: len(rows) for name, rows in challenge.splits.items()} == {
        "train": 500, "validation": 100, "test": 100
    }  # fmt: skip
    assert len(challenge.program_domain.templates) == 600
    means = challenge.inputs.reshape(700, -1).mean(axis=1, dtype=np.float64)
    assert (challenge.labels == (means > 127)).all()
    elsewhere = (tmp_path / "moved").resolve()
    folder.rename(elsewhere)
    assert (load_challenge(own, elsewhere).labels == challenge.labels).all()
    with pytest.raises(InputError, match="has no train-images"):
        load_challenge(own)
    other = idx_folder(tmp_path / "other", 600, 101)
    with pytest.raises(InputError, match="holds another t10k-images-idx3-ubyte than fashion's"):
        load_challenge(own, other)
    with pytest.raises(InputError, match=r"template\(650\): there are 600 images"):
        program = parse("return l1(image, template(650))", "image")
        load_challenge(replace(own, program=program), elsewhere)


def test_images_of_another_form_are_refused(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "data", 10, 5)
    path = folder / "train-images-idx3-ubyte"
    content = path.read_bytes()
    path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, 10, 28, 14) + content[16 : 16 + 10 * 28 * 14])
    with pytest.raises(InputError, match=r"expected \(n, 28, 28\)"):
        define("return mean(image) > 127", data=folder)
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match="train-images-idx3-ubyte"):
        define("return mean(image) > 127", data=folder)


@pytest.mark.parametrize("kind", ["pairs", "image"])
def test_a_sealed_challenge_has_no_labels_until_it_is_opened(kind: Kind, mnist_data) -> None:
    own = Definition(kind, None)
    assert own.sealed
    assert not {"program", "labels"} & set(own.to_json())
    base = load_challenge(Definition.from_json(own.to_json()))
    assert base.sealed
    assert set(base.labels.tolist()) == {-1}
    opened = base.relabelled(published_program(kind), "opened")
    assert not opened.sealed
    assert set(opened.labels.tolist()) == {0, 1}

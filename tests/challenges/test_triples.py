"""Challenges on triples: inputs, labels, splits, networks, scores, and what is refused."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxmi
from jaxmi.challenges.definition import Definition, pack
from jaxmi.challenges.numbers import forms
from jaxmi.challenges.registry import load_challenge, origin, param_shapes
from jaxmi.challenges.triples import TripleChallenge
from jaxmi.data.pairs import all_pairs, all_tuples
from jaxmi.errors import InputError
from jaxmi.judge.features import NumberRows, coordinates, domain_rows, evaluate_feature
from jaxmi.judge.score import grid_regions
from jaxmi.models.transformer import Transformer, TransformerConfig
from jaxmi.programs.domain import TripleDomain
from jaxmi.programs.evaluate import EvaluationError, label
from jaxmi.programs.fairness import RULES, Candidate
from jaxmi.programs.parse import parse
from jaxmi.storage.layouts import LAYOUTS
from jaxmi.training.recipe import recipes_for
from jaxmi.workflows.challenges import define

TEXT = "z = x * y - 3 * w\nif z % p > w:\n    z += 1\nreturn z % 5 < 2"
P = 7
TRANSFORMERS = [layout for layout in LAYOUTS if layout.kind == "pairs"]


def expected(x: int, y: int, w: int, p: int) -> bool:
    z = x * y - 3 * w
    if z % p > w:
        z += 1
    return z % 5 < 2


@pytest.fixture(scope="module")
def challenge() -> TripleChallenge:
    made = jaxmi.make_challenge(TEXT, kind="triples", p=P)
    assert isinstance(made, TripleChallenge)
    return made


def test_every_triple_has_the_label_that_python_gives_it(challenge: TripleChallenge) -> None:
    triples = [(x, y, w) for x in range(P) for y in range(P) for w in range(P)]
    assert challenge.inputs.tolist() == [[*triple, P] for triple in triples]
    assert challenge.labels.tolist() == [expected(*triple, P) for triple in triples]
    swapped = [expected(y, w, x, P) for x, y, w in triples]
    assert challenge.labels.tolist() != swapped, "the control: the order of the operands matters"
    table = challenge.label_tables()
    assert table["labels"].shape == table["is_train"].shape == (P, P, P)
    assert table["labels"][1, 2, 3] == expected(1, 2, 3, P)


def test_pairs_are_the_tuples_of_two() -> None:
    assert (all_tuples(9, 2) == all_pairs(9)).all()
    assert (all_tuples(9, 3)[:, 1:] == np.tile(all_pairs(9), (9, 1))).all()


def test_the_split_is_of_all_triples(challenge: TripleChallenge) -> None:
    rows = np.concatenate(list(challenge.splits.values()))
    assert (np.sort(rows) == np.arange(P**3)).all()
    assert len(challenge.splits["train"]) == P**3 // 2
    bits = np.random.default_rng(0).random((P, P, P)) < 0.3
    own = jaxmi.make_challenge(TEXT, P, kind="triples", split=bits)
    assert (own.splits["train"] == np.flatnonzero(bits)).all()


def test_a_definition_survives_json() -> None:
    bits = np.random.default_rng(0).random(P**3) < 0.4
    own = Definition("triples", None, pack(bits), domain={"p": P}, network={"n_layers": 2})
    read = Definition.from_json(json.loads(json.dumps(own.to_json())))
    assert read == own
    assert (load_challenge(read).labels == bits).all()
    assert origin(read).model_config["n_ctx"] == 4


def test_an_input_is_a_triple_a_sequence_or_a_row(challenge: TripleChallenge) -> None:
    for value in ([1, 2, 3], [1, 2, 3, P], (1 * P + 2) * P + 3):
        assert challenge.as_input(value).tolist() == [1, 2, 3, P]
    for value in ([1, 2], [1, 2, P], [1, 2, 3, 4], [1.0, 2, 3], P**3):
        with pytest.raises(InputError, match=r"expected \[x, y, w\] with 0 <= x, y, w < 7"):
            challenge.as_input(value)


def test_a_failure_names_the_triple() -> None:
    program = parse("return 1 // (x + y * w - 3) > 0", "triples")
    with pytest.raises(EvaluationError, match="x = 0, y = 1, w = 3"):
        label(program, TripleDomain(5))


def test_the_kind_is_told_by_w_where_the_text_is_no_program_on_pairs() -> None:
    assert define("return x + w < 5", p=5).kind == "triples"
    assert define("def f(x, y, w, p):\n    return x + w < 5", p=5).kind == "triples"
    for pairs in ("w = x + y\nreturn w < 5", "return x + y < 5"):
        assert define(pairs, p=5).kind == "pairs"
    with pytest.raises(InputError, match="the inputs are x, y, p"):
        define("return q + w", p=5)
    assert define("return x + w < 5").domain == {"p": 23}
    assert define("return x < 5").domain == {"p": 113}


def draw(model: Transformer, seed: int):
    """Weights of the order of 1 / sqrt(fan in), and biases that are not zero."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape) / max(1, np.prod(leaf.shape[:-1])) ** 0.5,
        param_shapes(model, "triples"),
    )


@pytest.mark.parametrize("n_layers", [1, 2])
def test_the_fast_form_is_the_readable_one_with_four_positions(n_layers: int) -> None:
    """Logits and gradients in float64; the control is a change of one position's embedding."""
    sizes = {"d_model": 12, "n_heads": 3, "d_head": 5, "d_mlp": 17}
    model = Transformer(TransformerConfig(d_vocab=P + 1, n_ctx=4, n_layers=n_layers, **sizes))
    tokens = np.pad(all_tuples(P, 3)[::5], ((0, 0), (0, 1)), constant_values=P)
    weights = np.random.default_rng(1).normal(size=(1, P + 1))
    with jax.enable_x64(True):
        params, both = draw(model, 0), forms(model)

        def run(form: str, params):
            def loss(params):
                logits = both[form](params, tokens, None)
                return (logits * weights).sum(), logits

            return jax.tree.leaves(jax.jit(jax.grad(loss, has_aux=True))(params))

        fast, readable = run("fast", params), run("readable", params)
        for ours, theirs in zip(fast, readable, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
        moved = {**params, "W_pos": params["W_pos"] + np.eye(4, 12)[::-1] * 0.01}
        assert np.abs(run("fast", moved)[-1] - readable[-1]).max() > 1e-6


@pytest.mark.parametrize("layout", TRANSFORMERS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("n_layers", [1, 2])
def test_other_tools_files_hold_four_positions(layout, n_layers: int) -> None:
    model = Transformer(TransformerConfig(d_vocab=P + 1, n_ctx=4, n_layers=n_layers))
    shapes = param_shapes(model, "triples")
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
    tensors = layout.write(params)
    assert layout.find_sizes(tensors).config == model.config
    masks = [array.shape for name, array in tensors.items() if name.endswith("mask")]
    assert set(masks) <= {(4, 4)}
    assert jax.tree.all(jax.tree.map(np.array_equal, layout.read(tensors), params))


def test_the_rules_of_fairness_look_along_every_axis() -> None:
    noise, tree = (next(r for r in RULES if r.name == name) for name in ("noise", "tree"))

    def value(rule, text: str) -> float:
        program, domain = parse(text, "triples"), TripleDomain(8)
        return rule.metric(Candidate(program, domain, label(program, domain).astype(bool)))

    assert value(noise, "return w % 2") == 0  # along x and y nothing changes
    assert value(noise, "return (x + y + w) % 2") == 1
    assert value(tree, "return w < 3") == 1
    assert value(tree, "return (x + y + w) % 2") < 0.6
    assert {rule.name for rule in RULES if "triples" in rule.kinds} == {
        "share",
        "noise",
        "two numbers",
        "tree",
        "idle",
    }


def test_regions_are_boxes_of_connected_triples() -> None:
    differs = np.zeros((5, 5, 5), bool)
    differs[0:2, 1, 2] = differs[2, 2, 3] = True  # connected by a corner
    differs[4, 4, 0] = True
    regions = grid_regions(differs, differs.astype(np.int32), ("x", "y", "w"))
    assert [tuple(region) for region in regions] == [
        ("x = 0..2, y = 1..2, w = 2..3", 3, 3),
        ("x = 4, y = 4, w = 0", 1, 1),
    ]


def test_slices_are_of_the_last_operand(challenge: TripleChallenge, transformer) -> None:
    slices, table = challenge.slices(challenge.labels), challenge.as_table(challenge.labels)
    assert list(slices) == ["w = 0", "w = 2", "w = 4", "w = 6"]
    assert all((slices[f"w = {i}"] == table[:, :, i]).all() for i in (0, 2, 4, 6))
    assert list(transformer.slices(transformer.labels)) == [""]


def test_features_of_explanations_may_name_w(challenge: TripleChallenge) -> None:
    rows = np.array([5, 200, 340])
    domain = domain_rows(challenge, rows)
    assert isinstance(domain, NumberRows)
    values = evaluate_feature(parse("return x + 10 * y + 100 * w", "triples"), domain, {})
    x, y, w, _ = challenge.inputs[rows].T
    assert (values == x + 10 * y + 100 * w).all()
    assert (coordinates(domain) == challenge.inputs[rows, :3]).all()


@pytest.mark.long
def test_an_easy_program_is_learned_and_what_has_no_method_is_refused(tmp_path: Path) -> None:
    easy = jaxmi.make_challenge(
        "return x + 2 * y < 3 * w",
        11,
        kind="triples",
        network={"d_model": 32, "n_heads": 4, "d_mlp": 64},
    )
    assert set(recipes_for(easy)) == {"fast", "published"}
    network = jaxmi.train(easy, steps=200, eval_every=100, learning_rate=3e-3, progress=False)[0]
    majority = max(easy.labels.mean(), 1 - easy.labels.mean())
    assert network.metrics["test_accuracy"] > majority + 0.2
    logits, sites = network.run([1, 2, 3])
    assert sites["blocks.0.hook_resid_mid"].shape == (4, 32)
    row = (1 * 11 + 2) * 11 + 3
    np.testing.assert_allclose(logits, network.logits(np.array([row]))[0], atol=1e-4)
    assert network._repr_html_().count("<img") == 4
    network.save(tmp_path / "network")
    assert (jaxmi.load(tmp_path / "network").labels() == network.labels()).all()
    explained = jaxmi.explain(network).metrics
    assert {"attention_head0_w_mean", "attention_head0_last_std"} <= set(explained)
    recovery = jaxmi.recover(network)
    assert recovery.agreement(network.labels() == 1) > network.metrics["test_accuracy"] - 0.2
    score = jaxmi.score("return x + 2 * y < 3 * w", easy, network)
    assert score.metrics()["agreement_truth"] == 1


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        ({"p": 4}, "p = 4: expected a whole number, at least 5"),
        ({"q": 5}, "a domain of triples has no 'q'"),
        ({"p": 3000}, r"p = 3000 .* needs about [\d,]+ GB .* this machine has"),
    ],
)
def test_sizes_that_cannot_be_are_named(domain: dict, message: str) -> None:
    program = parse("return x < w", "triples")
    origin(Definition("triples", program))  # the control
    with pytest.raises(InputError, match=message):
        origin(Definition("triples", program, domain=domain))


def test_names_of_other_kinds_are_as_they_were() -> None:
    """A module may be imported as `w` in a program on pairs, not in one on triples."""
    text = "import numpy as w\nreturn w.sqrt(x) < y"
    parse(text, "pairs")
    with pytest.raises(InputError, match="import as w, which is an input"):
        parse(text, "triples")

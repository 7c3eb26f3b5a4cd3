"""Studies of challenges that a user made: what is trained, what is asked, what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from studies.synthetic import measured

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.data.pairs import split_indices
from jaxmi.errors import InputError
from jaxmi.explanation.cnn_solution import known_clue
from jaxmi.programs.domain import P
from jaxmi.programs.published_labels import published_program
from jaxmi.studies import agreement, boundary, decay, interpolation, parts, periodic, universality
from jaxmi.studies.interpolation import compare, distance_classes
from jaxmi.studies.parts import BINS
from jaxmi.studies.registry import STUDIES, load_study
from jaxmi.studies.study import QUICK_STEPS, plain_of
from jaxmi.training.loop import check_fit
from jaxmi.training.recipe import recipes_for

N = 4
TINY = {"d_model": 8, "n_heads": 2, "d_mlp": 16}
PROGRAM = "return (x + 2 * y) % 5 < 2"


def own(text: str = PROGRAM, name: str = "mine", **about) -> Challenge:
    return jaxmi.make_challenge(text, name=name, **{"p": 7, "network": TINY, **about})


def published_labels(**about) -> Challenge:
    return jaxmi.make_challenge(published_program("pairs"), p=P, name="again", **about)


def test_a_run_folder_has_the_name_and_what_the_challenge_was_made_from() -> None:
    one, same, other = own(), own(), own(text="return x < y")
    names = [plain_of(challenge, quick=False).name for challenge in (one, same, other)]
    assert names[0] == names[1] == f"mine@{one.definition.sha256[:12]}-fast"
    assert names[2].startswith("mine@") and names[2] != names[0]
    assert plain_of(jaxmi.load_challenge("transformer"), quick=True).name == "transformer-quick"


@pytest.mark.parametrize("text", [PROGRAM, "return (x + y * w) % 5 < 2"])
def test_quick_recipes_go_by_kind(text: str) -> None:
    challenge = own(text)
    training = plain_of(challenge, quick=True)
    assert (training.recipe.steps, training.recipe.eval_every) == QUICK_STEPS["transformer"]
    assert training.recipe.learning_rate == recipes_for(challenge)["fast"].learning_rate
    check_fit(challenge, training.recipe)


@pytest.mark.parametrize(
    ("text", "n", "noun"), [(PROGRAM, 2, "pairs"), ("return (x + y * w) % 5 < 2", 3, "triples")]
)
def test_the_grid_of_decays_is_of_the_challenge_s_own_inputs(text: str, n: int, noun: str) -> None:
    challenge = own(text, p=5, split_seed=3, train_share=0.4)
    base = plain_of(challenge, quick=False)
    trainings = decay.trainings_of(base)
    assert len({training.name for training in trainings}) == len(trainings)
    grid = [training for training in trainings if decay.group_of(training) == "transformer"]
    sizes = {len(training.challenge.splits["train"]) for training in grid}
    assert sizes == {len(split_indices(5, share / 100, 0, n)[0]) for share in decay.SHARES}
    for training in trainings:
        check_fit(training.challenge, training.recipe)  # 2 pairs are fewer than a batch of 512
        assert training.challenge.kind == challenge.kind
        assert noun in (training.variant or "")
    same_split = next(t for t in grid if "share-40" in t.name).challenge.splits["train"]
    assert (same_split == challenge.splits["train"]).all()
    # Of a narrow network the recipe's own weight decay is another, and the grid goes with it.
    scale = base.recipe.weight_decay / 0.3
    decays = {training.recipe.weight_decay for training in grid}
    assert base.recipe.weight_decay != 0.3
    assert base.recipe.weight_decay in decays
    assert sorted(decays) == pytest.approx([d * scale for d in (0, 0.1, 0.3, 1, 3)], rel=0.05)
    long = next(t for t in trainings if decay.group_of(t) == "transformer_long")
    assert long.recipe.steps == 6 * base.recipe.steps
    addition = trainings[-1].challenge
    assert (addition.labels == addition.inputs[:, :-1].sum(axis=1) % 5).all()
    assert decay.group_of(trainings[-1]) == "addition"


def test_a_name_that_looks_like_a_group_s_is_no_group() -> None:
    trainings = decay.trainings_of(plain_of(own(name="my-addition-long-share"), quick=False))
    groups = [decay.group_of(training) for training in trainings]
    assert groups == ["transformer"] * 45 + ["transformer_long"] * 6 + ["addition"]


@pytest.mark.parametrize("name", ["boundary", "periodic"])
def test_a_question_about_challenge_2_s_program_needs_its_labels(name: str) -> None:
    ask = STUDIES[name].trainings_of
    assert ask is not None
    for challenge, says in (
        (own(), "mine has p = 7"),
        (own(p=P), "mine has other labels"),
        (own("return x < w", name="three"), "three is of triples"),
    ):
        with pytest.raises(InputError, match=f"study {name} asks about .* 2's program.*{says}"):
            ask(plain_of(challenge, quick=True))
    narrow = published_labels(network={"d_model": 64, "n_heads": 4}, train_share=0.3)
    trainings = ask(plain_of(narrow, quick=False))
    published = STUDIES[name].trainings(False, None)
    without_original = [one for one in published if one.recipe_name == "fast"]
    assert len(trainings) == len(without_original)
    for mine, theirs in zip(trainings, without_original, strict=True):
        assert mine.challenge.model_config["d_model"] == 64
        assert (mine.challenge.labels == theirs.challenge.labels).all()
        assert mine.group == theirs.group
        check_fit(mine.challenge, mine.recipe)
    assert boundary.ORIGINAL in [
        training.name for training in STUDIES["boundary"].trainings(False, None)
    ]


def test_a_rule_is_told_by_the_training_and_not_by_the_name_of_the_challenge() -> None:
    challenge = published_labels(network=TINY)
    named = replace(challenge.definition, name="a-constant-rows-out")
    training = plain_of(replace(challenge, name=named.name, definition=named), quick=True)
    assert [t.group for t in periodic.trainings_of(training)][:2] == ["published", "residues"]


def test_universality_goes_by_kind() -> None:
    assert load_study("universality", "pairs") is universality.TRANSFORMER
    assert load_study("universality", "triples") is universality.TRANSFORMER
    assert load_study("universality", "image") is universality.CNN
    assert load_study("universality-cnn", "image") is universality.CNN
    for name, kind, says in (
        ("universality", None, "needs --challenge"),
        ("universality-cnn", "triples", "of triples: name universality-transformer"),
        ("universality-transformer", "image", "of image: name universality-cnn"),
    ):
        with pytest.raises(InputError, match=says):
            load_study(name, kind)
    with pytest.raises(InputError, match="needs two dimensions of the residual stream; thin has"):
        thin = own(name="thin", network={"d_model": 1, "n_heads": 1, "d_mlp": 4})
        universality.trainings_of(plain_of(thin, quick=True))


def metrics_of(network: str, without: str = "nothing") -> dict[str, np.ndarray]:
    """Draw metrics of networks that pass every check; some networks lack some metric."""
    keys = {metric.key for metric in universality.METRICS[network]}
    keys |= {key for check in universality.CHECKS[network] for key in check.keys}
    values = {key: np.linspace(0.5, 0.6, N) for key in sorted(keys) if without not in key}
    for check in universality.CHECKS[network]:
        if check.metric.key in values:
            values[check.metric.key] = np.full(N, 1.0)
    return {**values, universality.TEST_ACCURACY: np.linspace(0.8, 0.9, N)}


def test_nothing_of_the_published_network_stands_beside_another_challenge(mnist_data) -> None:
    challenge = jaxmi.make_challenge("return l1(image, template(9)) < 20000", name="nine")
    training = plain_of(challenge, quick=True)
    metrics = metrics_of("cnn")
    mine = universality.conclude([training], measured([training], {"": metrics}))
    (published,) = universality.CNN.trainings(True, None)
    theirs = universality.conclude([published], measured([published], {"": metrics}))
    assert mine.data["published"] == {} != theirs.data["published"]
    assert mine.findings.keys() == theirs.findings.keys()
    words = " ".join(mine.data["claims"].values())
    assert "hint" not in words and "other 1s" not in words
    assert "other 1s" in " ".join(theirs.data["claims"].values())  # the control


def test_what_a_network_does_not_have_is_left_out() -> None:
    """A stream of two dimensions has one plane; an image challenge may name no clue."""
    training = plain_of(own(), quick=True)
    small = metrics_of("transformer", without="leading_plane")
    conclusion = universality.conclude([training], measured([training], {"": small}))
    assert "claim_plane" not in conclusion.findings and "claim_fixed_95" in conclusion.findings
    assert not [key for key in conclusion.findings if "leading_plane" in key]
    undefined = metrics_of("transformer")
    undefined["mlp_zero_kept"] = np.array([np.nan, *np.ones(N - 1)])
    conclusion = universality.conclude([training], measured([training], {"": undefined}))
    assert "mlp_zero_kept" not in conclusion.findings and "mlp_alone_kept" in conclusion.findings
    json.dumps(conclusion.data, allow_nan=False)


def test_the_quick_form_keeps_the_clue_among_its_images(mnist_data) -> None:
    outside = "return not 24000 <= l1(image, template(5000)) < 34000"
    few = universality._first_images(jaxmi.make_challenge(outside, name="far"), 4000)
    assert len(few.inputs) == few.solution.images == 5001
    assert known_clue(few) == 5000
    inside = "return 24000 <= l1(image, template(5000)) < 34000"  # no band as in challenge 1
    near = universality._first_images(jaxmi.make_challenge(inside, name="near"), 4000)
    assert len(near.inputs) == near.solution.images == 4000
    assert known_clue(near) is None


def test_distances_of_another_program_are_to_every_change_of_its_label() -> None:
    challenge = own("return x < 4")
    classes = distance_classes(challenge).reshape(7, 7)
    assert (classes[3] == 0).all() and (classes[4] == 0).all()  # half a step
    assert (classes[0] == BINS.index(3.0)).all()  # 3.5 steps
    again = published_labels(network=TINY)
    assert (distance_classes(again) == distance_classes()).all()
    assert np.isinf(parts.distance_to_change(np.zeros((5, 5), int))).all()


def test_interpolation_is_refused_where_it_has_no_meaning_or_no_end() -> None:
    def ask(challenge: Challenge) -> None:
        interpolation.trainings_of(plain_of(challenge, quick=False))

    ask(own())
    with pytest.raises(InputError, match=r"needs labels of pairs.*; mine is of triples"):
        ask(own("return x < w"))
    with pytest.raises(InputError, match=r"has 1$"):
        ask(own(train_share=0.03))
    with pytest.raises(InputError, match=r"takes at most .* 19,800 times 39,601"):
        ask(own(p=199))


def test_networks_without_mistakes_have_findings() -> None:
    right, labels = np.zeros((N, 20), bool), np.zeros(20, bool)
    for finding in compare("row", right, right, labels, np.zeros(20, int)).values():
        assert np.isfinite([finding.value, finding.low, finding.high]).all()
    training = plain_of(own("return x < y"), quick=True)
    truth = training.challenge.labels[training.challenge.splits["test"]]
    difference = np.broadcast_to(np.where(truth, 1.0, -1.0), (N, len(truth)))
    found = agreement.conclude([training], measured([training], {"": {"difference": difference}}))
    assert found.findings["transformer_accuracy"].value == 1
    assert found.findings["transformer_shared"].value == 0
    assert all(np.isfinite(f.value) for f in found.findings.values())
    assert found.findings["transformer_shared"].description.startswith("mine: ")
    assert set(found.data) == {"transformer"}

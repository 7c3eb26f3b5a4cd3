"""The account of a network on images: challenge 1's, one without truth, and ones that fail."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.explanation.clue_search import pixel_moments
from jaxmi.mechanism import image_metrics as table
from jaxmi.mechanism.boundary import ENOUGH, Edge, Rule
from jaxmi.mechanism.image_account import ImageAccount, conditions_of, image_account
from jaxmi.programs.parse import parse
from jaxmi.report import image_page
from jaxmi.storage.checkpoints import load_checkpoint

N = 6000


@pytest.fixture(scope="module")
def part(cnn: Challenge, mnist_data) -> Challenge:
    return replace(
        cnn,
        inputs=cnn.inputs[:N],
        labels=cnn.labels[:N],
        digits=None if cnn.digits is None else cnn.digits[:N],
        solution=replace(cnn.solution, images=N),  # pyright: ignore[reportArgumentType]
        n_templates=N,
    )


@pytest.fixture(scope="module")
def moments(part: Challenge):
    return pixel_moments(part.inputs)


def untrained(challenge: Challenge, seed: int):
    return jax.jit(challenge.init)(jax.random.key(seed))


@pytest.fixture(scope="module")
def found(part: Challenge, moments, checkpoints) -> ImageAccount:
    params = load_checkpoint(checkpoints / "cnn").params
    return image_account(part, params, untrained(part, 0), untrained(part, 5), moments)


def test_the_band_of_challenge_1_is_read_off_the_network(found: ImageAccount) -> None:
    f, reading = found.metrics, found.reading
    assert reading is not None and f.keys() <= table.TABLE.keys()
    assert f["scores_count"] == 1 and f["scores_edges"] == 2
    assert f["score_1_image"] == 6
    assert f["score_1_program_r2"] > 0.95
    assert found.conditions == {0: "l1(image, template(6))"}
    causes = reading.rule.causes
    assert causes is not None
    assert [[edge.towards for edge in cause] for cause in causes] == [[-1], [1]]
    assert f["rule_agreement"] > 0.94
    held = found.held
    kept = reading.rule.labels(reading.values[held]) == found.answers.labels[held]
    assert f["rule_agreement"] == kept.mean()
    assert f["rule_mistakes"] < f["neurons_32_heldout_mistakes"] - 0.1


def test_the_controls_fail_where_the_network_s_own_holds(found: ImageAccount) -> None:
    f = found.metrics
    for control in ("random", "untrained", "components", "other_seed"):  # that seed is untrained
        assert f["scores_agreement"] > f[f"scores_{control}_agreement"] + 0.1, control
    assert f["rule_agreement"] > max(f["rule_random_agreement"], f["nearest_image_agreement"]) + 0.1
    for control in ("other_images", "permuted", "anyone"):
        assert f["score_scrub"] > f[f"score_scrub_{control}"] + 0.2, control
    assert f["score_1_interchange"] > 0.9 > 0.6 > f["score_1_interchange_random"]
    for edge in (1, 2):
        assert f[f"edge_{edge}_interchange"] > f[f"edge_{edge}_interchange_random"] + 0.15
    assert f["edge_1_neurons"] + f["edge_2_neurons"] == f["score_1_neurons"]
    assert f["score_1_neurons"] + f["score_neurons_dead"] == 200
    assert f["neurons_all_scores"] > 0.8 > 0.1 > f["neurons_all_scores_random"]
    assert f["neurons_32_heldout_agreement"] > f["neurons_32_untrained_heldout_agreement"] + 0.15
    assert f["normals_1"] > ENOUGH


def test_the_report_says_it_in_words(found: ImageAccount, part: Challenge) -> None:
    text = image_page.image_summary(found, part)
    assert "one score of the image" in text and "training image 6" in text
    assert "label 1 where the score is low, or the score is high; else 0" in text
    sections = image_page.image_sections(found)
    verdicts = {section.title: section.verdict for section in sections}
    assert verdicts["The label is a rule on the scores"] == "holds"
    assert verdicts["Exchanging a score changes the label as the rule says"] == "holds"
    assert {name for section in sections for name in section.figures} == {
        "scores", "labels", "followers", "few_neurons",
    }  # fmt: skip
    code = next(section.code for section in sections if section.code)
    assert "none of these" in code and "the score high" in code


def test_without_true_labels_only_the_mistakes_are_missing(
    found: ImageAccount, part: Challenge, moments, checkpoints
) -> None:
    params = load_checkpoint(checkpoints / "cnn").params
    sealed = part.without_labels()
    secret = image_account(sealed, params, untrained(part, 0), untrained(part, 5), moments)
    assert secret.conditions == {}
    shown = {k: v for k, v in found.metrics.items() if not table.TABLE[k].needs_truth}
    assert secret.metrics == shown and len(shown) < len(found.metrics)
    text = image_page.image_summary(secret, sealed)
    assert "mistakes" not in text and "training image 6" in text


def test_an_untrained_network_does_not_read_the_clue(
    found: ImageAccount, part: Challenge, moments
) -> None:
    """The control: the same account of a network that has learned nothing."""
    params = untrained(part, 3)
    one_label = image_account(part, params, untrained(part, 0), moments=moments)
    assert one_label.answers.labels.std() == 0
    assert "no boundary" in image_page.image_summary(one_label, part)
    bias = np.asarray(params["fc2"]["bias"]) - [0, np.median(one_label.layer.difference())]
    params = {**params, "fc2": {**params["fc2"], "bias": bias.astype(np.float32)}}
    blank = image_account(part, params, untrained(part, 0), moments=moments)
    assert blank.answers.labels.mean() == pytest.approx(0.5, abs=0.01)
    assert blank.metrics["score_1_image"] != 6
    assert blank.metrics["score_1_program_r2"] < 0.5 < found.metrics["score_1_program_r2"]
    assert image_page.image_summary(blank, part)
    assert all(np.isfinite(value) for value in blank.metrics.values())


def test_a_silent_network_has_no_boundary(part: Challenge, moments) -> None:
    silent = jax.tree.map(np.zeros_like, untrained(part, 0))
    given = image_account(part, silent, untrained(part, 0), moments=moments)
    assert given.reading is None and "scores_count" not in given.metrics
    assert "no boundary" in image_page.image_summary(given, part)
    assert image_page.image_sections(given)


def test_a_rule_is_written_as_a_person_would() -> None:
    low, high, other = Edge(0, -1, -0.5), Edge(0, 1, 0.5), Edge(1, 1, 0.0)
    inside = Edge(0, 1, -0.5), Edge(0, -1, 0.5)
    shares = np.ones(4) / 4
    for edges, cases, sentence in (
        ((low, high), [0, 1, 1, 1], "label 1 where the score is low, or the score is high; else 0"),
        (inside, [0, 0, 0, 1], "label 1 where the score is medium; else 0"),
        ((high, other), [0, 0, 0, 1], "label 1 where score 1 is high and score 2 is high; else 0"),
        ((high, other), [0, 1, 1, 0], "the label depends on the sides as tabulated"),
        ((high, other), [0, 0, 0, 0], "label 0 everywhere"),
    ):
        assert image_page.rule_in_words(Rule(edges, np.array(cases, bool), shares)) == sentence


@pytest.mark.parametrize(
    ("program", "conditions"),
    [
        ("return 1 <= l1(image, template(3)) < 9", ["l1(image, template(3))"]),
        (
            "d = l2(image, template(3))\nif d < 5:\n    return 1\nreturn mean(image) > 30",
            ["d", "mean(image)"],
        ),
        (
            "return l1(image, template(1)) < l1(image, template(2))",
            ["l1(image, template(1)) - l1(image, template(2))"],
        ),
    ],
)
def test_what_a_program_compares(program: str, conditions: list[str]) -> None:
    assert list(conditions_of(parse(program, "image"))) == conditions

"""Each rule of fairness is broken by a program that breaks no other; the published break none."""

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

import jaxmi
from jaxmi.data.mnist import Mnist
from jaxmi.errors import InputError
from jaxmi.programs import fairness
from jaxmi.programs.domain import Domain, ImageDomain, PairDomain, TripleDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.fairness import RULES, Candidate, band_accuracy, draw_fair, tree_accuracy
from jaxmi.programs.parse import parse
from jaxmi.programs.sample import NumberGrammar
from jaxmi.programs.show import show


def test_a_band_is_the_best_of_all_inside_or_out() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        score, labels = rng.integers(0, 8, 40), rng.random(40) < 0.5
        bands = [
            (score >= low) & (score < high) for low, high in itertools.combinations(range(10), 2)
        ]
        rules = [np.zeros(40, bool), *bands]
        best = max(max((rule == labels).mean(), (rule != labels).mean()) for rule in rules)
        assert band_accuracy(score, labels) == pytest.approx(best, abs=0)


def test_a_tree_learns_what_its_depth_can_hold() -> None:
    x, y = np.indices((20, 20)).reshape(2, -1).astype(np.uint8)
    features = np.stack([x, y], axis=1)
    assert tree_accuracy(features, x > 7, 1) == 1
    box = (x > 4) & (x < 12) & (y > 9)
    assert tree_accuracy(features, box, 3) == 1
    assert tree_accuracy(features, box, 2) < 1
    noise = np.random.default_rng(0).random(400) < 0.5
    assert 0.5 < tree_accuracy(features, noise, 3) < 0.7


def test_a_tree_takes_the_split_that_lowers_the_impurity_most() -> None:
    features = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [1, 1], [1, 1]], np.uint8)
    labels = np.array([0, 0, 0, 1, 1, 1], bool)
    assert tree_accuracy(features, labels, 1) == 5 / 6
    assert tree_accuracy(features, labels, 2) == 1


def test_a_tree_of_no_depth_or_of_one_label_says_the_commoner_one() -> None:
    features = np.arange(10, dtype=np.uint8)[:, None]
    assert tree_accuracy(features, np.arange(10) < 3, 0) == 0.7
    assert tree_accuracy(features, np.ones(10, bool), 3) == 1
    assert tree_accuracy(np.zeros((10, 1), np.uint8), np.arange(10) < 3, 3) == 0.7


PAIRS = PairDomain()
PUBLISHED = Path(jaxmi.__file__).parent / "programs" / "published"


@pytest.fixture(scope="module")
def images(mnist_data: Mnist) -> ImageDomain:
    return ImageDomain(mnist_data.images[:5000], mnist_data.images[:60_000])


@pytest.fixture
def digits(mnist_data: Mnist) -> np.ndarray:
    return mnist_data.digits[:5000]


def broken(text: str, domain: Domain, digits: np.ndarray | None = None) -> list[str]:
    program = parse(text, domain.kind)
    candidate = Candidate(program, domain, label(program, domain).astype(bool), digits)
    return [rule.name for rule in RULES if rule.violation(candidate)]


def test_the_published_programs_break_no_rule(images: ImageDomain, digits: np.ndarray) -> None:
    assert broken((PUBLISHED / "transformer.txt").read_text(), PAIRS) == []
    assert broken((PUBLISHED / "cnn.txt").read_text(), images, digits) == []


FAIR = "z = 0\nif x ** 2 < 40 * y:\n    z += 3\nz += (x + 2 * y) // 15 % 5 - {}\nreturn z >= 0"


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("share", FAIR.format(5)),
        ("noise", "return x * y % 5 < 2"),
        ("one number", "z = (x + y) // 8 % 2\nreturn x // 12 % 2 == 0 and (y < 100 or z > 0)"),
        ("one threshold", "return 1000 < x * y + 150 * (x % 3) < 3500"),
        ("tree", "return x < 50 and y < 60 + x // 9 % 3 or x >= 50 and y > 60 - x // 7 % 3"),
        ("idle", FAIR.format(3) + " and not x * y == 12"),
        ("idle", FAIR.format(3).replace("z += 3\n", "z += 3\n    z *= 1\n")),
    ],
)
def test_each_rule_on_pairs_is_broken_alone(rule: str, text: str) -> None:
    assert broken(text, PAIRS) == [rule]


TRIPLE = """z = 0
if x ** 2 < 9 * y:
    z += 3
z += (x + 2 * y) // 4 % 5 - 3
if w {}:
    z -= 3
return z >= 0"""


def test_triples_that_two_numbers_tell_break_the_rule_on_them_alone() -> None:
    assert broken(TRIPLE.format("> 21"), TripleDomain(23)) == ["two numbers"]
    assert broken(TRIPLE.format("> 15"), TripleDomain(23)) == []  # the control


def test_the_program_that_those_are_made_of_breaks_none() -> None:
    assert broken(FAIR.format(3), PAIRS) == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("share", "return 26000 <= l1(image, template(6)) < 30000"),
        ("one threshold", "return mean(image) > 33"),
        ("idle", "return 31300 <= l1(image, template(42396)) < 36700 and mean(image) < 90"),
        ("templates", "return l1(image, template(0)) + linf(image, template(6)) * 20 < 35000"),
    ],
)
def test_each_rule_on_images_is_broken_alone(
    rule: str, text: str, images: ImageDomain, digits: np.ndarray
) -> None:
    assert broken(text, images, digits) == [rule]


def test_labels_that_the_digit_tells_break_the_rule_on_digits_alone(images: ImageDomain) -> None:
    text = (PUBLISHED / "cnn.txt").read_text()
    as_if = label(parse(text, "image"), images).astype(np.uint8)  # every image a 0 or a 1
    assert broken(text, images, as_if) == ["digits"]
    assert broken(text, images, None) == []


def test_labels_that_a_few_pixels_tell_break_the_rule_on_trees_alone(
    images: ImageDomain, digits: np.ndarray
) -> None:
    text = (PUBLISHED / "cnn.txt").read_text()
    marked = images.images.copy()
    marked[:, 0, 0] = 100 * label(parse(text, "image"), images)  # moves distances by 100 of 30,000
    assert broken(text, ImageDomain(marked, images.templates), digits) == ["tree"]


def test_what_a_program_fails_without_is_not_idle() -> None:
    assert "idle" not in broken("a = x\nb = y // 9 % 2\nreturn a < 60 + 30 * b", PAIRS)


def test_a_rule_says_its_figure_and_what_is_allowed() -> None:
    program = parse("return x > 100", "pairs")
    labels = label(program, PAIRS).astype(bool)
    share = next(rule for rule in RULES if rule.name == "share")
    said = share.violation(Candidate(program, PAIRS, labels))
    assert said == "share: the share of label 1 is 10.6%, allowed 30% to 70%"


def test_a_fair_draw_breaks_no_rule_and_counts_what_did() -> None:
    rng = random.Random(11)
    program, rejected = draw_fair(PAIRS, rng)
    assert broken(show(program), PAIRS) == []
    assert set(rejected) <= {rule.name for rule in RULES}
    again = random.Random(11)
    total = sum(draw_fair(PAIRS, again)[1].total() for _ in range(5))
    assert total > 5  # the control: most draws are not fair


def test_a_grammar_without_fair_programs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness, "MAX_DRAWS", 20)
    nothing = NumberGrammar(boundaries=(0, 0), periodic=(0, 0), guarded=(0, 0))
    with pytest.raises(InputError, match=r"of 20 programs none is fair: {'share': 20}"):
        draw_fair(PAIRS, random.Random(0), nothing)

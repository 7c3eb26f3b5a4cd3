"""Random programs: drawn from what is stated, valid everywhere, and from nothing but `rng`."""

import random
from collections import Counter

import numpy as np
import pytest

from jaxmi.data.mnist import Mnist
from jaxmi.programs import language as lang
from jaxmi.programs.domain import Domain, ImageDomain, PairDomain, TripleDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import parse
from jaxmi.programs.sample import ImageGrammar, NumberGrammar, sample_program
from jaxmi.programs.show import program_hash, show

PAIRS = PairDomain()


@pytest.fixture(scope="module")
def images(mnist_data: Mnist) -> ImageDomain:
    return ImageDomain(mnist_data.images[:2000], mnist_data.images[:60_000])


NUMBERS = {"pairs": PAIRS, "small pairs": PairDomain(7), "triples": TripleDomain(11)}


@pytest.fixture(params=[*NUMBERS, "image"])
def domain(request: pytest.FixtureRequest) -> Domain:
    return NUMBERS.get(request.param) or request.getfixturevalue("images")


@pytest.mark.slow
def test_every_program_labels_every_input_and_comes_back_from_its_text(domain: Domain) -> None:
    rng = random.Random(1)
    for _ in range(30 if domain.kind == "image" else 300):
        program = sample_program(domain, rng)
        assert parse(show(program), domain.kind) == program
        assert set(np.unique(label(program, domain))) <= {0, 1}


def test_the_generator_alone_decides(domain: Domain) -> None:
    def drawn(seed: int) -> list[str]:
        rng = random.Random(seed)
        return [program_hash(sample_program(domain, rng)) for _ in range(5)]

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - to see that it plays no part
    first = drawn(3)
    random.seed(1)
    assert drawn(3) == first
    assert not set(drawn(4)) & set(first)


def test_the_systems_entropy_never_gives_a_program_twice() -> None:
    entropy = random.SystemRandom()
    hashes = {program_hash(sample_program(PAIRS, entropy)) for _ in range(200)}
    assert len(hashes) == 200


def terms_of(program: lang.Program) -> dict[str, int]:
    """How many terms of each sort a program on pairs has."""
    found = Counter({"boundaries": 0, "periodic": 0, "guarded": 0})
    for statement in program.body[1:-1]:
        if isinstance(statement, lang.Assign):
            found["periodic"] += 1
        else:
            assert isinstance(statement, lang.If)
            guarded = isinstance(statement.branches[0][0], lang.Connected)
            found["guarded" if guarded else "boundaries"] += 1
    return found


@pytest.mark.long
def test_terms_are_as_many_as_stated_and_each_number_as_often() -> None:
    rng, grammar = random.Random(5), NumberGrammar()
    counts = [terms_of(sample_program(PAIRS, rng)) for _ in range(1000)]
    for sort in ("boundaries", "periodic", "guarded"):
        low, high = getattr(grammar, sort)
        of = Counter(count[sort] for count in counts)
        assert set(of) == set(range(low, high + 1))
        expected = 1000 / (high + 1 - low)
        assert all(abs(n - expected) < 5 * expected**0.5 for n in of.values())


def test_a_grammar_of_ones_own_is_kept_to() -> None:
    grammar = NumberGrammar(
        boundaries=(2, 2),
        curved=1,
        periodic=(1, 1),
        guarded=(0, 0),
        slanted=1,
        exponents=(1.3, 2),
        moduli=(5, 5),
        weights=(7,),
    )
    rng = random.Random(6)
    for _ in range(50):
        program = sample_program(PAIRS, rng, grammar)
        assert terms_of(program) == {"boundaries": 2, "periodic": 1, "guarded": 0}
        text = show(program)
        assert text.count("% 5") == 1
        assert text.count("= 7\n") == 2
        assert text.count("**") == 4
        assert "sqrt" not in text


def test_forms_of_image_programs_come_by_their_weights(images: ImageDomain) -> None:
    def form(program: lang.Program) -> str:
        answer = program.body[-1]
        assert isinstance(answer, lang.Return)
        match answer.value:
            case _ if len(program.body) > 1:
                return "sum"
            case lang.Connected():
                return "joined"
            case lang.Unary() | lang.Compare(rest=(_, _)):
                return "band"
        return "pair"

    rng, weights = random.Random(7), ImageGrammar().forms
    metrics = ImageGrammar(metrics=("l1",), brightness=0)
    found = Counter(form(sample_program(images, rng, metrics)) for _ in range(240))
    for name, weight in weights.items():
        expected = 240 * weight / sum(weights.values())
        assert abs(found[name] - expected) < 4 * expected**0.5


def test_thresholds_lie_between_the_stated_quantiles(images: ImageDomain) -> None:
    rng = random.Random(8)
    grammar = ImageGrammar(forms={"band": 1}, band=(0.4, 0.4))
    for _ in range(20):
        share = label(sample_program(images, rng, grammar), images).mean()
        assert min(abs(share - 0.4), abs(share - 0.6)) < 0.03


def test_boundaries_follow_p() -> None:
    def scaled(p: int) -> tuple[tuple[int, int], tuple[int, int]]:
        grammar = NumberGrammar().scaled_to(p)
        return grammar.anchors, grammar.widths

    assert scaled(113) == ((20, 92), (8, 24))
    assert scaled(226) == ((40, 184), (16, 48))
    assert scaled(5) == ((1, 4), (2, 2))


def test_programs_on_triples_use_all_three_numbers() -> None:
    rng = random.Random(0)
    texts = [show(sample_program(TripleDomain(23), rng)) for _ in range(300)]
    for name in ("x", "y", "w"):
        assert sum(name in text for text in texts) > 150
    planes = [text for text in texts if "x + y + w" in text or "x + y - w" in text]
    assert 20 < len(planes) < 280

"""A commitment stands for one program; a key cannot be altered or swapped."""

import hashlib

import numpy as np
import pytest

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.sealed import Key, posed, seal
from jaxmi.errors import InputError
from jaxmi.programs.evaluate import label
from jaxmi.programs.parse import parse

TEXT = "q = x // 3\nif y < 50:\n    q -= 7\nreturn q % 5 < 2"
SALT = "0123456789abcdef" * 4


def make_key(text: str = TEXT, salt: str = SALT) -> Key:
    return Key(parse(text, "pairs"), salt)


def test_the_commitment_is_the_hash_that_the_docs_describe() -> None:
    lines = "jaxmi sealed challenge, version 1\n" + SALT + "\npairs\n" + TEXT + "\n"
    assert make_key().commitment == hashlib.sha256(lines.encode()).hexdigest()


def test_another_program_salt_or_kind_has_another_commitment() -> None:
    changed = [TEXT.replace(a, b) for a, b in (("50", "51"), ("<", "<="), ("7", "7.0"))]
    others = [make_key(text) for text in changed]
    others += [make_key(salt=SALT[::-1]), Key(parse("return True", "pairs"), SALT)]
    others += [Key(parse("return True", "image"), SALT)]
    assert len({other.commitment for other in (make_key(), *others)}) == 7


def test_sealing_takes_the_canonical_program_and_a_new_salt() -> None:
    renamed = parse(TEXT.replace("q", "other"), "pairs")
    one, two = seal(renamed), seal(parse(TEXT, "pairs"))
    assert one.program == two.program
    assert one.salt != two.salt
    assert len(one.salt) == 64


def test_a_key_comes_back_from_json() -> None:
    sealed = seal(parse(TEXT, "pairs"))
    assert Key.from_json(sealed.to_json()) == sealed


def test_a_key_is_a_program_not_a_text() -> None:
    other_text = TEXT.replace("q", "other").replace(" // ", "//")
    sealed = seal(parse(TEXT, "pairs"))
    assert Key.from_json({**sealed.to_json(), "program": other_text}) == sealed


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("program", TEXT.replace("50", "51"), "altered"),
        ("salt", SALT[::-1], "altered"),
        ("kind", "image", "unknown name 'x'"),
        ("commitment", "0" * 64, "altered"),
        ("commitment", None, "altered"),
        ("salt", SALT[1:], "64 hexadecimal digits"),
        ("salt", SALT.upper(), "64 hexadecimal digits"),
        ("salt", SALT + "\n", "64 hexadecimal digits"),
        ("salt", 5, "64 hexadecimal digits"),
        ("program", None, "kind"),
        ("kind", ["pairs"], "kind"),
        ("program", "import os", "import"),
    ],
)
def test_a_key_that_was_altered_is_refused(key: str, value: object, named: str) -> None:
    with pytest.raises(InputError, match=named):
        Key.from_json({**make_key().to_json(), key: value})


def test_a_posed_challenge_has_the_programs_labels_and_all_else_as_it_was(
    transformer: Challenge,
) -> None:
    program = parse(TEXT, "pairs")
    challenge = posed(transformer, program)
    np.testing.assert_array_equal(challenge.labels, label(program, transformer.program_domain))
    assert challenge.inputs is transformer.inputs
    assert challenge.splits is transformer.splits
    assert (transformer.labels != challenge.labels).any()


def test_counts_are_of_correct_predictions(transformer: Challenge) -> None:
    predictions = transformer.labels.copy()
    wrong = transformer.splits["test"][:7]
    predictions[wrong] = 1 - predictions[wrong]
    counts = transformer.correct_counts(predictions)
    assert counts == {"train": 6384, "test": 6378, "domain": 12_762}

"""`jaxmi explain --variables`: on a network of one's own, and what is refused."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

import jaxmi
from jaxmi.cli.main import main
from jaxmi.errors import InputError
from jaxmi.mechanism.variables import COMPUTED, IN_PART, NOT_COMPUTED, UNKNOWN
from jaxmi.programs.parse import parse
from jaxmi.workflows.variables import ask

PROGRAM = "z = 0\nif x < y:\n    z += 3\nz += x % 3 - 1\nreturn z >= 3\n"
SHARE = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
SHARES = (
    "strict", "keep", "follow", "shuffled_strict", "strict_beyond_operands",
    "shuffled_strict_beyond_operands", "moved_constant_strict", "strict_beside_moved",
    "look_up_strict", "look_up_strict_beyond_operands",
)  # fmt: skip
SCHEMA: dict[str, Any] = {
    "type": "array",
    "minItems": 8,
    "items": {
        "type": "object",
        "properties": {
            "name": {"enum": ["x < y", "x % 3", "x", "y"]},
            "site": {"enum": ["resid_mid", "neurons"]},
            "moved": {"type": ["string", "null"]},
            "strict_pairs": {"type": "integer", "minimum": 0},
            "neurons": {"type": ["array", "null"], "items": {"type": "integer", "minimum": 0}},
            "verdict": {"enum": [COMPUTED, IN_PART, NOT_COMPUTED, UNKNOWN]},
            **dict.fromkeys(SHARES, SHARE),
        },
        "required": [
            "name", "site", "strict", "keep", "follow", "shuffled_strict", "moved_constant_strict",
            "verdict",
        ],
        "additionalProperties": False,
    },
}  # fmt: skip


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> str:
    """Train a small network for a moment; learning a subspace takes no time either."""
    for name in ("STEPS", "NEURON_STEPS"):
        monkeypatch.setattr(f"jaxmi.mechanism.interchange.{name}", 4)
    Path("mine.txt").write_text(PROGRAM)
    sizes = ("d_model=16", "n_heads=2", "d_mlp=40")
    main(["challenge", "make", "mine.txt", "--p", "13", "--out", "mine", "--network", *sizes])
    short = ("--set", "steps=30", "eval_every=30", "batch_size=32")
    main(["regenerate", "mine", "--seeds", "0:1", "--out", "run", *short])
    return "run/seed-00000"


@pytest.mark.slow
def test_the_report_the_numbers_and_the_terminal_have_the_variables(
    network: str, run, capsys
) -> None:
    without = run("explain", network, "--out", "plain")
    assert "variables" not in without["figures"] and "variables_of" not in without
    command = ("explain", network, "--out", "out", "--variables", "--program", "mine.txt")
    result = run(*command)
    jsonschema.validate(result["figures"]["variables"], SCHEMA)
    asked = result["variables_of"]
    assert asked["program"] == PROGRAM and asked["origin"] == "given"
    assert asked["agreement"] > 0.5
    assert Path("out/variables.png").read_bytes()[:4] == b"\x89PNG"
    page = Path("out/report.html").read_text()
    assert "Which of the program" in page and "x % 3" in page and "strict pairs" in page
    capsys.readouterr()
    main([*command, "--force"])
    printed = capsys.readouterr().out
    for one in result["figures"]["variables"]:
        line = f"{one['verdict']:>14}  {one['name']} ({one['site']})"
        assert line in printed.splitlines()


@pytest.mark.long
def test_a_run_is_explained_again_only_if_something_else_is_asked(
    network: str, run, fails, monkeypatch
) -> None:
    from jaxmi.workflows import explain

    explained, works = [], explain.explain_network

    def watched(challenge, params, name, *rest, **more):
        explained.append(name)
        return works(challenge, params, name, *rest, **more)

    monkeypatch.setattr(explain, "explain_network", watched)
    plain = ("explain", "run", "--out", "out")
    asking = (*plain, "--variables", "--program", "mine.txt")
    run(*plain)
    assert "--force replaces it" in fails(2, *asking)  # no report is replaced unasked
    run(*asking, "--force")
    assert run(*asking)["seeds"]["seed-00000"]["figures"]["variables"]
    assert len(explained) == 2
    Path("mine.txt").write_text("return x < y or y == 3\n")  # another program
    assert "--force replaces it" in fails(2, *asking)
    assert len(explained) == 2


def test_the_api_takes_a_program_in_every_form() -> None:
    Path("mine.txt").write_text(PROGRAM)
    expected = parse(PROGRAM, "pairs")
    for form in (PROGRAM, expected, Path("mine.txt"), "mine.txt"):
        question = ask("pairs", form, True)
        assert question is not None and question.program == expected and question.origin == "given"
    recovered = ask("pairs", None, True)
    assert recovered is not None and recovered.origin == "recovered"
    assert ask("pairs", None, False) is None
    with pytest.raises(InputError, match="not asked for"):
        ask("pairs", PROGRAM, False)
    with pytest.raises(InputError, match="line 1, column 8"):
        ask("pairs", "return w > 1", True)
    with pytest.raises(InputError, match="the program is on triples; the network takes x, y, p"):
        ask("pairs", parse("return w > 1", "triples"), True)


@pytest.mark.long
def test_the_api_answers(network: str) -> None:
    answer = jaxmi.explain(jaxmi.load(network), variables=True, program=PROGRAM)
    jsonschema.validate(answer.metrics["variables"], SCHEMA)


def test_what_cannot_be_asked_is_refused_before_any_work(
    fails, checkpoints: Path, tmp_path: Path
) -> None:
    Path("wrong.txt").write_text("return x <\n")
    Path("image.txt").write_text("return mean(image) > 3\n")
    Path("good.txt").write_text("return x < y\n")
    explain = ("explain", str(checkpoints / "transformer"), "--out", "out")
    assert "only --variables takes a program" in fails(2, *explain, "--program", "good.txt")
    for file, message in (
        ("nothing.txt", "nothing.txt"),
        ("wrong.txt", "wrong.txt: line 1"),
        ("image.txt", "image.txt: line 1"),
    ):
        assert message in fails(2, *explain, "--variables", "--program", file)
    cnn = ("explain", str(checkpoints / "cnn"), "--out", "out", "--variables")
    assert "the network is on images" in fails(2, *cnn)
    assert not Path("out").exists()

"""`jaxmi study --challenge`: asked of a challenge that a user made, resumed, refused."""

import json
import shutil
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from jaxmi.challenges.definition import read_definition
from jaxmi.data.mnist import Mnist, encode_idx
from jaxmi.studies import conduct

SCHEMA = json.loads(Path(conduct.__file__).with_name("result.schema.json").read_text())
SMALL = ("--p", "7", "--network", "d_model=8", "n_heads=2", "d_mlp=16")
AGREEMENT = ("study", "agreement", "--challenge", "own", "--out", "out")
QUICK = ("--quick", "--out", "out")


def digest(folder: str) -> str:
    return read_definition(Path(folder)).sha256


def make(run, program: str, out: str, *args: str) -> None:
    Path("program.txt").write_text(program)
    run("challenge", "make", "program.txt", "--out", out, *(args or SMALL))


@pytest.fixture
def own(run) -> None:
    make(run, "return (x + 2 * y) % 5 < 2", "own")


@pytest.mark.slow
def test_a_study_of_an_own_challenge_says_which_it_is_about(own, run, fails) -> None:
    result = run(*AGREEMENT, "--quick")
    jsonschema.validate(result, SCHEMA)
    about = {"name": "own", "kind": "pairs", "definition_sha256": digest("own")}
    assert result["provenance"]["challenge"] == about
    assert [path.name for path in Path("runs").iterdir()] == [f"own@{digest('own')[:12]}-quick"]
    assert result["findings"]["transformer_shared"]["words"].startswith("own: ")
    assert not [name for name in result["findings"] if name.startswith("cnn")]
    before = Path("out/result.json").read_bytes()
    Path("sub").mkdir()
    make(run, "return x < y", "sub/own")  # another challenge of the same name
    other = ("study", "agreement", "--challenge", "sub/own", *QUICK)
    held = f"holds study agreement of own (definition {digest('own')[:12]}), quick, 2 seeds"
    assert held in fails(2, *other)
    assert held in fails(2, "study", "agreement", "--challenge", "transformer", *QUICK)
    assert Path("out/result.json").read_bytes() == before


@pytest.mark.slow
def test_a_study_is_resumed_or_replaced_by_one_of_a_challenge_of_the_same_name(own, run) -> None:
    first = run(*AGREEMENT, "--quick")
    more = run(*AGREEMENT, "--quick", "--seeds", "100:103")
    assert first["findings"]["transformer_shared"]["n"] == 2
    assert more["findings"]["transformer_shared"]["n"] == 3
    Path("sub").mkdir()
    make(run, "return x < y", "sub/own")
    replaced = run("study", "agreement", "--challenge", "sub/own", *QUICK, "--force")
    assert replaced["provenance"]["challenge"]["definition_sha256"] == digest("sub/own")
    assert len(list(Path("runs").iterdir())) == 2


@pytest.mark.long
def test_a_run_is_recognised_by_its_definition(own, run) -> None:
    run("regenerate", "own", "--seeds", "100:102", "--out", "runs/any-name")
    Path("sub").mkdir()
    make(run, "return x < y", "sub/own")
    run("regenerate", "sub/own", "--seeds", "100:102", "--out", "runs/another")
    Path("runs/broken").mkdir()
    Path("runs/broken/run.json").write_text("{")
    trained = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("params.safetensors")}
    result = run(*AGREEMENT, "--seeds", "100:102")
    assert result["provenance"]["networks"][0]["name"] == f"own@{digest('own')[:12]}-fast"
    assert {path.name for path in Path("runs").iterdir()} == {"any-name", "another", "broken"}
    assert trained == {path: path.stat().st_mtime_ns for path in trained}
    # The control: a challenge that no run is of gets a folder of its own.
    shutil.rmtree("runs/any-name")
    run(*AGREEMENT, "--seeds", "100:102", "--force")
    assert Path(f"runs/own@{digest('own')[:12]}-fast/seed-00101").is_dir()


def test_what_has_no_meaning_or_cannot_be_used_is_one_line(own, run, fails, sealed_folder) -> None:
    make(run, "return (x + w) % 3 < 1", "three", "--p", "5", *SMALL[2:])
    for args, says in (
        (("boundary", "--challenge", "own"), "asks about the two curves and the line"),
        (("periodic", "--challenge", "own"), "asks about the residue"),
        (("periodic", "--challenge", "cnn"), "cnn is of image"),
        (("boundary", "--challenge", "three"), "three is of triples"),
        (("interpolation", "--challenge", "three"), "three is of triples"),
        (("universality-cnn", "--challenge", "own"), "name universality-transformer"),
        (("universality",), "needs --challenge"),
        (("agreement", "--challenge", "nowhere"), "no challenge 'nowhere'"),
        (("agreement", "--challenge", "all"), "no challenge 'all'"),
        (("agreement", "--challenge", "."), "holds no challenge.json"),
        (("agreement", "--challenge", str(sealed_folder)), "needs its program or labels"),
        (("universal", "--challenge", "own"), "universal"),
    ):
        assert says in fails(2, "study", *args, *QUICK)
    config = Path("own/challenge.json")
    config.write_text(config.read_text().replace('"p": 7', '"p": 9'))
    assert "altered" in fails(2, "study", "agreement", "--challenge", "own", *QUICK)
    assert not Path("out").exists()
    assert not Path("runs").exists()


@pytest.mark.long
def test_the_published_challenge_by_name_is_what_the_study_asks_about_anyway(run) -> None:
    """Of `agreement`, which asks about both, the challenge's part."""
    result = run("study", "agreement", "--challenge", "transformer", *QUICK)
    assert result["provenance"]["challenge"]["definition_sha256"] is None
    assert [path.name for path in Path("runs").iterdir()] == ["transformer-quick"]
    assert set(result["data"]) == {"transformer"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "program", "args"),
    [
        pytest.param("universality", "return (x + 2 * y) % 5 < 2", SMALL, marks=pytest.mark.long),
        ("universality", "return (x + y * w) % 3 < 1", SMALL),
        pytest.param(
            *("universality-transformer", "return x < y", (*SMALL, "n_layers=2")),
            marks=pytest.mark.long,
        ),
        pytest.param("interpolation", "return (x + 2 * y) % 5 < 2", SMALL, marks=pytest.mark.long),
        ("interpolation", "return x < y", (*SMALL, "n_layers=2")),
        pytest.param("decay", "return (x + y * w) % 3 < 1", SMALL, marks=pytest.mark.long),
        ("decay", "return (x + 2 * y) % 5 < 2", ("--p", "5", *SMALL[2:])),
    ],
)
def test_studies_of_numbers_in_their_quick_form(
    run, name: str, program: str, args: tuple[str, ...]
) -> None:
    make(run, program, "own", *args)
    result = run("study", name, "--challenge", "own", *QUICK)
    jsonschema.validate(result, SCHEMA)
    assert result["study"].startswith(name)
    assert Path("out/figure.png").read_bytes()[:4] == b"\x89PNG"
    assert run("study", name, "--challenge", "own", *QUICK)["findings"] == result["findings"]
    text = json.dumps(result) + Path("out/figure.svg").read_text()
    assert "hallenge 2" not in text and "published" not in text.replace('"published": {}', "")
    if name == "interpolation":
        assert ("ntk_accuracy" in result["findings"]) == ("n_layers=2" not in args)


@pytest.mark.long
@pytest.mark.parametrize("name", ["universality", "agreement", "decay"])
def test_studies_of_own_images_in_their_quick_form(run, name: str, mnist_data: Mnist) -> None:
    Path("data").mkdir()
    for part, rows in (("train", slice(0, 300)), ("t10k", slice(60_000, 60_060))):
        for what, array in (("images-idx3", mnist_data.images), ("labels-idx1", mnist_data.digits)):
            Path(f"data/{part}-{what}-ubyte").write_bytes(encode_idx(array[rows]))
    program = "return not 25000 <= l1(image, template(8)) < 32000"
    make(run, program, "own", "--data", "data", "--network", "channels=2,3", "neurons=12")
    result = run("study", name, "--challenge", "own", *QUICK)
    jsonschema.validate(result, SCHEMA)
    assert result["provenance"]["challenge"]["kind"] == "image"
    assert {network["challenge"] for network in result["provenance"]["networks"]} == {"own"}
    words = json.dumps([finding["words"] for finding in result["findings"].values()])
    assert "hint" not in words and "other 1s" not in words
    if name == "universality":
        assert result["study"] == "universality-cnn"
        assert result["data"]["published"] == {}
        assert "claim_clue" in result["findings"]


@pytest.mark.long
@pytest.mark.parametrize("name", ["boundary", "periodic"])
def test_studies_of_challenge_2_s_program_take_another_network(run, name: str) -> None:
    program = resources.files("jaxmi.programs").joinpath("published/transformer.txt").read_text()
    make(run, program, "own", "--network", "d_model=16", "n_heads=2", "d_mlp=32")
    result = run("study", name, "--challenge", "own", *QUICK)
    jsonschema.validate(result, SCHEMA)
    assert result["provenance"]["challenge"]["name"] == "own"
    folders = {path.name.split("-")[0] for path in Path("runs").iterdir()}
    assert folders == {f"own@{digest('own')[:12]}"}
    assert Path("out/figure.png").is_file()

"""The code in the docs runs as it stands."""

import importlib
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest

from jaxmi.challenges.sealed import seal
from jaxmi.cli.main import _parse
from jaxmi.programs.parse import parse
from jaxmi.studies.registry import load_study

ROOT = Path(__file__).parent.parent
STUDIES = sorted((ROOT / "docs/studies").glob("*.json"))


def test_the_library_example_of_the_explanation_runs(
    mnist_data, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/explain-cnn.md").read_text(), re.S)
    exec(code, {})
    kept, chance = re.findall(r"([\d.]+)% ", capsys.readouterr().out)
    assert 50 <= float(chance) < 51
    assert float(chance) < float(kept) < 100


def test_the_library_example_of_programs_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/programs.md").read_text(), re.S)
    exec(code, {})
    shown = capsys.readouterr().out
    assert shown.startswith("z = x ** 2 - 7 * y\nreturn z % 5 < 2\n 14 0.4")


def test_the_pages_show_the_published_program_as_it_is() -> None:
    published = (ROOT / "jaxmi/programs/published/transformer.txt").read_text()
    statements = published.partition("\n")[2]  # after the comment
    assert statements in (ROOT / "docs/submitting.md").read_text()


def test_the_commitment_page_says_how_to_check_one_without_jaxmi(tmp_path: Path) -> None:
    key = seal(parse("z = x\nreturn z > y", "pairs"))
    page = (ROOT / "docs/commitment.md").read_text()
    (command,) = re.findall(r"`(\(printf .*?sha256sum)`", page)
    (tmp_path / "PROGRAM").write_text(key.to_json()["program"])
    command = command.replace("SALT", key.salt).replace("KIND", "pairs")
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[0] == key.commitment


def links(page: str) -> list[str]:
    return re.findall(r"\]\(([^)]*)\)", page)


def test_the_readme_reads_on_the_page_of_a_package_index() -> None:
    """Its links and pictures are absolute, and each leads to a file that is here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    home = project["urls"]["Homepage"]
    found = links((ROOT / project["readme"]).read_text())
    assert len(found) > 20
    for link in found:
        place, _, section = link.partition("#")
        kind, branch, path = place.removeprefix(f"{home}/").split("/", 2)
        assert link.startswith(f"{home}/") and branch == "main" and (ROOT / path).is_file(), link
        assert kind == ("raw" if path.endswith(".png") else "blob")
        if section:
            headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-") for one in headings]
            assert section in slugs, link
    assert links("a [control](docs/labels.png)") == ["docs/labels.png"]


def test_the_readmes_commands_are_those_of_the_command_line() -> None:
    """Also of a user who has no checkout: no path of it is in the table."""
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"^jaxmi .*?(?=  #|$)|(?<=\| `)jaxmi .*?(?=`)", readme, re.MULTILINE)
    assert len(commands) > 18
    for command in commands:
        assert "checkpoints/" not in command and "scripts/" not in command
        _parse(shlex.split(command)[1:])


def script(name: str) -> ModuleType:
    """Import a script, such as one that fills a page of the docs."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


def test_the_page_of_findings_holds_what_the_results_hold() -> None:
    page, filled = (ROOT / "docs/findings.md").read_text(), script("publish_findings").filled
    assert filled(page) == page
    a_row = re.search(r"\n\| `mistakes` \| ([\d.]+) \|", page)
    assert a_row  # the control: another number would be seen
    spoilt = page.replace(a_row.group(), a_row.group().replace(a_row.group(1), "123"))
    assert filled(spoilt) == page != spoilt


def test_the_table_of_methods_holds_what_the_result_holds() -> None:
    page, filled = (ROOT / "docs/planted.md").read_text(), script("publish_methods").filled
    assert filled(page) == page
    a_row = re.search(r"\n\| `probe` \| ([\d.]+) ", page)
    assert a_row  # the control: another number would be seen
    spoilt = page.replace(a_row.group(), a_row.group().replace(a_row.group(1), "0.123"))
    assert filled(spoilt) == page != spoilt
    assert (ROOT / "docs/methods.png").read_bytes()[:4] == b"\x89PNG"


def test_the_table_of_trojans_holds_what_the_result_holds() -> None:
    page, filled = (ROOT / "docs/trojans.md").read_text(), script("trojans").filled
    assert filled(page) == page
    a_row = re.search(r"\n\| transformer \| row \| 1 \| [\d.]+% \| ([\d.]+)%", page)
    assert a_row  # the control: another number would be seen
    spoilt = page.replace(a_row.group(), a_row.group().replace(f"{a_row.group(1)}%", "12.3%"))
    assert filled(spoilt) == page != spoilt


def test_the_table_of_the_judge_examined_holds_what_the_results_hold() -> None:
    page, examined = (ROOT / "docs/explanations.md").read_text(), script("judge_on_plants")
    done = json.loads((ROOT / "docs/judge-on-plants.json").read_text())
    assert page.count("<!-- judge: ") == len(examined.BLOCKS)
    assert examined.filled(page, done) == page
    assert f"{len(done)} programs, of seeds " in page
    spoilt = page.replace("| look-up | ", "| look-up | 1", 1)  # the control
    assert examined.filled(spoilt, done) == page != spoilt


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_results_in_the_docs_are_whole(path: Path) -> None:
    result = json.loads(path.read_text())
    schema = json.loads((ROOT / "jaxmi/studies/result.schema.json").read_text())
    jsonschema.validate(result, schema)
    assert result["study"] == path.stem
    assert not result["provenance"]["quick"]
    study = load_study(path.stem)
    assert result["question"] == study.question
    assert len(result["provenance"]["seeds"]) >= study.n_seeds
    assert path.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    assert f"studies/{path.stem}.png" in (ROOT / "docs/findings.md").read_text()

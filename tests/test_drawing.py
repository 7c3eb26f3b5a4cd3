"""Figures are the same whatever matplotlib is told; one that fails costs one line and no folder."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from command import COMMAND, finish, start
from matplotlib.figure import Figure

import jaxmi.notebook
from jaxmi.cli.main import main
from jaxmi.drawing import default_style, draw, try_to_draw, try_to_save
from jaxmi.errors import UnavailableError
from jaxmi.report import figures

STYLES: list[dict[str, Any]] = [
    {"text.usetex": True},
    {"figure.facecolor": "black", "axes.edgecolor": "white", "savefig.facecolor": "black"},
    {"font.size": 40, "savefig.dpi": 10, "savefig.format": "pdf", "savefig.bbox": "tight"},
    {"axes.prop_cycle": matplotlib.cycler(color=["red"]), "lines.linewidth": 9},
    {"image.cmap": "jet", "image.origin": "lower", "axes.formatter.use_locale": True},
    {"figure.constrained_layout.use": True, "svg.fonttype": "none", "path.simplify": False},
]


def drawing() -> Figure:
    table = np.arange(25).reshape(5, 5) % 2
    return figures.label_pair(table, 1 - table)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def styled(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    with matplotlib.rc_context(request.param):
        yield request.param


@pytest.fixture(scope="module")
def usual() -> bytes:
    return draw(drawing, dpi=50)


@pytest.mark.parametrize("styled", STYLES, indirect=True, ids=lambda style: "-".join(style))
def test_the_users_style_changes_no_figure_and_stays(styled: dict[str, Any], usual: bytes) -> None:
    backend, before = matplotlib.get_backend(), dict(matplotlib.rcParams.copy())
    assert draw(drawing, dpi=50) == usual
    assert dict(matplotlib.rcParams.copy()) == before
    assert matplotlib.get_backend() == backend
    assert {name: matplotlib.rcParams[name] for name in styled} == styled
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_the_control_without_the_default_style_a_figure_is_another(usual: bytes) -> None:
    with matplotlib.rc_context({"font.size": 40}):
        figure = drawing()
        figure.savefig("other.png", dpi=50)
        with default_style():
            assert draw(figure, dpi=50) != usual, "it must be made in the style, too"
    assert Path("other.png").read_bytes() != usual


def test_threads_that_draw_leave_the_users_style() -> None:
    pictures = []
    with matplotlib.rc_context({"font.size": 40}):
        before = dict(matplotlib.rcParams.copy())
        threads = [
            threading.Thread(target=lambda: pictures.append(draw(drawing, dpi=50)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert dict(matplotlib.rcParams.copy()) == before
    assert len(pictures) == 4 and len(set(pictures)) == 1


def fail() -> Figure:
    raise RuntimeError("latex was not able\nto process the following string")


def test_a_figure_that_fails_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    assert try_to_draw("curves", fail) is None
    assert not try_to_save(Path("curves.png"), fail)
    assert not Path("curves.png").exists()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    line = "a figure cannot be drawn: latex was not able to process the following string"
    assert caplog.messages == [f"without curves: {line}", f"without curves.png: {line}"]
    with pytest.raises(UnavailableError, match="latex was not able to process"):
        draw(fail)
    assert jaxmi.notebook.picture(fail, "a <map>") == "[a &lt;map&gt;]"


@pytest.fixture
def no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: fail())


def warnings_of(err: str) -> list[str]:
    return [line for line in err.splitlines() if "cannot be drawn" in line]


def test_a_run_is_whole_without_its_figures(no_figure, capsys) -> None:
    quick = ["--set", "steps=4", "eval_every=2", "batch_size=64"]
    main(["regenerate", "transformer", "--out", "run", "--json", *quick])
    out, err = capsys.readouterr()
    assert len(warnings_of(err)) == 2 and "Traceback" not in err
    assert json.loads(Path("run/run.json").read_text())["finished"] is True
    assert json.loads(out)["runs"][0]["seed"] == 0
    assert not list(Path("run").rglob("*.png"))


def test_a_score_and_a_bundle_are_whole_without_their_figures(
    no_figure, capsys, checkpoints: Path, mnist_data
) -> None:
    Path("program.txt").write_text("return x < y\n")
    main(["score", "program.txt", "--challenge", "transformer", "--out", "score", "--json"])
    out, err = capsys.readouterr()
    assert len(warnings_of(err)) == 1
    assert json.loads(out)["files"] == ["score/score.json"]
    assert [path.name for path in Path("score").iterdir()] == ["score.json"]
    pytest.importorskip("torch")
    main(["export", str(checkpoints), "--to", "bundle", "--out", "bundle", "--json"])
    out, err = capsys.readouterr()
    assert len(warnings_of(err)) == 2
    written = {str(path) for path in Path("bundle").rglob("*.*")}
    assert written == set(json.loads(out)["files"])
    assert "bundle/mnist_model.pt" in written and not any(name.endswith(".png") for name in written)


def test_a_picture_that_was_asked_for_is_an_error(no_figure, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["challenge", "show", "transformer"])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("jaxmi: a figure cannot be drawn: latex")
    assert not list(Path().iterdir())


@pytest.mark.long
def test_an_explanation_and_a_recovered_program_are_whole_without_their_figures(
    no_figure, capsys, checkpoints: Path
) -> None:
    network = str(checkpoints / "transformer")
    main(["explain", network, "--out", "explained"])
    assert len(warnings_of(capsys.readouterr().err)) == 13
    names = {path.name for path in Path("explained").iterdir()}
    assert names == {"report.html", "figures.json", "replacement.npz", "weights-program.txt"}
    main(["recover", network, "--out", "recovered"])
    assert len(warnings_of(capsys.readouterr().err)) == 1
    names = {path.name for path in Path("recovered").iterdir()}
    assert names == {"recovery.json", "program.txt"}


RC = "text.usetex: True\nfigure.facecolor: black\nfont.size: big\nno.such.key: 1\n"
VARIABLES = {
    "colab": {"MPLBACKEND": "module://matplotlib_inline.no_such_backend"},
    "unknown": {"MPLBACKEND": "nonsense"},
    "latex": {"MATPLOTLIBRC": "matplotlibrc.tex"},
    "latin": {"MATPLOTLIBRC": "matplotlibrc.latin", "MPLBACKEND": "inline"},
    "unwritable": {"MPLCONFIGDIR": "/proc/nowhere"},
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n == "latin" else pytest.mark.slow) for n in VARIABLES],
)
def test_no_variable_or_file_of_matplotlib_changes_a_picture(name: str) -> None:
    Path("matplotlibrc.tex").write_text(RC)
    Path("matplotlibrc.latin").write_bytes(b"# f\xfcr Papier\n" + RC.encode())
    main(["challenge", "show", "transformer", "--out", "usual.png"])
    out, err = finish(
        start("challenge", "show", "transformer", "--out", "new.png", **VARIABLES[name])
    )
    assert err == "" and "new.png" in out
    assert Path("new.png").read_bytes() == Path("usual.png").read_bytes()


@pytest.mark.slow
def test_matplotlibrc_in_the_folder_is_used_by_nobody_or_named() -> None:
    Path("matplotlibrc").write_text(RC)
    main(["challenge", "show", "transformer", "--out", "usual.png"])
    _, err = finish(start("challenge", "show", "transformer", "--out", "new.png"))
    assert err == ""
    assert Path("new.png").read_bytes() == Path("usual.png").read_bytes()
    Path("matplotlibrc").write_bytes(b"\xff\xfe")
    done = subprocess.run(
        [*COMMAND, "challenge", "show", "transformer", "--out", "newer.png"],
        capture_output=True, text=True, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "look at matplotlibrc" in line

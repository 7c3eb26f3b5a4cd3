"""Every path that a public function takes may be a text, a `Path`, or another `os.PathLike`."""

import importlib
import inspect
import json
import os
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxmi
from jaxmi import api, workflows
from jaxmi.data import mnist
from jaxmi.errors import InputError
from jaxmi.files import kinds_of, takes_any_path

PROGRAM = "z = x + y\nreturn z % 3 == 0"


class Place:
    """A path that is neither a text nor a `Path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


FORMS: dict[str, Callable[[Path], Any]] = {"text": str, "Path": Path, "PathLike": Place}


def public_functions() -> Iterator[tuple[str, Any]]:
    for name in jaxmi.__all__:
        one = getattr(jaxmi, name)
        if inspect.isclass(one):
            for method, function in inspect.getmembers(one, inspect.isfunction):
                if not method.startswith("_"):
                    yield f"{name}.{method}", function
        elif callable(one):
            yield name, one


def path_parameters() -> set[str]:
    """Names of all parameters of the public API that take a path."""
    return {
        f"{name}.{parameter}"
        for name, function in public_functions()
        for parameter, about in inspect.signature(function).parameters.items()
        if kinds_of(about.annotation) & {"Path", "PathLike", "StrPath"}
    }


class World:
    """What the calls below need: a small challenge, a network of it, files of both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "program.txt").write_text(PROGRAM)
        (folder / "wrong.txt").write_text("return x <")
        (folder / "wrong.json").write_text("{")
        self.challenge = jaxmi.make_challenge(PROGRAM, p=7, network={"d_model": 8, "n_heads": 2})
        workflows.challenges.write_challenge(self.challenge.definition, str(folder / "mine"))
        claim = {"site": "blocks.0.hook_resid_mid", "components": {"pos": 2}, "feature": "x"}
        about = {"challenge": self.challenge.name, "title": "rows", "claims": [claim]}
        (folder / "good.json").write_text(json.dumps(about))
        is_train = np.arange(49).reshape(7, 7) % 2 == 0
        np.savez(folder / "split.npz", is_train=is_train)
        quick = {"steps": 2, "eval_every": 1, "progress": False}
        self.network = jaxmi.train(self.challenge, **quick)[0]
        self.network.save(folder / "network")
        jaxmi.export(self.network, folder / "network.safetensors", to="safetensors")
        self.quick = quick


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def refused(world: World, file: str, call: Callable[[], Any]) -> None:
    """Check that a file was read: what stands in it is refused, before any long work."""
    with pytest.raises(InputError, match=re.escape(f"{world.folder / file}: ")):
        call()


def no_plants(world: World, at: Any) -> None:
    """Check that the folder was looked into: it has no trained plants."""
    message = re.escape(f"{world.folder / 'network'} has no trained plants")
    with pytest.raises(InputError, match=message):
        jaxmi.mark_methods(only=["labels"], plants=1, trained=at, progress=False)


def not_edited(world: World, at: Any) -> None:
    """Check that the checkpoint was read: it is of another challenge."""
    images = jaxmi.load_challenge("cnn")
    with pytest.raises(InputError, match=re.escape(f"{world.folder / 'network'} is a network of")):
        jaxmi.implant(images, "hijack", network=at)


def duel(world: World, *names: Any, challenge: Any = None) -> Callable[[], Any]:
    of = world.folder / "mine" if challenge is None else challenge
    return lambda: jaxmi.duel(*names, of, world.network)


def images(at: Any) -> str:
    return jaxmi.make_challenge("return mean(image) < 20", data=at).kind


CALLS: dict[str, tuple[str, Callable[[World, Any], Any]]] = {
    "Network.save.path": ("new", lambda w, at: w.network.save(at)),
    "Explanation.save.folder": ("new", lambda w, at: explained(w).save(at)),
    "load_challenge.name": ("mine", lambda w, at: jaxmi.load_challenge(at)),
    "load_challenge.data_dir": (".", lambda w, at: jaxmi.load_challenge("transformer", at)),
    "make_challenge.program": ("program.txt", lambda w, at: jaxmi.make_challenge(at, p=7)),
    "make_challenge.split": (
        "split.npz",
        lambda w, at: jaxmi.make_challenge(PROGRAM, p=7, split=at),
    ),
    "make_challenge.data": ("MNIST", lambda w, at: images(at)),
    "make_challenge.data_dir": (".", lambda w, at: jaxmi.make_challenge(PROGRAM, data_dir=at)),
    "train.challenge": ("mine", lambda w, at: jaxmi.train(at, **w.quick)),
    "load.path": ("network", lambda w, at: jaxmi.load(at)),
    "load.data_dir": (".", lambda w, at: jaxmi.load(w.folder / "network", at)),
    "load.challenge": (
        "mine",
        lambda w, at: jaxmi.load(w.folder / "network.safetensors", challenge=at),
    ),
    "score.submission": ("program.txt", lambda w, at: jaxmi.score(at, w.challenge)),
    "score.challenge": ("mine", lambda w, at: jaxmi.score(PROGRAM, at)),
    "explain.program": (
        "wrong.txt",
        lambda w, at: refused(
            w, "wrong.txt", lambda: jaxmi.explain(w.network, variables=True, program=at)
        ),
    ),
    "duel.explanation": (
        "wrong.json",
        lambda w, at: refused(w, "wrong.json", duel(w, at, w.folder / "good.json")),
    ),
    "duel.against": (
        "wrong.json",
        lambda w, at: refused(w, "wrong.json", duel(w, w.folder / "good.json", at)),
    ),
    "duel.challenge": (
        "mine",
        lambda w, at: refused(
            w,
            "wrong.json",
            duel(w, w.folder / "wrong.json", w.folder / "good.json", challenge=at),
        ),
    ),
    "implant.challenge": (
        "mine",
        lambda w, at: jaxmi.implant(at, "row", trigger_seed=1, rate=0.1, **w.quick),
    ),
    "implant.trigger": (
        "wrong.json",
        lambda w, at: refused(w, "wrong.json", lambda: jaxmi.implant(w.challenge, trigger=at)),
    ),
    "implant.network": ("network", lambda w, at: not_edited(w, at)),
    "mark_methods.trained": ("network", lambda w, at: no_plants(w, at)),
    "compile.program": ("program.txt", lambda w, at: jaxmi.compile(at, "rows", p=7)),
    "export.path": ("new.safetensors", lambda w, at: jaxmi.export(w.network, at, to="safetensors")),
}
"""Parameter -> the file or folder to name (under "new": one to write), and the call."""


def explained(world: World) -> jaxmi.Explanation:
    """Return an explanation with an empty report: only where it is saved matters."""
    page = api.explain_workflow.Page("title", "", "claim", [], "", "command", {})
    report = api.explain_workflow.Report(page, {})
    return jaxmi.Explanation(world.network, report)


def test_no_parameter_is_forgotten() -> None:
    assert path_parameters() == set(CALLS)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CALLS)
def test_the_public_api_takes_every_form_of_a_path(
    world: World, tmp_path: Path, name: str, form: str, request: pytest.FixtureRequest
) -> None:
    place, call = CALLS[name]
    if place == "MNIST":
        request.getfixturevalue("mnist_data")
        location = mnist.locate()
        assert location is not None
        path = location.path
    else:
        path = (tmp_path if place.startswith("new") else world.folder) / place
    call(world, FORMS[form](path))
    assert path.exists()


def modules() -> list[str]:
    folder = [f"jaxmi.workflows.{one.name}" for one in pkgutil.iter_modules(workflows.__path__)]
    others = ("storage.checkpoints", "storage.foreign", "sealed.read", "sealed.write")
    more = ("storage.runs", "challenges.registry", "challenges.definition", "data.mnist")
    return [*folder, *(f"jaxmi.{name}" for name in (*others, *more))]


@pytest.mark.parametrize("name", modules())
def test_the_functions_behind_the_subcommands_take_texts(name: str) -> None:
    module = importlib.import_module(name)
    forgotten = [
        function.__name__
        for function in vars(module).values()
        if inspect.isfunction(function)
        and function.__module__ == name
        and not function.__name__.startswith("_")
        for parameter, hint in inspect.get_annotations(function).items()
        if parameter != "return"
        and "Path" in kinds_of(hint)
        and not kinds_of(hint) & {"str", "PathLike"}
    ]
    assert forgotten == []


@takes_any_path
def given(path: Path | None, text: str, either: "str | Path", *, more: Path = Path()) -> list[Any]:
    return [path, text, either, more]


@pytest.mark.parametrize("form", FORMS.values())
def test_what_is_annotated_as_a_path_arrives_as_one(form: Callable[[Path], Any]) -> None:
    path = Path("a") / "b"
    assert given(form(path), "a/b", "a/b", more=form(path)) == [path, "a/b", "a/b", path]
    assert given(None, "", Place(path)) == [None, "", path, Path()]
    assert given(path=form(Path("~/x")), text="", either="")[0] == Path("~/x")  # as it is
    with pytest.raises(TypeError, match="missing"):
        given(form(path))  # type: ignore[call-arg] - it takes what it declares


def test_texts_work_from_files_to_files(world: World, tmp_path: Path) -> None:
    network = str(world.folder / "network")
    assert workflows.networks.evaluate(network, None)["challenge"] == "own"
    workflows.networks.write_predictions(network, f"{tmp_path}/labels.npz", False, None)
    against = workflows.submissions.Against(f"{world.folder}/mine", checkpoint=network)
    program = str(world.folder / "program.txt")
    score = workflows.score.score_file(program, against, f"{tmp_path}/out", False)
    assert score["agreement_truth"] == 1


def test_a_text_like_a_files_name_is_one_and_a_program_is_not(world: World, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.txt cannot be read: No such file"):
        jaxmi.score("nowhere.txt", world.challenge)
    with pytest.raises(InputError, match="line 1"):
        jaxmi.score("nowhere", world.challenge)
    assert jaxmi.score("return x + y < 3", world.challenge).submitted.any()
    assert os.fspath(Place(tmp_path)) == str(tmp_path)

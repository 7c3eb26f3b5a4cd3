"""Explanation methods marked on planted networks: plants, questions, scores, marks, files."""

import hashlib
import importlib.util
import inspect
import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, cast

import jaxmi
from jaxmi.challenges.numbers import NumberChallenge
from jaxmi.drawing import try_to_save
from jaxmi.errors import InputError
from jaxmi.files import takes_any_path, write_text
from jaxmi.mechanism.look_ups import LOOK_UPS
from jaxmi.methods import asking, causal_models, family
from jaxmi.methods.answering import answer
from jaxmi.methods.asking import COMPUTED, Marked, Planted
from jaxmi.methods.marks import Answer
from jaxmi.methods.network import NetworkView
from jaxmi.methods.questions import Asked, Method
from jaxmi.methods.registry import METHODS, THRESHOLDS, words_of
from jaxmi.methods.result import FORMAT, marks_of, seconds_of, table
from jaxmi.models.transformer import Transformer
from jaxmi.programs.language import Program
from jaxmi.report.methods_figure import methods_figure
from jaxmi.storage.atomic import atomic_files, check_files
from jaxmi.storage.checkpoints import KEY_FILE, PARAMS_FILE, load_checkpoint
from jaxmi.workflows.plants import Plant, compile_network

RESULT, MEASURED = "methods.json", "measured"
FIGURES = ("methods.png", "methods.svg")

P = 31
"""Number of values of x and y in compiled plants."""

SIZES = {"d_model": 64, "n_heads": 4, "d_head": 16, "d_mlp": 128}
"""Sizes of compiled plants."""

MECHANISMS = (COMPUTED, *LOOK_UPS)

DISGUISE: Mapping[str, Any] = {"cancelling": 12, "idle_heads": 1, "noise": 1e-4}
"""What disguises do beside rotating and rescaling, as `compile_network` takes it: 12 pairs of
neurons that cancel, a head that attends to no purpose, noise on every weight."""

CHOOSING = range(10)
"""Seeds of the programs that methods' settings and thresholds are chosen on."""

FIRST_SEED = 100
"""Of the programs that are reported."""

PLANTS = 150

MAX_SEED = 2**24

COMPILED, TRAINED = "compiled", "trained"
"""Groups of plants."""


@dataclass(frozen=True, eq=False)
class Case:
    """The networks of one program, which are made when they are asked about."""

    group: str
    name: str
    """Names the program in results, and the file of answers."""
    build: Callable[[], list[Marked]]
    stamp: str = ""
    """A checksum of what answers depend on beside the name: of a trained plant its files."""

    @cached_property
    def questions(self) -> list[Marked]:
        """The questions, with their truth."""
        return self.build()


@dataclass(frozen=True)
class MethodMarks:
    """Marks of methods, as `methods.json` has them."""

    result: Mapping[str, Any]

    @property
    def table(self) -> list[tuple[str, ...]]:
        """Headings, then a row for each method, the best first."""
        return table(self.result)

    def __repr__(self) -> str:
        """Return the table."""
        widths = [max(map(len, column)) for column in zip(*self.table, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in self.table
        )


@takes_any_path
def mark_methods(
    methods: Mapping[str, Method | str | Path],
    only: Sequence[str] | None = None,
    plants: int = PLANTS,
    seed: int = FIRST_SEED,
    trained: Path | None = None,
    folder: Path | None = None,
    remeasure: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> MethodMarks:
    """Ask methods about planted networks, and mark their answers.

    Args:
      methods: Methods of the user's, by name: functions, or FILE.py:FUNCTION.
      only: The names of jaxmi's own methods that are marked, too; None: all.
      plants: How many compiled networks, three of each program.
      seed: The seed of the first program, at least 10: the others are for choosing.
      trained: A folder of checkpoints with keys, one of each trained plant; None: none.
      folder: Where answers are kept, so that they are given once; None: they are not.
      remeasure: Ask again what was asked.
      log: Takes a line that says what is done next.

    Raises:
      InputError: if a method is none, raises, or returns no score; names it and the question. If a
        number is out of range, or a checkpoint is no plant.
    """
    if plants < 1:
        raise InputError(f"plants {plants}: expected at least 1")
    if not len(CHOOSING) <= seed < MAX_SEED:
        raise InputError(
            f"seed {seed}: expected {len(CHOOSING)} to {MAX_SEED - 1:,}; programs of smaller seeds "
            "are for choosing"
        )
    chosen_from = list(METHODS) if only is None else list(only)
    if unknown := [name for name in chosen_from if name not in METHODS]:
        raise InputError(f"method {unknown[0]!r}: expected one of {', '.join(METHODS)}")
    if clash := [name for name in methods if name in METHODS]:
        raise InputError(f"method {clash[0]!r}: the name is taken; choose another")
    asked = {name: load_method(one) for name, one in methods.items()}  # first: they may fail
    sources = {name: _source(one) for name, one in methods.items()}
    asked |= {name: METHODS[name] for name in chosen_from}
    if not asked:
        raise InputError("no methods: expected at least one")
    n_programs = -(-plants // len(MECHANISMS))
    choosing = [_compiled_case(each) for each in CHOOSING[: max(2, n_programs)]]
    reported = [_compiled_case(seed + i) for i in range(n_programs)]
    reported += [] if trained is None else _trained_cases(trained)
    start = time.perf_counter()
    before = _answers(choosing, asked, sources, folder, remeasure, log)
    answers = _answers(reported, asked, sources, folder, remeasure, log)
    log(f"{len(answers):,} answers; marking")
    seconds = seconds_of(answers)
    for name in asked:
        if name not in seconds:
            log(f"{name} gave no answer to any question, and is left out")
    return MethodMarks(
        {
            "format": FORMAT,
            "jaxmi_version": jaxmi.__version__,
            "settings": {
                "plants": len(MECHANISMS) * n_programs,
                "mechanisms": list(MECHANISMS),
                "p": P,
                "network": dict(SIZES),
                "disguise": dict(DISGUISE),
                "seeds": [seed, seed + n_programs - 1],
                "choosing_seeds": [0, len(choosing) - 1],
                "trained": sum(case.group == TRAINED for case in reported),
            },
            "seconds": round(time.perf_counter() - start, 1),
            "methods": {
                name: {
                    "words": words_of(name, method),
                    "own": name in METHODS,
                    "seconds": seconds[name],
                    "threshold": THRESHOLDS.get(name),
                }
                for name, method in asked.items()
                if name in seconds
            },
            "marks": marks_of(answers, before, THRESHOLDS),
        }
    )


@takes_any_path
def write_marks(
    out: Path,
    methods: Sequence[str] = (),
    only: Sequence[str] | None = None,
    plants: int = PLANTS,
    seed: int = FIRST_SEED,
    trained: Path | None = None,
    force: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Mark methods, and write `methods.json` and its figure; answers are kept in `measured`.

    Args:
      out: The folder to write.
      methods: FILE.py:FUNCTION, each.
      only: As in `mark_methods`.
      plants: As in `mark_methods`.
      seed: As in `mark_methods`.
      trained: As in `mark_methods`.
      force: Replace an existing result, and ask again what was asked.
      log: As in `mark_methods`.

    Returns:
      What `jaxmi methods --json` prints.

    Raises:
      InputError: as `mark_methods`, or if the folder cannot be used.
    """
    check_files(out, (RESULT, *FIGURES), force or _is_result(out / RESULT))
    named = {}
    for text in methods:
        name = text.rpartition(":")[2]
        if name in named:
            raise InputError(f"method {name!r} is given twice: a function's name names the method")
        named[name] = text
    marks = mark_methods(named, only, plants, seed, trained, out / MEASURED, force, log)
    result = dict(marks.result)
    with atomic_files(out) as temporary:
        write_text(temporary / RESULT, _lines(result))
        drawing = partial(methods_figure, result)
        png, svg = (temporary / figure for figure in FIGURES)
        try_to_save(png, drawing, dpi=120, bbox_inches="tight")
        fixed = {"changes": {"svg.hashsalt": "methods"}, "metadata": {"Date": None}}
        try_to_save(svg, drawing, bbox_inches="tight", **fixed)
    return {"folder": str(out), **result}


def _is_result(path: Path) -> bool:
    """Tell whether a file is a result of marks, which a further run replaces."""
    with suppress(OSError, ValueError):
        result = json.loads(path.read_text(encoding="utf-8"))
        return isinstance(result, dict) and "marks" in result
    return False


def _lines(result: Mapping[str, Any]) -> str:
    """Return a result as JSON, with a line for each mark and each method."""
    parts = []
    for key, value in result.items():
        if key == "marks":
            inner = ",\n".join(f"    {json.dumps(one, allow_nan=False)}" for one in value)
            parts.append(f'  "marks": [\n{inner}\n  ]')
        elif key == "methods":
            inner = ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            parts.append(f'  "methods": {{\n{inner}\n  }}')
        else:
            parts.append(f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def load_method(method: Method | str | Path) -> Method:
    """Return a method: a function as it is, or the one that FILE.py:FUNCTION names.

    Raises:
      InputError: if there is no such file or function, or the file cannot be run.
    """
    if not isinstance(method, str | Path):
        if not callable(method):
            raise InputError(f"{method!r} is no method: expected a function or FILE.py:FUNCTION")
        return method
    file, colon, name = str(method).rpartition(":")
    if not colon or not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise InputError(f"method {str(method)!r}: expected FILE.py:FUNCTION")
    path = Path(file)
    if path.suffix != ".py" or not path.is_file():
        raise InputError(f"method {str(method)!r}: there is no file {path} that ends in .py")
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    spec = importlib.util.spec_from_file_location(f"jaxmi_method_{place}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's own file may raise anything
        del sys.modules[spec.name]
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"method {str(method)!r}: {path} cannot be run: {reason}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise InputError(f"method {str(method)!r}: {path} has no function {name}")
    return cast(Method, function)  # what it returns, `answer` checks


def planted(plant: Plant, mechanism: str) -> Planted:
    """Return a plant as the marker has it."""
    assert isinstance(plant.challenge, NumberChallenge)
    return Planted(NetworkView(plant.challenge, plant.params), mechanism, plant.key)


def questions_of(seed: int) -> list[Marked]:
    """Return the questions about the compiled networks of a seed's program.

    The program is the first of the seed's that all mechanisms can have, and of which two conditions
    can be asked about.
    """
    for program in family.draw_programs(P, seed):
        if len(family.variables_of(program, P, seed)) < asking.LEAST_CONDITIONS:
            continue
        networks = _compiled(program, P, SIZES, seed, MECHANISMS)
        found = None if networks is None else _questions(program, networks, seed)
        if found is not None:
            return found
    raise InputError(f"no program of seed {seed} can be planted")


def _compiled(
    program: Program, p: int, sizes: Mapping[str, int], seed: int, mechanisms: Sequence[str]
) -> list[Planted] | None:
    """Return a program's networks, each in a disguise of its own; None if one cannot be had."""
    found = []
    for i, mechanism in enumerate(mechanisms):
        disguise = len(MECHANISMS) * seed + i
        try:
            plant = compile_network(
                program, mechanism, p, sizes, disguise_seed=disguise, **DISGUISE
            )
        except InputError:
            return None
        found.append(planted(plant, mechanism))
    return found


def _questions(program: Program, networks: Sequence[Planted], seed: int) -> list[Marked] | None:
    """Return the questions about a program's networks, its holder first; None if too few."""
    holder, *look_ups = networks
    p = holder.view.p
    own = asking.program_model(holder, program, seed)
    if own is None:
        return None
    labels = (look_ups[0].view.challenge.labels == 1).reshape(p, p)
    places = [asking.look_up_model(one, labels, seed) for one in look_ups]
    if not any(places):
        return None
    moved = {
        one.variable.name: causal_models.asked(one.moved)
        for one in causal_models.of_program(program, p)
        if one.moved is not None
    }
    models = [own, *(one for one in places if one is not None)]
    found = asking.ask(models, networks, moved, _of_another(p, seed), seed)
    return found if any(one.exchanged is not None for one in found) else None


def _of_another(p: int, seed: int) -> list[tuple[str, Asked]]:
    """Return the variables of a program that no network is planted with."""
    found = (family.variables_of(one, p, seed) for one in family.draw_programs(p, MAX_SEED + seed))
    return next(variables for variables in found if variables)


def _compiled_case(seed: int) -> Case:
    return Case(COMPILED, f"program {seed}", partial(questions_of, seed))


def _trained_cases(folder: Path) -> list[Case]:
    """Return a case for each trained plant in a folder of checkpoints.

    Raises:
      InputError: if there is none, or one cannot be asked about.
    """
    paths = sorted(path.parent for path in folder.glob("*/mechanism.json"))
    if not paths:
        raise InputError(f"{folder} has no trained plants: no folder in it has a mechanism.json")
    stamps = {path: _stamp(path) for path in paths}
    for path, stamp in stamps.items():  # before anything is asked, which takes long
        _trained_questions(path, stamp)
    return [
        Case(TRAINED, f"trained {path.name}", partial(_trained_questions, path, stamp), stamp)
        for path, stamp in stamps.items()
    ]


def _stamp(path: Path) -> str:
    """Return a checksum of a checkpoint's parameters and key."""
    digest = hashlib.sha256()
    for name in (PARAMS_FILE, KEY_FILE):
        digest.update(hashlib.sha256((path / name).read_bytes()).digest())
    return digest.hexdigest()


def _trained_plant(path: Path) -> tuple[Planted, Program]:
    """Return a trained plant and its program.

    Raises:
      InputError: if it is none that can be asked about.
    """
    checkpoint = load_checkpoint(path)
    kind = checkpoint.origin.kind
    if kind != "pairs":
        raise InputError(f"{path} is of kind {kind}: questions are about networks on pairs")
    if "trained" not in checkpoint.config.get("compiled", {}) or checkpoint.key is None:
        raise InputError(f"{path} is no trained plant: make one with `jaxmi compile --train`")
    mechanism = checkpoint.key["mechanism"]
    if mechanism != COMPUTED:
        raise InputError(f"{path} is trained for {mechanism}: expected one for {COMPUTED}")
    challenge = checkpoint.load_challenge(None)
    assert isinstance(challenge, NumberChallenge) and isinstance(challenge.model, Transformer)
    if challenge.program is None or checkpoint.sealed is not None:
        raise InputError(f"{path} is of no known program: it has no variables to ask about")
    if challenge.model.config.n_layers != 1:
        raise InputError(f"{path} has several blocks: questions are about networks of one")
    view = NetworkView(challenge, checkpoint.params)
    lacking = int((view.labels != (challenge.labels == 1)).sum())
    if lacking:
        raise InputError(
            f"{path} gives {lacking:,} of {len(view.labels):,} labels otherwise than its program: "
            "questions are about networks with all of its labels"
        )
    return Planted(view, TRAINED, checkpoint.key), challenge.program


def _trained_questions(path: Path, stamp: str) -> list[Marked]:
    """Return the questions about a trained plant, beside look-ups of its program.

    Raises:
      InputError: if it is none that can be asked about, or nothing of its program can.
    """
    holder, program = _trained_plant(path)
    seed = MAX_SEED // 2 + int(stamp[:12], 16) % (MAX_SEED // 2)
    look_ups = _compiled(program, holder.view.p, SIZES, seed, tuple(LOOK_UPS))
    found = None if look_ups is None else _questions(program, [holder, *look_ups], seed)
    if found is None:
        raise InputError(f"{path}: its program has too few variables that can be asked about")
    return found


def _answers(
    cases: Sequence[Case],
    methods: Mapping[str, Method],
    sources: Mapping[str, str | None],
    folder: Path | None,
    remeasure: bool,
    log: Callable[[str], None],
) -> list[Answer]:
    """Return all answers: those that are kept, and the others, which are then kept.

    Case by case, so that networks are made once, and let go.

    Args:
      cases: Programs' networks.
      methods: Name -> method.
      sources: Name of a user's method -> the text of its file; None keeps no answers of it.
      folder: As in `mark_methods`.
      remeasure: As in `mark_methods`.
      log: As in `mark_methods`.
    """
    found: list[Answer] = []
    for number, case in enumerate(cases, 1):
        files = {name: _file(folder, name, sources.get(name, ""), case) for name in methods}
        read = {} if remeasure else {name: _kept(file) for name, file in files.items()}
        kept = {name: answers for name, answers in read.items() if answers is not None}
        fresh = replace(case)  # its networks are let go with it
        for name in methods:
            answers = kept.get(name)
            if answers is None:
                answers = answer(name, methods[name], fresh.questions, case.group, case.name)
                _keep(files[name], answers)
            found += answers
        if len(kept) < len(methods):
            log(f"{case.name} asked about, {number} of {len(cases)}")
    return found


def _file(folder: Path | None, name: str, source: str | None, case: Case) -> Path | None:
    """Return the file of a method's answers about a case; its name says what they depend on."""
    if folder is None or source is None:
        return None
    settings = [jaxmi.__version__, P, SIZES, DISGUISE, case.name, _sources()]
    settings += [text for text in (source, case.stamp) if text]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    return folder / name / f"{case.name.replace(' ', '-')}-{digest.hexdigest()[:16]}.json"


@cache
def _sources() -> str:
    """Return a checksum of jaxmi's own sources that answers depend on."""
    package = Path(jaxmi.__file__).parent
    folders = ("methods", "planted", "mechanism", "judge", "programs")
    files = sorted(path for name in folders for path in (package / name).rglob("*.py"))
    digest = hashlib.sha256()
    for path in [*files, Path(__file__)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _source(method: Method | str | Path) -> str | None:
    """Return the text of the file that a user's method is in; None if it has none that is known.

    Args:
      method: A function, or FILE.py:FUNCTION.
    """
    try:
        if isinstance(method, str | Path):
            file = str(method).rpartition(":")[0]
        else:
            file = inspect.getsourcefile(inspect.unwrap(method))
        return None if file is None else Path(file).read_text(encoding="utf-8", errors="replace")
    except (TypeError, OSError):  # no function, or a notebook's
        return None


def _kept(file: Path | None) -> list[Answer] | None:
    """Return the answers of a file; None if there is none that can be read."""
    if file is None:
        return None
    try:
        answers = json.loads(file.read_text(encoding="utf-8"))
        return [Answer.from_json(one) for one in answers]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _keep(file: Path | None, answers: Sequence[Answer]) -> None:
    if file is not None:
        with atomic_files(file.parent) as temporary:
            text = json.dumps([one.to_json() for one in answers], allow_nan=False)
            write_text(temporary / file.name, text + "\n")

"""The commands of the contract: once, for `record.py` and for the test.

Each runs in an empty folder with copies of `checkpoints/` and `data/`, so that every path in what
it prints is the same everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PAIRS, IMAGES = 12_769, 70_000
"""Inputs of the two challenges."""


@dataclass(frozen=True)
class Case:
    """A command, and how much of its results must stay."""

    name: str
    args: tuple[str, ...]
    """Without --json."""
    writes: tuple[str, ...] = ()
    """Files and folders to look at afterwards."""
    values: Literal["all", "keys"] = "all"
    """keys: of what it prints only names and types, since the values are the machine's or chance's.
    """
    exact: bool = False
    """Whether what is written follows from stored numbers alone, no network having been run."""
    close: float = 0.0
    """Tolerance of numbers, absolute and relative; 0: the usual one. Why is said beside it."""
    inputs: int = PAIRS
    """How many the network answers: a count of answers may move by a share of them."""
    before: tuple[tuple[str, ...], ...] = ()
    """Commands to run first."""
    slow: bool = False


@dataclass(frozen=True)
class Refusal:
    """A command that must end with a code and one line on stderr."""

    name: str
    args: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


TRAINED = 0.02
"""Accuracies of networks after a few steps: they still move by several percent per step, so what
another machine rounds otherwise shows in more than one input in two thousand."""

EXPLAINED = 2e-3
"""Figures of explanations: means over random draws, medians of logits, and shares of some thousand
inputs."""

_TINY = ("--set", "steps=40", "eval_every=20")
_TRANSFORMER, _CNN = "checkpoints/transformer", "checkpoints/cnn"
_RUN, _TEXTS, _FILES = "data/run", "data/submissions", "data/exported"
_OPEN = ("--challenge", "transformer", "--checkpoint", _TRANSFORMER)
_OPEN_CNN = ("--challenge", "cnn", "--checkpoint", _CNN)
_TABLE = ("predict", _TRANSFORMER, "--out", "table.npz")


def _export(name: str, path: str, to: str, out: str, *more: str) -> Case:
    args = ("export", path, "--to", to, "--out", out, *more)
    return Case(f"export-{name}", args, writes=(out,), exact=True)


def _import(name: str, file: str) -> Case:
    return Case(f"import-{name}", ("import", file, "--out", "back"), writes=("back",), exact=True)


def _sealed(kind: str, inputs: int) -> tuple[Case, ...]:
    bundle, answer, text = f"data/sealed-{kind}", f"data/sealed-{kind}.answer.json", f"{_TEXTS}/"
    right, other = f"{text}sealed-{kind}.txt", f"{text}{kind}.txt"
    score = ("score", other, "--challenge", bundle)
    return (
        Case(f"verify-{kind}", ("challenge", "verify", bundle), inputs=inputs),
        Case(
            f"reveal-{kind}",
            ("challenge", "reveal", bundle, answer, "--submission", right),
            inputs=inputs,
        ),
        Case(f"score-sealed-{kind}", score, inputs=inputs),
        Case(f"score-opened-{kind}", (*score, "--answer", answer), inputs=inputs),
    )


CASES: tuple[Case, ...] = (
    Case("doctor", ("doctor",), values="keys"),
    Case("data-check", ("data", "check")),
    Case(
        "labels-transformer",
        ("labels", "transformer", "--out", "labels.npz"),
        ("labels.npz",),
        exact=True,
    ),
    Case("labels-cnn", ("labels", "cnn", "--out", "labels.npz"), ("labels.npz",), exact=True),
    Case("evaluate-transformer", ("evaluate", _TRANSFORMER)),
    Case("evaluate-cnn", ("evaluate", _CNN), inputs=IMAGES),
    Case("evaluate-sealed", ("evaluate", "data/sealed-pairs")),
    Case("evaluate-run-0", ("evaluate", f"{_RUN}/seed-00000"), inputs=IMAGES),
    Case("evaluate-run-1", ("evaluate", f"{_RUN}/seed-00001"), inputs=IMAGES),
    Case("predict-transformer", ("predict", _TRANSFORMER, "--out", "a.npz"), ("a.npz",)),
    Case("predict-cnn", ("predict", _CNN, "--out", "a.npz"), ("a.npz",), inputs=IMAGES),
    Case(
        "score-program",
        ("score", f"{_TEXTS}/pairs.txt", *_OPEN, "--out", "scored"),
        ("scored",),
    ),
    Case("score-wrong-program", ("score", f"{_TEXTS}/pairs-wrong.txt", *_OPEN)),
    Case("score-without-network", ("score", f"{_TEXTS}/pairs-wrong.txt", *_OPEN[:2])),
    Case("score-image-program", ("score", f"{_TEXTS}/image.txt", *_OPEN_CNN), inputs=IMAGES),
    Case("score-table", ("score", "table.npz", *_OPEN), before=(_TABLE,)),
    Case(
        "score-folder",
        ("score", f"{_TEXTS}/several", *_OPEN, "--out", "ranked"),
        ("ranked",),
    ),
    *_sealed("pairs", PAIRS),
    *_sealed("image", IMAGES),
    _export("cnn-casper", _CNN, "casper", "f.pt"),
    _export("cnn-safetensors", _CNN, "safetensors", "f.safetensors"),
    _export("casper", _TRANSFORMER, "casper", "f.pt"),
    _export("transformer-lens", _TRANSFORMER, "transformer-lens", "f.pt"),
    _export("transformer-lens-safetensors", _TRANSFORMER, "transformer-lens", "f.safetensors"),
    _export("transformer-lens-4", _TRANSFORMER, "transformer-lens-4", "f.pt"),
    _export("safetensors", _TRANSFORMER, "safetensors", "f.safetensors"),
    _export("run", _RUN, "casper", "files"),
    _export("stack", _RUN, "safetensors", "stack.safetensors", "--stack"),
    _export("bundle", "checkpoints", "bundle", "bundle"),
    _import("cnn-pt", f"{_FILES}/cnn.pt"),
    _import("cnn-safetensors", f"{_FILES}/cnn.safetensors"),
    _import("casper", "data/sealed-pairs/network.pt"),
    _import("transformer-lens", "data/sealed-pairs/transformer_lens.pt"),
    Case(
        "regenerate-finished",
        ("regenerate", "cnn", "--seeds", "0:2", *_TINY, "--out", _RUN),
        (_RUN,),
        exact=True,
    ),
    Case(
        "regenerate-transformer",
        ("regenerate", "transformer", "--seeds", "0:2", *_TINY, "--out", "new"),
        ("new",),
        close=TRAINED,
    ),
    Case(
        "regenerate-unfinished",
        ("regenerate", "cnn", "--seeds", "0:2", "--set", "steps=200", "eval_every=20",
         "--out", "data/unfinished"),
        ("data/unfinished",),
        close=TRAINED,
        inputs=IMAGES,
        slow=True,
    ),
    Case(
        "study-goes-on",
        ("study", "agreement", "--quick", "--out", "data/study", "--runs", "data/runs"),
        ("data/study",),
        exact=True,
    ),
    Case(
        "regenerate-cnn",
        ("regenerate", "cnn", "--seeds", "0:2", *_TINY, "--out", "new"),
        ("new",),
        close=TRAINED,
        inputs=IMAGES,
        slow=True,
    ),
    Case(
        "study-anew",
        ("study", "agreement", "--quick", "--out", "new", "--runs", "runs"),
        ("new", "runs"),
        values="keys",
        slow=True,
    ),
    Case(
        "score-explanation-cnn",
        ("score", f"{_TEXTS}/cnn.json", *_OPEN_CNN),
        close=EXPLAINED,
        inputs=IMAGES,
        slow=True,
    ),
    Case(
        "score-explanation-transformer",
        ("score", f"{_TEXTS}/transformer.json", *_OPEN),
        close=EXPLAINED,
        slow=True,
    ),
    Case(
        "recover-transformer",
        ("recover", _TRANSFORMER, "--truth", "--out", "new"),
        ("new",),
        slow=True,
    ),
    Case(
        "recover-cnn",
        ("recover", _CNN, "--truth", "--out", "new"),
        ("new",),
        inputs=IMAGES,
        slow=True,
    ),
    Case(
        "explain-transformer",
        ("explain", _TRANSFORMER, "--out", "new"),
        ("new",),
        close=EXPLAINED,
        slow=True,
    ),
    Case(
        "explain-cnn",
        ("explain", _CNN, "--out", "new"),
        ("new",),
        close=EXPLAINED,
        inputs=IMAGES,
        slow=True,
    ),
    Case(
        "explain-run",
        ("explain", "data/runs/transformer-quick", "--out", "new"),
        ("new",),
        values="keys",
        slow=True,
    ),
)  # fmt: skip

_PROGRAM = f"{_TEXTS}/pairs.txt"

REFUSALS: tuple[Refusal, ...] = (
    Refusal("no command", ()),
    Refusal("unknown command", ("regenerat", "cnn")),
    Refusal("unknown option", ("regenerate", "cnn", "--sedes", "3")),
    Refusal("no range of seeds", ("regenerate", "transformer", "--seeds", "5:2")),
    Refusal("no number of the recipe", ("regenerate", "transformer", "--set", "stepps=3")),
    Refusal("another recipe", ("regenerate", "cnn", "--set", "steps=20", "--out", _RUN)),
    Refusal("no such checkpoint", ("evaluate", "nothing")),
    Refusal("no .npz", ("labels", "transformer", "--out", "labels.csv")),
    Refusal("a file in the way", ("labels", "transformer", "--out", f"{_FILES}/cnn.pt")),
    Refusal("explanation in the way", ("explain", _CNN, "--out", _CNN)),
    Refusal("no such format", ("export", _CNN, "--to", "transformer-lens", "--out", "f.pt")),
    Refusal("no network's file", ("import", _PROGRAM, "--out", "back")),
    Refusal("no program", ("score", f"{_TEXTS}/several/refused.txt", "--challenge", "transformer")),
    Refusal("another challenge's network", ("score", _PROGRAM, *_OPEN[:3], _CNN)),
    Refusal("an answer, not sealed", ("score", _PROGRAM, *_OPEN[:2], "--answer", "a.json")),
    Refusal("no sealed challenge", ("challenge", "verify", "data")),
    Refusal("fingerprint", ("challenge", "verify", "data/sealed-pairs", "--fingerprint", "0")),
    Refusal(
        "another answer",
        ("challenge", "reveal", "data/sealed-pairs", "data/sealed-image.answer.json"),
    ),
    Refusal(
        "a sealed network",
        ("recover", "data/sealed-pairs/network", "--truth", "--out", "new"),
    ),
    Refusal("one seed", ("study", "agreement", "--quick", "--seeds", "5", "--out", "new")),
    Refusal("another study", ("study", "periodic", "--quick", "--out", "data/study")),
    Refusal("no MNIST", ("data", "check"), {"JAXMI_CACHE_DIR": "empty"}),
    Refusal("no MNIST there", ("data", "check", "--data-dir", "nowhere")),
)

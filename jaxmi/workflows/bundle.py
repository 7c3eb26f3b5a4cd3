"""Bundles: the files of the published repository, for other networks, ready for its notebooks."""

import pickle
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import NAMES, load_challenge
from jaxmi.drawing import try_to_save
from jaxmi.errors import InputError
from jaxmi.files import takes_any_path, write_text
from jaxmi.programs.published_labels import CLUE_INDEX
from jaxmi.report import figures, templates
from jaxmi.storage.atomic import atomic_files, check_files
from jaxmi.storage.checkpoints import Checkpoint
from jaxmi.storage.foreign import export_network
from jaxmi.storage.pytorch_file import import_torch
from jaxmi.workflows.networks import find_networks, load_labelled
from jaxmi.workflows.progress import track

FILES = {
    "cnn": ("mnist_model.pt", "figs/mnist_example.png"),
    "transformer": (
        "transformer_model.pt",
        "transformer_lens_model.pt",
        "transformer_label_info.pkl",
        "figs/transformer_labeling_function.png",
    ),
}
"""Challenge -> its files. All but transformer_lens_model.pt have the published files' names."""


@takes_any_path
def write_bundles(path: Path, out: Path, force: bool, data_dir: Path | None) -> list[str]:
    """Write one bundle per seed, or one for single checkpoints; if anything fails, write nothing.

    Args:
      path: A checkpoint, a run, or a folder that holds one of either for each challenge.
      out: The bundle's folder; for runs, the folder of the bundles, which are named like the seeds.
      force: Replace files that exist.
      data_dir: A folder with MNIST; None looks in the cache, then downloads.

    Returns:
      The files, by their paths in `out`.

    Raises:
      InputError: if the path holds no network, or a file exists.
      UnavailableError: if MNIST is needed and cannot be had, or PyTorch is not installed.
    """
    bundles = _find(path)
    files = [
        str(Path(bundle, file))
        for bundle, networks in bundles.items()
        for file in ("README.md", *(file for name in networks for file in FILES[name]))
    ]
    check_files(out, files, force)
    import_torch()  # before any work
    found = {name for networks in bundles.values() for name in networks}
    challenges = {name: load_challenge(name, data_dir) for name in sorted(found)}
    with atomic_files(out) as temporary:
        for bundle, networks in track(bundles.items(), len(bundles)):
            folder = temporary / bundle
            (folder / "figs").mkdir(parents=True)
            accuracies: dict[str, float | None] = {}
            for name, checkpoint in networks.items():
                challenge = challenges[name]
                logits = challenge.logits(checkpoint.params)
                accuracies[name] = challenge.metrics(logits.argmax(axis=-1))["test_accuracy"]
                _WRITERS[name](folder, challenge, checkpoint, logits)
            write_text(folder / "README.md", _readme(accuracies))
    return [file for file in files if (out / file).is_file()]  # a figure may be left out


def _find(path: Path) -> dict[str, dict[str, Checkpoint]]:
    """Return bundle -> challenge -> network."""
    parts = [path / name for name in NAMES if (path / name).is_dir()]
    bundles: dict[str, dict[str, Checkpoint]] = {}
    for part in parts or [path]:
        for bundle, folder in find_networks(part).items():
            checkpoint = load_labelled(folder)
            if checkpoint.definition is not None:
                raise InputError(
                    f"{folder} is a network of your challenge {checkpoint.challenge!r}; bundles "
                    f"are for the published challenges {' and '.join(NAMES)}: use another --to, "
                    "such as casper"
                )
            networks = bundles.setdefault(bundle, {})
            if checkpoint.challenge in networks:
                raise InputError(f"{path} holds two networks of {checkpoint.challenge}: {part}")
            networks[checkpoint.challenge] = checkpoint
    return dict(sorted(bundles.items()))


def _write_cnn(
    folder: Path, challenge: Challenge, checkpoint: Checkpoint, logits: np.ndarray
) -> None:
    del logits
    model, clue = (folder / file for file in FILES["cnn"])
    export_network(checkpoint, "casper", model)
    try_to_save(clue, partial(figures.clue_image, challenge.inputs[CLUE_INDEX]))


def _write_transformer(
    folder: Path, challenge: Challenge, checkpoint: Checkpoint, logits: np.ndarray
) -> None:
    published, transformer_lens, label_info, labels_figure = (
        folder / file for file in FILES["transformer"]
    )
    export_network(checkpoint, "casper", published)
    export_network(checkpoint, "transformer-lens", transformer_lens)
    truth = challenge.as_table(challenge.labels)
    # Like the published notebooks, which look at no other of the 114 logits.
    learned = challenge.as_table((logits[:, 1] > logits[:, 0]).astype(np.int32))
    label_info.write_bytes(pickle_for_any_numpy({"labels": truth, "model_labels": learned}))
    try_to_save(labels_figure, partial(figures.label_pair, truth, learned))


_WRITERS = {"cnn": _write_cnn, "transformer": _write_transformer}
"""Challenge -> what writes its files; `FILES` names them."""


def pickle_for_any_numpy(tables: dict[str, np.ndarray]) -> bytes:
    """Pickle arrays as float64, as the published file has them, so that any NumPy reads them.

    NumPy 2 writes the module name `numpy._core`, which NumPy before 1.26 lacks; every NumPy reads
    the old name. In pickle protocol 2 it is a line of text.
    """
    arrays = {name: table.astype(np.float64) for name, table in tables.items()}
    return pickle.dumps(arrays, protocol=2).replace(b"cnumpy._core.", b"cnumpy.core.")


def _readme(accuracies: Mapping[str, float | None]) -> str:
    return templates.render("bundle.md.jinja", accuracies=accuracies)

"""Challenges whose programs label MNIST's images; challenge 1, a CNN and a band of distances."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Int32, UInt8

from jaxmi.challenges.challenge import (
    SECRET,
    Challenge,
    ClueSolution,
    Forward,
    Published,
    Sealing,
    SealingWords,
    as_array,
)
from jaxmi.challenges.definition import Definition, check_names, unpack
from jaxmi.data.mnist import Mnist, load_idx_folder, load_mnist
from jaxmi.errors import InputError
from jaxmi.files import path_of
from jaxmi.models.cnn import Cnn, CnnConfig
from jaxmi.models.cnn_fast import logits
from jaxmi.programs.domain import ImageDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.language import Kind, Program
from jaxmi.programs.parse import TRAINING_IMAGES
from jaxmi.programs.published_labels import CLUE_INDEX, label_images, published_program
from jaxmi.types import Array, Params

PUBLISHED = Published(
    train_accuracy=None, test_accuracy=0.9558, domain_accuracy=None, casper_figure=None
)
"""The post's accuracy on the 10,000 test images; it gives no other."""

CURVE_TRAIN_IMAGES = 10_000
"""How many of the training images the learning curve's training accuracy is measured on."""

MAX_UNITS = 1024
"""Most channels of a convolution, or hidden neurons."""

VALIDATION_SHARE = 1 / 6
"""Share of the training images, the last ones, that are validated on: 10,000 of MNIST's."""


@dataclass(frozen=True, repr=False)
class ImageChallenge(Challenge):
    """Images to label: training images, then test images; MNIST's as published."""

    n_templates: int = TRAINING_IMAGES
    """Number of training images, the first ones: those that programs may name."""

    kind: ClassVar[Kind] = "image"

    sealing: ClassVar[Sealing] = Sealing(
        accuracy=(0.93, 0.985),
        foreign_files={"network.safetensors": "safetensors", "network.pt": "casper"},
        example="return 24772 <= l1(image, template(6)) < 34270",
    )

    @property
    def sealing_words(self) -> SealingWords:
        """The images, the split and the CNN, in words."""
        assert isinstance(self.model, Cnn)
        (c1, c2), neurons = self.model.config.channels, self.model.config.neurons
        domain = {} if self.definition is None else self.definition.domain
        data = "MNIST" if domain.get("data", "mnist") == "mnist" else domain["data"]
        whose = "a CNN like that" if self.definition else "the CNN"
        first = (self.splits["train"] == np.arange(len(self.splits["train"]))).all()
        n_train = f"{len(self.splits['train']):,}"
        return SealingWords(
            inputs=f"{data}'s {len(self.inputs):,} images",
            train=f"the first {n_train}" if first else f"{n_train} of them",
            test=f"the {len(self.splits['test']):,} test images",
            task=(
                f"- Inputs: {data}'s images in canonical order, the training images before the "
                "test images.\n"
                f"- Network: {whose} of Casper's first challenge: Conv2d(1, {c1}, 3), ReLU, "
                f"MaxPool2d(2), Conv2d({c1}, {c2}, 3), ReLU, MaxPool2d(2),\n"
                f"  flatten, Linear({25 * c2}, {neurons}), ReLU, Linear({neurons}, 2). It sees "
                "pixels divided by 255."
            ),
        )

    @property
    def program_domain(self) -> ImageDomain:
        """All images; templates are the training images."""
        return ImageDomain(self.inputs, self.inputs[: self.n_templates])

    def as_input(self, value: Any) -> np.ndarray:
        """Return an image (28, 28), uint8.

        Args:
          value: An image of uint8 pixels, or a row number; MNIST's training images are 0..59,999.

        Raises:
          InputError: if it is neither.
        """
        image = as_array(value)
        if image.shape == () and image.dtype.kind in "iu" and 0 <= image < len(self.inputs):
            return self.inputs[int(image)]
        if image.shape != self.inputs.shape[1:] or image.dtype != np.uint8:
            raise InputError(
                f"an array {image.shape} {image.dtype}: expected {self.inputs.shape[1:]} uint8, or "
                f"a row number below {len(self.inputs):,}"
            )
        return image

    def label_inputs(
        self, inputs: UInt8[np.ndarray, "m height width"], program: Program | None = None
    ) -> Int32[np.ndarray, "m"]:
        """Return a program's labels of any images; templates are the training images."""
        program = program or self.program
        if program is None:
            raise InputError(
                f"{self.title!r} has a table of labels and no program: the correct labels of "
                "changed images are not known"
            )
        return label(program, ImageDomain(inputs, self.inputs[: self.n_templates]))

    @property
    def predict_rows(self) -> Int32[np.ndarray, "_"]:
        """The test images."""
        return self.splits["test"]


def load_mnist_cnn(data_dir: Path | None = None) -> ImageChallenge:
    """Build challenge 1: all 70,000 MNIST images and their labels.

    Args:
      data_dir: A folder with the MNIST files; None looks in the cache, then downloads.

    Raises:
      InputError, UnavailableError: as `load_mnist`.
    """
    mnist = load_mnist(data_dir)
    return _image_challenge(
        name="cnn",
        title="Challenge 1: MNIST and a CNN",
        mnist=mnist,
        labels=np.asarray(label_images(mnist.images, mnist.images[CLUE_INDEX])),
        splits=_published_splits(mnist),
        model=Cnn(),
        published=PUBLISHED,
        program=published_program("image"),
    )


def build_images(definition: Definition, data_dir: Path | None = None) -> ImageChallenge:
    """Build a challenge on MNIST's images, or on others of MNIST's form.

    Args:
      definition: What it is made of.
      data_dir: A folder with the images; None takes the definition's own folder, or for MNIST looks
        in the cache, then downloads.

    Raises:
      InputError: if a number cannot be used, or the folder holds other images than the definition
        was made for.
      UnavailableError: if MNIST cannot be had.
    """
    model, mnist = image_model(definition), load_images(definition.domain, data_dir)
    n = len(mnist.images)
    if definition.program is not None:
        labels = label(definition.program, ImageDomain(mnist.images, mnist.images[: mnist.n_train]))
    elif definition.sealed:
        labels = np.full(n, SECRET, np.int32)
    else:
        labels = unpack(definition.labels, n, "labels").astype(np.int32)
    return _image_challenge(
        name=definition.name,
        title=definition.title,
        mnist=mnist,
        labels=labels,
        splits=_splits(mnist, definition.split),
        model=model,
        published=None,
        program=definition.program,
        definition=definition,
        sealed=definition.sealed,
    )


def image_model(definition: Definition) -> Cnn:
    """Return the network of a challenge on images, without its data.

    Raises:
      InputError: if a size cannot be used.
    """
    sizes = definition.network
    check_names(sizes, ("channels", "neurons"), "a CNN")
    channels = sizes.get("channels", CnnConfig.channels)
    neurons = sizes.get("neurons", CnnConfig.neurons)
    if not isinstance(channels, list | tuple) or len(channels) != 2:
        raise InputError(f"channels = {channels!r}: expected two numbers, as in channels=8,16")
    for value in (*channels, neurons):
        if type(value) is not int or not 1 <= value <= MAX_UNITS:
            raise InputError(
                f"channels = {channels!r}, neurons = {neurons!r}: expected whole numbers in "
                f"1..{MAX_UNITS}"
            )
    return Cnn(CnnConfig(channels=(channels[0], channels[1]), neurons=neurons))


def load_images(domain: Mapping[str, Any], data_dir: Path | None = None) -> Mnist:
    """Load the images of a domain.

    Args:
      domain: As in `Definition.domain`.
      data_dir: As in `build_images`.

    Raises:
      InputError: if the folder holds other images than the domain names.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    check_names(domain, ("data", "folder", "sha256"), "a domain of images")
    data = domain.get("data", "mnist")
    if data == "mnist":
        return load_mnist(data_dir)
    folder = data_dir or path_of(str(domain.get("folder")))
    mnist, digests = load_idx_folder(folder)
    for name, digest in digests.items():
        if dict(domain.get("sha256") or {}).get(name) != digest:
            raise InputError(f"{folder} holds another {name} than {data}'s")
    return mnist


def _published_splits(mnist: Mnist) -> dict[str, Int32[np.ndarray, "_"]]:
    rows = np.arange(len(mnist.images), dtype=np.int32)
    n_validation = max(1, round(VALIDATION_SHARE * mnist.n_train))
    train, validation, test = np.split(rows, [mnist.n_train - n_validation, mnist.n_train])
    return {"train": train, "validation": validation, "test": test}


def _splits(mnist: Mnist, split: Mapping[str, Any]) -> Mapping[str, Int32[np.ndarray, "_"]]:
    """Return the published split, or a part of its training images, or the rows that are named."""
    splits = _published_splits(mnist)
    if "train" in split:
        chosen = unpack(split["train"], len(mnist.images), "split")
        rows = np.arange(len(chosen), dtype=np.int32)
        named = {"train": rows[chosen]}
        for name in ("validation", "test"):
            named[name] = splits[name][~chosen[splits[name]]]
        for name, part in named.items():
            if not len(part):
                raise InputError(f"the split's training images leave no {name} image")
        return named
    if "seed" in split and "train_share" not in split:
        raise InputError(f"split seed {split['seed']}: give a share of the training images, too")
    if "train_share" in split:
        train = np.random.default_rng(split.get("seed", 0)).permutation(splits["train"])
        kept = int(split["train_share"] * len(train))
        if not kept:
            raise InputError(f"train_share = {split['train_share']} leaves no image to train on")
        splits["train"] = np.sort(train[:kept])
    return splits


def _image_challenge(
    *,
    mnist: Mnist,
    splits: Mapping[str, Int32[np.ndarray, "_"]],
    model: Cnn,
    **about: Any,
) -> ImageChallenge:
    return ImageChallenge(
        inputs=mnist.images,
        digits=mnist.digits,
        n_templates=mnist.n_train,
        splits=splits,
        curve_splits={**splits, "train": splits["train"][:CURVE_TRAIN_IMAGES]},
        selection_split="validation",
        model=model,
        forms=_forms(model),
        chunk=128,
        solution=ClueSolution(clue_index=CLUE_INDEX, images=mnist.n_train),
        **about,
    )


def _forms(model: Cnn) -> Mapping[str, Forward]:
    def readable(params: Params, images: Array, dropout_key: jax.Array | None) -> jax.Array:
        if dropout_key is None:
            return jax.vmap(lambda image: model.apply({"params": params}, image)[0])(images)
        keys = jax.random.split(dropout_key, len(images))
        return jax.vmap(lambda image, key: model.apply({"params": params}, image, None, key)[0])(
            images, keys
        )

    return {"fast": logits, "readable": readable}

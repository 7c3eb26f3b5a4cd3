"""Challenges whose programs label MNIST's images; challenge 1, a CNN and a band of distances."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Int32

from jaxmi.challenges.challenge import Challenge, ClueSolution, Published, Sealing
from jaxmi.data.mnist import TEST, TRAIN, VALIDATION, load_mnist
from jaxmi.errors import InputError
from jaxmi.models.cnn import Cnn
from jaxmi.models.cnn_fast import logits
from jaxmi.programs.domain import ImageDomain
from jaxmi.programs.language import Kind
from jaxmi.programs.parse import TRAINING_IMAGES
from jaxmi.programs.published_labels import CLUE_INDEX, label_images, published_program
from jaxmi.types import Array, Params

PUBLISHED = Published(
    train_accuracy=None, test_accuracy=0.9558, domain_accuracy=None, casper_figure=None
)
"""The post's accuracy on the 10,000 test images; it gives no other."""

CURVE_TRAIN_IMAGES = 10_000
"""How many of the training images the learning curve's training accuracy is measured on."""


@dataclass(frozen=True, repr=False)
class ImageChallenge(Challenge):
    """Images to label: MNIST's training images, then its test images."""

    kind: ClassVar[Kind] = "image"

    sealing: ClassVar[Sealing] = Sealing(
        accuracy=(0.93, 0.985),
        foreign_files={"network.pt": "casper"},
        inputs="MNIST's 70,000 images",
        train="the first 50,000",
        test="the 10,000 test images",
        task=(
            "- Inputs: MNIST's images in canonical order, the training images before the test "
            "images.\n"
            "- Network: the CNN of Casper's first challenge: Conv2d(1, 8, 3), ReLU, MaxPool2d(2), "
            "Conv2d(8, 16, 3), ReLU, MaxPool2d(2),\n"
            "  flatten, Linear(400, 200), ReLU, Linear(200, 2). It sees pixels divided by 255."
        ),
        example="return 24772 <= l1(image, template(6)) < 34270",
    )

    @property
    def program_domain(self) -> ImageDomain:
        """All images; templates are the training images."""
        return ImageDomain(self.inputs, self.inputs[:TRAINING_IMAGES])

    def as_input(self, value: Any) -> np.ndarray:
        """Return an image (28, 28), uint8.

        Args:
          value: An image of uint8 pixels, or a row number: 0..59,999 are the training images.

        Raises:
          InputError: if it is neither.
        """
        image = np.asarray(value)
        if image.shape == () and image.dtype.kind in "iu" and 0 <= image < len(self.inputs):
            return self.inputs[int(image)]
        if image.shape != self.inputs.shape[1:] or image.dtype != np.uint8:
            raise InputError(
                f"an array {image.shape} {image.dtype}: expected {self.inputs.shape[1:]} uint8, or "
                f"a row number below {len(self.inputs):,}"
            )
        return image

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
    images = mnist.images
    rows = np.arange(len(images), dtype=np.int32)
    splits = {"train": rows[TRAIN], "validation": rows[VALIDATION], "test": rows[TEST]}
    model = Cnn()

    def readable(params: Params, images: Array, dropout_key: jax.Array | None) -> jax.Array:
        if dropout_key is None:
            return jax.vmap(lambda image: model.apply({"params": params}, image)[0])(images)
        keys = jax.random.split(dropout_key, len(images))
        return jax.vmap(lambda image, key: model.apply({"params": params}, image, None, key)[0])(
            images, keys
        )

    return ImageChallenge(
        name="cnn",
        title="Challenge 1: MNIST and a CNN",
        inputs=images,
        labels=np.asarray(label_images(images, images[CLUE_INDEX])),
        splits=splits,
        curve_splits={**splits, "train": splits["train"][:CURVE_TRAIN_IMAGES]},
        selection_split="validation",
        model=model,
        forms={"fast": logits, "readable": readable},
        chunk=128,
        published=PUBLISHED,
        solution=ClueSolution(clue_index=CLUE_INDEX),
        digits=mnist.digits,
        program=published_program("image"),
    )

"""Challenge 1: a CNN that labels MNIST images by their distance to a clue image."""

from pathlib import Path

import jax
import numpy as np

from jaxmi.challenges.challenge import Challenge, ClueSolution, Published
from jaxmi.data.mnist import TEST, TRAIN, VALIDATION, load_mnist
from jaxmi.models.cnn import Cnn
from jaxmi.models.cnn_fast import logits
from jaxmi.programs.published_labels import CLUE_INDEX, label_images
from jaxmi.types import Array, Params

PUBLISHED = Published(
    train_accuracy=None, test_accuracy=0.9558, domain_accuracy=None, casper_figure=None
)
"""The post's figure, on the 10,000 test images; it gives no other."""

CURVE_TRAIN_IMAGES = 10_000
"""How many of the training images the learning curve's training accuracy is measured on."""


def load_mnist_cnn(data_dir: Path | None = None) -> Challenge:
    """Builds challenge 1: all 70,000 MNIST images and their labels.

    Args:
      data_dir: A folder with the MNIST files; None looks in the cache, then downloads.

    Raises:
      InputError, UnavailableError: as `load_mnist`.
    """
    images = load_mnist(data_dir).images
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

    return Challenge(
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
    )

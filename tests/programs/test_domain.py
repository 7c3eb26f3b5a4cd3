"""Functions of images against plain loops over whole numbers; the domain that they live in."""

import math
from collections.abc import Callable

import jaxtyping
import numpy as np
import pytest

from jaxmi.data.mnist import Mnist
from jaxmi.errors import InputError
from jaxmi.programs import language as lang
from jaxmi.programs.domain import CHUNK, ImageDomain, image_function
from jaxmi.programs.evaluate import EvaluationError, evaluate
from jaxmi.programs.parse import parse
from jaxmi.programs.published_labels import CLUE_INDEX, l1_distances

Pixels = list[int]


def loop_l1(a: Pixels, b: Pixels) -> int:
    return sum(abs(i - j) for i, j in zip(a, b, strict=True))


def loop_l2(a: Pixels, b: Pixels) -> float:
    return math.sqrt(sum((i - j) ** 2 for i, j in zip(a, b, strict=True)))


def loop_linf(a: Pixels, b: Pixels) -> int:
    return max(abs(i - j) for i, j in zip(a, b, strict=True))


def loop_dot(a: Pixels, b: Pixels) -> int:
    return sum(i * j for i, j in zip(a, b, strict=True))


def loop_cosine(a: Pixels, b: Pixels) -> float:
    return loop_dot(a, b) / math.sqrt(loop_dot(a, a) * loop_dot(b, b))


def loop_mean(a: Pixels) -> float:
    return sum(a) / len(a)


LOOPS: dict[str, Callable[..., int | float]] = {
    "l1": loop_l1,
    "l2": loop_l2,
    "linf": loop_linf,
    "dot": loop_dot,
    "cosine": loop_cosine,
    "mean": loop_mean,
}


def random_images(seed: int, n: int, height: int = 28, width: int = 28) -> np.ndarray:
    """Random pixels, and images of which every pixel is as dark or as bright as can be."""
    images = np.random.default_rng(seed).integers(0, 256, (n, height, width), np.uint8)
    images[0], images[1], images[2, : height // 2] = 1, 255, 0
    return images


def pixels(images: np.ndarray) -> list[Pixels]:
    return [image.ravel().tolist() for image in images]


@pytest.mark.parametrize("function", lang.IMAGE_FUNCTIONS)
@pytest.mark.parametrize("size", [(28, 28), (1, 3), (5, 2)])
def test_every_function_is_what_a_loop_gives(function: str, size: tuple[int, int]) -> None:
    images, others = random_images(0, 40, *size), random_images(1, 40, *size)[::-1]
    stacks = [images, others][: lang.IMAGE_FUNCTIONS[function]]
    expected = [LOOPS[function](*arguments) for arguments in zip(*map(pixels, stacks), strict=True)]
    values = image_function(function, stacks).tolist()
    assert list(map(repr, values)) == list(map(repr, expected))


@pytest.mark.parametrize("function", ["l1", "l2", "linf", "dot", "cosine"])
def test_one_image_stands_for_as_many_as_needed_on_either_side(function: str) -> None:
    images = random_images(0, CHUNK + 7, 3, 3)  # more than are computed at once
    one = images[5:6]
    repeated = np.repeat(one, len(images), axis=0)
    expected = image_function(function, [images, repeated])
    np.testing.assert_array_equal(image_function(function, [images, one]), expected)
    np.testing.assert_array_equal(
        image_function(function, [one, images]), image_function(function, [repeated, images])
    )
    assert len(expected) == CHUNK + 7
    assert image_function(function, [one, one]).shape == (1,)


def test_differences_in_uint8_would_be_wrong() -> None:
    """The control: what wraps around at 256 is not what a loop gives."""
    a, b = random_images(0, 5), random_images(1, 5)
    wrapped = (a - b).reshape(5, -1).sum(axis=1, dtype=np.int64)
    assert (wrapped != image_function("l1", [a, b])).any()


def test_l1_is_challenge_1s_distance(mnist_data: Mnist) -> None:
    images = np.asarray(mnist_data.images)
    distances = image_function("l1", [images, images[CLUE_INDEX][None]])
    np.testing.assert_array_equal(distances, l1_distances(images, images[CLUE_INDEX]))


def test_functions_of_all_of_mnist_are_what_loops_give(mnist_data: Mnist) -> None:
    images = np.asarray(mnist_data.images)
    domain = ImageDomain(images, images)
    some = np.random.default_rng(0).choice(len(images), 20, replace=False)
    for function, count in lang.IMAGE_FUNCTIONS.items():
        values = domain.call(function, (None, 6)[:count])[some].tolist()
        arguments = [pixels(images[some]), pixels(images[[6] * 20])][:count]
        expected = [LOOPS[function](*images) for images in zip(*arguments, strict=True)]
        assert list(map(repr, values)) == list(map(repr, expected))


def run(text: str, images: np.ndarray, templates: np.ndarray) -> list[int | float]:
    return evaluate(parse(text, "image"), ImageDomain(images, templates)).tolist()


def test_templates_are_counted_from_0_and_may_have_names() -> None:
    images, templates = random_images(0, 9), random_images(1, 4)
    for index in range(4):
        expected = [loop_l1(a, pixels(templates)[index]) for a in pixels(images)]
        assert run(f"return l1(image, template({index}))", images, templates) == expected
        text = f"clue = template({index})\nsame = clue\nreturn l1(same, image)"
        assert run(text, images, templates) == expected
    assert run("me = image\nreturn l1(me, image)", images, templates) == [0] * 9


def test_what_depends_on_templates_alone_is_the_same_for_all_images() -> None:
    images, templates = random_images(0, 9), random_images(1, 4)
    values = run("return dot(template(2), template(3))", images, templates)
    assert values == [loop_dot(*pixels(templates[2:]))] * 9


def test_an_image_and_a_template_of_the_same_index_are_kept_apart() -> None:
    images, templates = random_images(0, 4), random_images(1, 4)
    domain = ImageDomain(images, templates)
    program = parse("return l1(image, template(0)) - l1(template(0), template(1))", "image")
    (a, b), others = pixels(templates[:2]), pixels(images)
    expected = [loop_l1(image, a) - loop_l1(a, b) for image in others]
    assert evaluate(program, domain).tolist() == expected
    assert evaluate(program, domain).tolist() == expected  # from what was computed before


def test_the_cosine_of_a_black_image_is_a_division_by_zero() -> None:
    images = random_images(0, 5)
    images[3] = 0
    message = "^line 2, column 8: ZeroDivisionError, the image is black at image 3$"
    with pytest.raises(EvaluationError, match=message):
        run("\nreturn cosine(image, template(0)) > 0.5", images, images)
    with pytest.raises(EvaluationError, match=r"the image is black at image 0$"):
        run("return cosine(image, template(3)) > 0.5", images, images)
    guarded = "return 7 if mean(image) == 0 else cosine(image, template(0))"
    values = run(guarded, images, images)
    assert values[3] == 7
    assert values[0] == loop_cosine(*pixels(images[[0, 0]]))
    with pytest.raises(ZeroDivisionError):
        loop_cosine([0, 0], [1, 2])


@pytest.mark.parametrize("name", ["images", "templates"])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int8, bool])
def test_pixels_that_are_not_uint8_are_refused(
    name: str, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # would refuse them first
    given = {"images": random_images(0, 4), "templates": random_images(1, 4)}
    with pytest.raises(InputError, match=f"{name} must be uint8 pixels"):
        ImageDomain(**{**given, name: given[name].astype(dtype)})


def test_a_template_that_is_not_there_is_refused() -> None:
    images = random_images(0, 4)
    with pytest.raises(InputError, match=r"template\(4\): there are 4 images"):
        run("return l1(image, template(4))", images, images)
    assert len(run("return l1(image, template(3))", images, images)) == 4

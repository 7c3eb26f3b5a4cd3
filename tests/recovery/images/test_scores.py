"""Scores by principal components are close to exact ones, for all metrics."""

import numpy as np
import pytest

from jaxmi.programs.domain import ImageDomain
from jaxmi.recovery.images.scores import METRICS, make_metrics

UNITS = {"l1": 255, "l2": 255**2, "dot": 255**2, "cosine": 1}
TEMPLATES = np.array([0, 6, 77, 999])


@pytest.fixture(scope="module")
def domain(mnist_data):
    return ImageDomain(mnist_data.images[2000:5000], mnist_data.images[:1000])


@pytest.mark.parametrize(
    "metric", [*METRICS[:2], *(pytest.param(name, marks=pytest.mark.slow) for name in METRICS[2:])]
)
def test_products_of_factors_are_close_to_exact_scores(domain, metric) -> None:
    (factors,) = (m for m in make_metrics(domain) if m.name == metric)
    scores = factors.score(slice(None), TEMPLATES) * UNITS[metric]
    for template, approximate in zip(TEMPLATES, scores, strict=True):
        exact = domain.call(metric, (None, int(template))).astype(float)
        exact = exact**2 if metric == "l2" else exact
        assert np.sqrt(((approximate - exact) ** 2).mean()) < 0.05 * exact.std()
        assert np.corrcoef(approximate, exact)[0, 1] > 0.998


def test_images_have_equal_scores_whether_templates_are_among_them(mnist_data) -> None:
    shared = ImageDomain(mnist_data.images[:1500], mnist_data.images[:500])
    separate = ImageDomain(mnist_data.images[500:1500], mnist_data.images[:500])
    for among, beside in zip(make_metrics(shared), make_metrics(separate), strict=True):
        assert len(among.images) == 1500 and len(beside.images) == 1000
        chosen = np.array([3, 400])
        np.testing.assert_allclose(
            among.score(slice(500, None), chosen),
            beside.score(slice(None), chosen),
            rtol=0.2,
            atol=2,
        )


@pytest.mark.slow
def test_a_blank_image_has_finite_scores(mnist_data) -> None:
    images = mnist_data.images[:300].copy()
    images[7] = 0
    for metric in make_metrics(ImageDomain(images, images[:50])):
        assert np.isfinite(metric.score(slice(None), slice(None))).all()

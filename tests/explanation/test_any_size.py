"""Explanations of networks of any size and challenge: heads, blocks, small streams, clues."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxmi
from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.sealed import posed
from jaxmi.data.mnist import Mnist, encode_idx
from jaxmi.errors import InputError
from jaxmi.explanation import cnn_metrics, transformer_metrics
from jaxmi.explanation.clue_search import MNIST
from jaxmi.explanation.cnn_solution import collection_of, explain_cnn, known_clue, prepare
from jaxmi.explanation.edits import at, compose, mean
from jaxmi.explanation.network import Network
from jaxmi.explanation.transformer_evidence import patterns_of, resid_mid_of, run_both_ways
from jaxmi.explanation.transformer_solution import explain_transformer
from jaxmi.explanation.verdicts import NOT_SUPPORTED
from jaxmi.programs.parse import parse
from jaxmi.report.cnn_page import cnn_page
from jaxmi.report.page import Page, render
from jaxmi.report.transformer_figures import filters
from jaxmi.report.transformer_page import transformer_page
from jaxmi.types import Params
from jaxmi.workflows.explain import control_networks

PROGRAM = "z = 0\nif x ** 2 < 40 * y:\n    z += 3\nif y < 15:\n    z -= 1\nreturn z >= 1"


def own(p: int = 31, **network: int) -> Challenge:
    return jaxmi.make_challenge(PROGRAM, p=p, name="mine", network=network)


def shown(page: Page) -> str:
    """Return a page's text in one line, without its pictures."""
    return " ".join(re.sub(r"data:image/png;base64,[^\"]*", "", render(page)).split())


def initial(challenge: Challenge) -> Params:
    return jax.jit(challenge.init)(jax.random.key(1))


@pytest.mark.long
def test_every_block_s_attention_is_fixed_and_the_last_block_s_mlp_read_out() -> None:
    challenge = own(p=9, d_model=16, n_heads=2, d_mlp=24, n_layers=2)
    network, inputs = Network(challenge.model, initial(challenge)), challenge.inputs
    full, fixed, read_out, attention = run_both_ways(network, inputs)
    np.testing.assert_allclose(full.logits, network.logits(inputs)[:, :2], atol=1e-5)
    patterns = network.read(inputs, patterns_of(2))
    fix = [at(site, mean(pattern)) for site, pattern in patterns.items()]
    np.testing.assert_allclose(
        fixed.logits, network.logits(inputs, compose(*fix))[:, :2], atol=1e-5
    )
    first_only = network.logits(inputs, fix[0])[:, :2]  # the control: block 1's attention is free
    assert np.abs(fixed.logits - first_only).max() > 1e-3
    assert resid_mid_of(2) == "blocks.1.hook_resid_mid"
    earlier = network.read(inputs, [resid_mid_of(1)])[resid_mid_of(1)][:, -1]
    assert np.abs(read_out(earlier) - full.logits).max() > 1e-2  # and so is the stream before it
    last = patterns["blocks.1.attn.hook_pattern"][:, :, -1]
    np.testing.assert_allclose(attention.mean[2:], last.mean(axis=0), atol=1e-6)
    assert attention.mean.shape == (4, 3) and attention.kept_if_fixed.shape == (4,)


@pytest.mark.parametrize(
    ("n_heads", "n_layers", "there", "not_there"),
    [
        (8, 1, "attention_head7_x_mean", "attention_head8_x_mean"),
        (3, 1, "attention_head2_kept_if_fixed", "attention_head3_kept_if_fixed"),
        (12, 1, "attention_head11_last_std", "attention_block0_head0_x_mean"),
        (3, 2, "attention_block1_head2_y_mean", "attention_head0_y_mean"),
    ],
)
def test_the_table_has_the_heads_of_the_network(n_heads, n_layers, there, not_there) -> None:
    table = transformer_metrics.table_for(n_heads, n_layers)
    assert there in table and not_there not in table
    of_heads = sum(key.startswith("attention_") for key in table)
    assert of_heads == 7 * n_heads * n_layers
    published = transformer_metrics.TABLE
    assert len(table) - of_heads == len(published) - 7 * 8
    assert (set(table) == set(published)) == ((n_heads, n_layers) == (8, 1))


@pytest.mark.slow
@pytest.mark.parametrize("n_layers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_network_of_other_sizes_has_its_own_heads_and_no_published_words(n_layers) -> None:
    challenge = own(p=7, d_model=12, n_heads=3, d_mlp=16, n_layers=n_layers)
    found = explain_transformer(challenge, initial(challenge))
    assert set(found.metrics) == set(transformer_metrics.table_for(3, n_layers))
    html = shown(transformer_page(found, challenge, "seed 0", "jaxmi explain x"))
    assert ("One block" in html) == (n_layers == 1) != ("Two blocks" in html)
    assert ("blocks.1.hook_resid_mid" in html) == (n_layers == 2)
    assert ("last block&#39;s MLP adds" in html) == (n_layers == 2)
    assert "3 heads of 4" in html and "all 49 pairs" in html
    for words in ("The published claim", "published network", "x squared", "8 heads"):
        assert words not in html


@pytest.mark.parametrize(
    ("width", "without"),
    [
        (2, {"1", "1*", "1+2"}),
        pytest.param(3, {"1*"}, marks=pytest.mark.slow),
        pytest.param(4, set(), marks=pytest.mark.slow),
    ],
)
def test_a_narrow_stream_lacks_what_it_has_no_room_for(width: int, without: set[str]) -> None:
    challenge = own(p=5, d_model=width, n_heads=1, d_mlp=4)
    found = explain_transformer(challenge, initial(challenge))
    scrubs = transformer_metrics.SCRUBS
    absent = {row for row in ("1", "1*", "1+2", "2") if scrubs[row]["full"].kept.key not in
              found.metrics}  # fmt: skip
    assert absent == without
    assert ("control_leading_plane_scrub_1" in found.metrics) == (width > 2)
    assert ("control_random_dims_scrub_1" in found.metrics) == (width > 3)
    page = transformer_page(found, challenge, "a network", "x")
    (plane,) = (s for s in page.sections if s.title == "Nothing but the plane matters")
    assert (plane.reason.startswith("the residual stream has two dimensions")) == (width == 2)
    render(page)


@pytest.mark.parametrize("most", [pytest.param(25, marks=pytest.mark.slow), 24])
def test_a_large_domain_is_explained_on_a_part_of_it(most: int) -> None:
    challenge = own(p=5, d_model=4, n_heads=1, d_mlp=4)
    found = explain_transformer(challenge, initial(challenge), most)
    assert len(found.streams["full"].labels) == len(found.domain.rows) == {25: 25, 24: 16}[most]
    predicted = challenge.logits(initial(challenge))[:, :2].argmax(axis=1)
    right = (predicted == challenge.labels)[found.domain.rows]
    assert found.metrics["accuracy"] == pytest.approx(right.mean())
    html = shown(transformer_page(found, challenge, "a network", "x"))
    assert ("true label" in html) and ("all 25 pairs" in html) == (most == 25)
    part = "Everything is measured on 16 of the 25 pairs: those of 4 random values of each of x, y."
    assert (part in html) == (most == 24)


@pytest.mark.long
def test_triples_are_drawn_in_slices() -> None:
    program = "return x + 2 * y < 3 * w"
    challenge = jaxmi.make_challenge(
        program, kind="triples", p=5, network={"d_model": 4, "n_heads": 1, "d_mlp": 4}
    )
    found = explain_transformer(challenge, initial(challenge))
    assert found.attention.mean.shape == (1, 4)
    assert set(found.metrics) <= set(transformer_metrics.table_for(1, 1, ("x", "y", "w")))
    html = shown(transformer_page(found, challenge, "a network", "x"))
    assert "one vector for each of x, y and w" in html and "all 125 triples" in html
    figure = filters(found, challenge)
    assert sum("w = " in axes.get_ylabel() for axes in figure.axes) == 8  # 4 slices of either run


def test_a_stream_of_one_dimension_is_refused() -> None:
    challenge = own(p=5, d_model=1, n_heads=1, d_mlp=4)
    with pytest.raises(InputError, match="one dimension"):
        explain_transformer(challenge, initial(challenge))


@pytest.mark.long
def test_without_labels_there_is_no_accuracy_and_no_ground_truth() -> None:
    known = own(p=7, d_model=8, n_heads=2, d_mlp=8)
    sealed, params = known.without_labels(), initial(known)
    assert (sealed.labels == -1).all() and sealed.program is None and known.labels.max() == 1
    secret = explain_transformer(sealed, params)
    told = explain_transformer(known, params)  # the control
    accuracies = {"accuracy", "fixed_accuracy"}
    assert set(told.metrics) - set(secret.metrics) == accuracies
    assert secret.metrics == {k: v for k, v in told.metrics.items() if k not in accuracies}
    pages = {
        name: shown(transformer_page(found, challenge, "it", "x"))
        for name, found, challenge in (("secret", secret, sealed), ("told", told, known))
    }
    assert "not known here, for they are sealed" in pages["secret"]
    assert 'true labels, attention as it is</td><td class="n">not known' in pages["secret"]
    assert "not known" not in pages["told"]
    assert "Sealed challenge: pairs" in pages["secret"]
    opened = posed(sealed, parse(PROGRAM, "pairs"))
    assert not opened.sealed and (opened.labels == known.labels).all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, mnist_data: Mnist) -> Path:
    """Write a folder with 300 training and 60 test images."""
    folder = tmp_path_factory.mktemp("data") / "small"
    folder.mkdir()
    for part, rows in (("train", slice(0, 300)), ("t10k", slice(60_000, 60_060))):
        for kind, array in (
            ("images-idx3", mnist_data.images[rows]), ("labels-idx1", mnist_data.digits[rows])
        ):  # fmt: skip
            (folder / f"{part}-{kind}-ubyte").write_bytes(encode_idx(array))
    return folder


def on_images(folder: Path, program: str, **network) -> Challenge:
    sizes = {"channels": [2, 3], "neurons": 12, **network}
    return jaxmi.make_challenge(program, kind="image", name="mine", network=sizes, data=folder)


BAND = "25000 <= l1(image, template(8)) < 32000"


@pytest.mark.parametrize(
    ("program", "clue"),
    [
        (f"return not {BAND}", 8),
        ("d = l2(image, template(8))\nreturn not 1500 <= d < 2100", 8),
        ("return l1(image, template(8)) < 28000", 8),  # a band that is open above
        (f"return {BAND}", None),  # label 1 within: another claim
        ("return mean(image) < 30", None),
        (f"return not {BAND} or l1(image, template(3)) < 25000", None),
    ],
)
def test_the_clue_is_the_image_of_a_band(folder: Path, program: str, clue: int | None) -> None:
    challenge = on_images(folder, program)
    assert 0 < challenge.labels.mean() < 1
    assert known_clue(challenge) == clue
    assert known_clue(challenge.without_labels()) is None
    assert collection_of(challenge) == "small"


def test_the_published_challenge_s_clue_is_the_hint(cnn: Challenge) -> None:
    assert known_clue(cnn) == 6
    assert collection_of(cnn) == MNIST
    assert set(control_networks(cnn)) == {"untrained", "parity"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "which", ["band", *(pytest.param(w, marks=pytest.mark.slow) for w in ("other", "sealed"))]
)
def test_a_cnn_of_other_sizes_is_explained_by_its_own_clue(folder: Path, which: str) -> None:
    program = "return mean(image) < 30" if which == "other" else f"return not {BAND}"
    challenge = on_images(folder, program)
    challenge = challenge.without_labels() if which == "sealed" else challenge
    params = initial(challenge)
    controls = control_networks(challenge)
    assert set(controls) == {"untrained"}
    found = explain_cnn(challenge, params, prepare(challenge, controls))
    assert found.about.known == (which == "band")
    assert found.about.applies == (which != "other")
    assert (found.about.image == 8) == (which == "band")
    of_truth = {
        "recovered_true_clue_rank", "recovered_template_correlation",
        "control_untrained_recovered_true_clue_rank",
    }  # fmt: skip
    assert (of_truth <= set(found.metrics)) == (which == "band")
    assert of_truth.isdisjoint(found.metrics) == (which != "band")
    assert not any(key.startswith("control_parity") for key in found.metrics)
    assert set(found.metrics) <= set(cnn_metrics.TABLE)
    page = cnn_page(found, challenge, "it", "x")
    verdicts = {section.verdict for section in page.sections if section.verdict}
    assert (verdicts == {NOT_SUPPORTED}) == (which == "other") != (NOT_SUPPORTED not in verdicts)
    html = shown(page)
    assert ("not known here, for they are sealed" in html) == (which == "sealed")
    assert ("Image 8, which the program names" in html) == (which == "band")
    assert (found.program is None) == (which == "other")
    assert "unlike small&#39;s" in html
    for words in ("hint", "The published claim", "published network", "MNIST training", "parity"):
        assert words not in html


def test_a_cnn_of_one_neuron_is_refused(folder: Path) -> None:
    challenge = on_images(folder, f"return not {BAND}", neurons=1)
    with pytest.raises(InputError, match="one hidden neuron"):
        prepare(challenge, {})

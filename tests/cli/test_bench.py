"""`jaxmi bench --challenge`: a challenge of one's own, measured in the quick form."""

from pathlib import Path

import pytest

from jaxmi.cli.bench import Bench


def test_what_cannot_be_measured_is_one_line(fails, sealed_folder: Path) -> None:
    assert "no challenge 'nowhere'" in fails(2, "bench", "--quick", "--challenge", "nowhere")
    sealed = fails(2, "bench", "--quick", "--challenge", str(sealed_folder))
    assert "bench needs its program or labels, which are secret" in sealed


@pytest.mark.long
@pytest.mark.parametrize("kind", ["pairs", pytest.param("triples", marks=pytest.mark.long)])
def test_a_tiny_challenge_is_measured_in_the_place_of_the_published_ones(
    run, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    Path("mine.txt").write_text("return x < y" if kind == "pairs" else "return x < w")
    made = ("challenge", "make", "mine.txt", "--out", "seeds", "--p", "7")  # a name of another key
    run(*made, "--network", "d_model=8", "n_heads=2", "d_mlp=16")
    result = run("bench", "--quick", "--challenge", "seeds")
    assert result["challenge"]["name"] == "seeds"
    assert result["challenge"]["kind"] == kind
    assert not {"transformer", "cnn", "programs"} & set(result)
    own = result[kind]
    assert own["step_seconds"]["median"] > 0
    assert own["step_ratio_vs_torch"]["median"] > 0
    assert 0 < own["share_of_matmul_peak"]["median"] < 1
    assert own["torch_loss_difference"] < 1e-5
    assert result["peak_rss_gb"].keys() == {kind}
    assert result["seeds"]["compilations"] == 1
    assert result["warm_start_seconds"]["median"] > 0
    capsys.readouterr()
    Bench(quick=True, challenge="seeds").show(result)
    shown = capsys.readouterr().out
    assert f"{kind}.step_seconds" in shown
    assert "target" not in shown and "published" not in shown


@pytest.mark.long
def test_images_are_measured_too(run, mnist_data) -> None:
    Path("mine.txt").write_text("return mean(image) < 30")
    sizes = ("--network", "channels=2,3", "neurons=8", "--train-share", "0.002")
    run("challenge", "make", "mine.txt", "--out", "own", *sizes)
    result = run("bench", "--quick", "--challenge", "own")
    assert set(result["image"]["all"]) <= {f"batch 100, seeds {n}" for n in (1, 2, 4, 8, 16)}
    assert result["image"]["images_per_second"]["median"] > 0
    assert result["image"]["image_ratio_vs_torch"]["median"] > 0

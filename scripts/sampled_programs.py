"""Draws the labels of twenty fair random programs on pairs, and prints five on images.

Command:   .venv/bin/python scripts/sampled_programs.py
Time:      ten seconds
Expected:  docs/sampled-programs.png; about 1 in 11 programs on pairs is fair, 2 in 5 on images
"""

from collections import Counter
from pathlib import Path
from random import Random

from matplotlib.figure import Figure

from jaxmi.data.mnist import load_mnist
from jaxmi.programs.domain import ImageDomain, PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.fairness import draw_fair
from jaxmi.programs.show import show
from jaxmi.report.figures import LABELS

OUT = Path(__file__).resolve().parent.parent / "docs" / "sampled-programs.png"


def main() -> None:
    """Draws pairs, then images."""
    domain, rng, rejected = PairDomain(), Random(0), Counter[str]()
    figure = Figure(figsize=(13.5, 11.4), layout="constrained")
    for axes in figure.subplots(4, 5).flat:
        program, broken = draw_fair(domain, rng)
        rejected += broken
        labels = label(program, domain).reshape(domain.shape)
        axes.imshow(labels, cmap=LABELS, vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(f"{labels.mean():.0%} label 1, length {program.size}", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.savefig(OUT, dpi=80)
    print(f"pairs: 20 programs are fair, {rejected.total()} are not: {dict(rejected)}")

    mnist, rejected = load_mnist(), Counter[str]()
    images = ImageDomain(mnist.images[:10_000], mnist.images[:60_000])
    for _ in range(5):
        program, broken = draw_fair(images, rng, digits=mnist.digits[:10_000])
        rejected += broken
        print(f"\n{show(program)}")
    print(f"images: 5 programs are fair, {rejected.total()} are not: {dict(rejected)}")


if __name__ == "__main__":
    main()

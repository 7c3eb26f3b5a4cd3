"""Draws twenty fair random programs on pairs, prints five on images and the published metrics.

Command:   .venv/bin/python scripts/sampled_programs.py
Time:      ten seconds
Writes:    docs/sampled-programs.png
Expected:  about 1 in 12 programs on pairs is fair
"""

from collections import Counter
from importlib.resources import files
from pathlib import Path
from random import Random

from matplotlib.figure import Figure

from jaxmi.data.mnist import load_mnist
from jaxmi.programs.domain import ImageDomain, PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.fairness import RULES, Candidate, draw_fair
from jaxmi.programs.parse import parse
from jaxmi.programs.show import show
from jaxmi.report.figures import LABELS

OUT = Path(__file__).resolve().parent.parent / "docs" / "sampled-programs.png"


def main() -> None:
    """Draw programs on pairs, then on images, and print what the fairness rules measure."""
    domain, rng, rejected = PairDomain(), Random(0), Counter[str]()
    figure = Figure(figsize=(13.5, 11.4), layout="constrained")
    for axes in figure.subplots(4, 5).flat:
        program, counts = draw_fair(domain, rng)
        rejected += counts
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
        program, counts = draw_fair(images, rng, digits=mnist.digits[:10_000])
        rejected += counts
        print(f"\n{show(program)}")
    print(f"images: 5 programs are fair, {rejected.total()} are not: {dict(rejected)}")

    for name, inputs, digits in (
        ("transformer", domain, None),
        ("cnn", images, mnist.digits[:10_000]),
    ):
        text = files("jaxmi.programs").joinpath(f"published/{name}.txt").read_text(encoding="utf-8")
        published = parse(text, inputs.kind)
        labels = label(published, inputs).astype(bool)
        candidate = Candidate(published, inputs, labels, digits)
        rules = [rule for rule in RULES if inputs.kind in rule.kinds]
        metrics = [f"{rule.name} {rule.metric(candidate):.1%}" for rule in rules]
        print(f"{name}: {', '.join(metrics)}")


if __name__ == "__main__":
    main()

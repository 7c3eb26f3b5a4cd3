"""The published solution of challenge 2 is not shown of networks that do something else."""

import pytest

from jaxmi.challenges.registry import load_challenge
from jaxmi.programs.show import show
from jaxmi.workflows.explain import EXPLAINERS
from jaxmi.workflows.plants import compile_network


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", ["conditions", "rows"])
def test_the_published_filters_are_not_shown_of_a_plant(mechanism: str) -> None:
    program = load_challenge("transformer").program
    assert program is not None
    sizes = {"d_mlp": 64, "d_model": 32, "n_heads": 4}
    plant = compile_network(show(program), mechanism, 29, sizes, disguise_seed=1)
    explainer = EXPLAINERS["pairs"]
    explanation = explainer.explain(plant.challenge, plant.params, None)
    page = explainer.page(explanation, plant.challenge, "plant", "jaxmi explain")
    verdicts = {section.title: section.verdict for section in page.sections}
    assert verdicts["Two straight sides in a plane give the label"] == "not shown"
    assert verdicts["Of the plane, only which sides are passed matters"] == "not shown"

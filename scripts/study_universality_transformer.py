"""Whether every transformer filters a plane of summed embeddings.

Command:   .venv/bin/python scripts/study_universality_transformer.py
Time:      25 minutes on 2 cores: 32 networks, and four by the published recipe, explained
Expected:  the claims `plane` and `mlp` in all 32 networks, `sides` in 26, `filters` in 25,
           `fixed_95` in 15, `goal_95` in 5, all of them in none; by the published recipe `mlp`
           and `sides` in all four, `plane` in three, the others in none
"""

from jaxmi.cli.studying import answer

MAIN = (
    "claim_fixed_95",
    "claim_plane",
    "claim_filters",
    "claim_sides",
    "claim_goal_95",
    "claim_mlp",
    "claims_all",
    "original_claim_plane",
    "original_claim_filters",
)
"""The findings that answer the question; result.json has all."""

if __name__ == "__main__":
    answer("universality-transformer", MAIN)

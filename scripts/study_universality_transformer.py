"""Whether every transformer filters a plane of summed embeddings.

Command:   .venv/bin/python scripts/study_universality_transformer.py
Time:      20 minutes on 2 cores: 32 networks, explained
Expected:  the claims `plane` and `mlp` in all 32 networks, `sides` in 26, `filters` in 25,
           `fixed_95` in 15, `goal_95` in 5
"""

from jaxmi.cli.studying import answer

MAIN = (
    "claim_fixed_95",
    "claim_plane",
    "claim_filters",
    "claim_sides",
    "claim_goal_95",
    "claim_mlp",
)
"""The findings that answer the question; result.json has all."""

if __name__ == "__main__":
    answer("universality-transformer", MAIN)

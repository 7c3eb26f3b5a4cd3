"""Whether every transformer filters a plane of summed embeddings.

Command:   .venv/bin/python scripts/study_universality_transformer.py
Time:      20 minutes on 2 cores: 32 networks, explained
Expected:  the claims `plane` and `sides` in all networks, `fixed_95` and `filters` in some
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

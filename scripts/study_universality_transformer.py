"""Whether every transformer filters a plane of summed embeddings.

Command:   .venv/bin/python scripts/study_universality_transformer.py
Time:      20 minutes on 2 cores: 32 networks, explained
Expected:  the claims `plane` and `sides` in all networks, `fixed_95` and `filters` in some
"""

from pathlib import Path

from jaxmi.cli.studying import write_study
from jaxmi.report.studies.table import interval

OUT = Path("runs/studies/universality-transformer")
MAIN = (
    "claim_fixed_95",
    "claim_plane",
    "claim_filters",
    "claim_sides",
    "claim_goal_95",
    "claim_mlp",
)
"""The findings that answer the question; all are in result.json."""


def main() -> None:
    """Conducts the study, or goes on with it, and prints what it found."""
    result = write_study("universality-transformer", OUT)
    print(result["question"])
    for name in MAIN:
        value, between = interval(result["findings"][name])
        print(f"{name:32} {value:>8}  {between}")


if __name__ == "__main__":
    main()

"""Whether every CNN learns detectors and anti-detectors of the clue.

Command:   .venv/bin/python scripts/study_universality_cnn.py
Time:      20 minutes on 2 cores: 32 networks, explained
Expected:  every claim in 32 of 32 networks but `specific`
"""

from pathlib import Path

from jaxmi.cli.studying import write_study
from jaxmi.report.studies.table import interval

OUT = Path("runs/studies/universality-cnn")
MAIN = (
    "claim_detectors",
    "claim_anti_detectors",
    "claim_specific",
    "claim_armwise",
    "claim_similarity",
    "claim_trained",
    "claim_clue",
)
"""The findings that answer the question; all are in result.json."""


def main() -> None:
    """Conducts the study, or goes on with it, and prints what it found."""
    result = write_study("universality-cnn", OUT)
    print(result["question"])
    for name in MAIN:
        value, between = interval(result["findings"][name])
        print(f"{name:32} {value:>8}  {between}")


if __name__ == "__main__":
    main()

"""How data and weight decay change what is learned, and whether anything is grokked.

Command:   .venv/bin/python scripts/study_decay.py
Time:      two hours on 2 cores: two grids of 45 cells of 8 networks, and longer runs
Expected:  no grokking in either challenge; addition, the control, is grokked
"""

from pathlib import Path

from jaxmi.cli.studying import write_study
from jaxmi.report.studies.table import interval

OUT = Path("runs/studies/decay")
MAIN = (
    "transformer_best",
    "transformer_grokked",
    "cnn_best",
    "cnn_grokked",
    "transformer_long_grokked",
    "addition_grokked",
)
"""The findings that answer the question; all are in result.json."""


def main() -> None:
    """Conducts the study, or goes on with it, and prints what it found."""
    result = write_study("decay", OUT)
    print(result["question"])
    for name in MAIN:
        value, between = interval(result["findings"][name])
        print(f"{name:32} {value:>8}  {between}")


if __name__ == "__main__":
    main()

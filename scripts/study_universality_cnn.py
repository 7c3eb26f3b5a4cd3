"""Whether every CNN learns detectors and anti-detectors of the clue.

Command:   .venv/bin/python scripts/study_universality_cnn.py
Time:      half an hour on 2 cores: 32 networks, explained
Expected:  every claim in 32 of 32 networks but `specific`, in 31
"""

from jaxmi.cli.studying import answer

MAIN = (
    "claim_detectors",
    "claim_anti_detectors",
    "claim_specific",
    "claim_armwise",
    "claim_similarity",
    "claim_trained",
    "claim_clue",
)
"""The findings that answer the question; result.json has all."""

if __name__ == "__main__":
    answer("universality-cnn", MAIN)

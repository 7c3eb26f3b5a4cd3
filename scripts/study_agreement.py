"""Whether seeds share their mistakes, and whether a vote mends them.

Command:   .venv/bin/python scripts/study_agreement.py
Time:      5 minutes on 2 cores: 32 networks of each challenge
Expected:  two transformers share 73 % of their mistakes, two CNNs 59 %; votes of 32 gain 0.2 and
           0.6 points
"""

from jaxmi.cli.studying import answer

MAIN = (
    "transformer_shared",
    "transformer_shared_by_chance",
    "transformer_vote_gain",
    "cnn_shared",
    "cnn_shared_by_chance",
    "cnn_vote_gain",
)
"""The findings that answer the question; result.json has all."""

if __name__ == "__main__":
    answer("agreement", MAIN)

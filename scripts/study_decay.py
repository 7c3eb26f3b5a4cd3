"""How data and weight decay change what is learned, and whether anything is grokked.

Command:   .venv/bin/python scripts/study_decay.py
Time:      about two hours on 2 cores, by what a network takes: two grids of 45 cells of 8
           networks, and longer runs
Expected:  not known yet: it has only been run in its quick form
"""

from jaxmi.cli.studying import answer

MAIN = (
    "transformer_best",
    "transformer_grokked",
    "cnn_best",
    "cnn_grokked",
    "transformer_long_grokked",
    "addition_grokked",
)
"""The findings that answer the question; result.json has all."""

if __name__ == "__main__":
    answer("decay", MAIN)

"""Whether every CNN learns detectors and anti-detectors of the clue.

Command:   .venv/bin/python scripts/study_universality_cnn.py
Time:      20 minutes on 2 cores: 32 networks, explained
Expected:  every claim in 32 of 32 networks but `specific`, in 31
"""

import sys

from jaxmi.cli.main import main

if __name__ == "__main__":
    main(["study", "universality-cnn", "--out", "runs/studies/universality-cnn", *sys.argv[1:]])

"""Whether seeds share their mistakes, and whether a vote mends them.

Command:   .venv/bin/python scripts/study_agreement.py
Time:      5 minutes on 2 cores: 32 networks of each challenge
Expected:  two transformers share 73 % of their mistakes, two CNNs 59 %; votes of 32 gain 0.2 and
           0.6 points
"""

import sys

from jaxmi.cli.main import main

if __name__ == "__main__":
    main(["study", "agreement", "--out", "runs/studies/agreement", *sys.argv[1:]])

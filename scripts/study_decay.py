"""How data and weight decay change what is learned, and whether anything is grokked.

Command:   .venv/bin/python scripts/study_decay.py
Time:      two hours on 2 cores: two grids of 45 cells of 8 networks, and longer runs
Expected:  in none of the grids' networks does test accuracy gain more than 5 points after the fit;
           on addition, the control, in all
"""

import sys

from jaxmi.cli.main import main

if __name__ == "__main__":
    main(["study", "decay", "--out", "runs/studies/decay", *sys.argv[1:]])

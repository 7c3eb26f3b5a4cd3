"""How data and weight decay change what is learned, and whether anything is grokked.

Command:   .venv/bin/python scripts/study_decay.py
Time:      about two hours on 2 cores, by what a network takes: two grids of 45 cells of 8
           networks, and longer runs
Expected:  not known yet: it has only been run in its quick form
"""

import sys

from jaxmi.cli.main import main

if __name__ == "__main__":
    main(["study", "decay", "--out", "runs/studies/decay", *sys.argv[1:]])

"""Where the transformer errs, and whether the curves are to blame.

Command:   .venv/bin/python scripts/study_boundary.py
Time:      35 minutes on 2 cores: seven trainings of 32 networks, and four networks by the
           published recipe
Expected:  0.58, 0.70 and 0.78 mistakes per unit of x^4 = 40000 y, y^4 = 360000 x and x + y = 133;
           with the curves made straight 0.67, 0.79 and 0.68; over rows none differs clearly
"""

import sys

from jaxmi.cli.main import main

if __name__ == "__main__":
    main(["study", "boundary", "--out", "runs/studies/boundary", *sys.argv[1:]])

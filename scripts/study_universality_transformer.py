"""Whether every transformer filters a plane of summed embeddings.

Command:   .venv/bin/python scripts/study_universality_transformer.py
Time:      30 minutes on 2 cores: 32 networks, and four by the published recipe, explained
Expected:  the claims `plane` and `mlp` in all 32 networks, `sides` in 26, `filters` in 25,
           `fixed_95` in 15, `goal_95` in 5, all of them in none; by the published recipe `mlp`
           and `sides` in all four, `plane` in three, the others in none
"""

import sys

from jaxmi.cli.main import main

if __name__ == "__main__":
    main(
        [
            "study",
            "universality-transformer",
            "--out",
            "runs/studies/universality-transformer",
            *sys.argv[1:],
        ]
    )

"""Where the transformer errs, and whether the curves are to blame.

Command:   .venv/bin/python scripts/study_boundary.py
Time:      35 minutes on 2 cores: seven trainings of 32 networks, and four networks by the
           published recipe
Expected:  0.58, 0.70 and 0.78 mistakes per unit of x^4 = 40000 y, y^4 = 360000 x and x + y = 133;
           with the curves made straight 0.67, 0.79 and 0.68; over rows none differs clearly
"""

from jaxmi.cli.studying import answer

MAIN = (
    "per_edge_x4",
    "per_edge_y4",
    "per_edge_line",
    "straight_per_edge_x4",
    "straight_per_edge_y4",
    "straight_per_edge_line",
    "line_over_x4_over_rows",
    "line_over_y4_over_rows",
    "mistakes_per_row_1",
    "mistakes_per_row_2",
)
"""The findings that answer the question; result.json has all."""

if __name__ == "__main__":
    answer("boundary", MAIN)

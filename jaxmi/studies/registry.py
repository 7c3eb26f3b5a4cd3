"""The studies by name.

To add a study:
  1. Write `studies/NAME.py`, which ends in `STUDY = Study(...)`; `decay.py` is a short example.
  2. Add it to `STUDIES` below, and its name to `Name` in `cli/study.py`.
  3. Draw its result in `report/studies/NAME.py`, and add that function to `FIGURES` in `draw.py`.
"""

from jaxmi.errors import InputError
from jaxmi.studies import agreement, boundary, decay, interpolation, periodic, universality
from jaxmi.studies.study import Study

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        boundary.STUDY,
        periodic.STUDY,
        interpolation.STUDY,
        universality.CNN,
        universality.TRANSFORMER,
        decay.STUDY,
        agreement.STUDY,
    )
}
"""All studies, in the order of docs/findings.md."""


def load_study(name: str) -> Study:
    """Return a study.

    Raises:
      InputError: if no study has the name.
    """
    if name not in STUDIES:
        raise InputError(f"unknown study {name!r}; the studies are: {', '.join(STUDIES)}")
    return STUDIES[name]

"""The studies by name.

To add a study:
  1. Write `studies/NAME.py`, which ends in `STUDY = Study(...)`; `decay.py` is a short example. Its
     `trainings_of` asks the question of a challenge that the user names, or says why it cannot.
  2. Add it to `STUDIES` below, and its name to `Name` in `cli/study.py`.
  3. Draw its result in `report/studies/NAME.py`, and add that function to `FIGURES` in `draw.py`.
"""

from jaxmi.errors import InputError
from jaxmi.programs.language import PUBLISHED, Kind
from jaxmi.studies import (
    agreement,
    boundary,
    decay,
    duel,
    interpolation,
    mechanism,
    periodic,
    solutions,
    universality,
    variables,
)
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
        mechanism.STUDY,
        variables.STUDY,
        solutions.STUDY,
        duel.STUDY,
    )
}
"""All studies, in the order of docs/findings.md."""


UNIVERSALITY = "universality"
"""The name of both studies of universality together: the challenge's kind tells which is meant."""


def load_study(name: str, kind: Kind | None = None) -> Study:
    """Return a study.

    Args:
      name: One of `STUDIES`, or `UNIVERSALITY`.
      kind: The kind of the challenge that the user named; None: none.

    Raises:
      InputError: if no study has the name, or it is the universality of another network.
    """
    by_kind = "" if kind is None else f"{UNIVERSALITY}-{PUBLISHED[kind]}"
    if name == UNIVERSALITY:
        if kind is None:
            both = " or ".join(study for study in STUDIES if study.startswith(f"{name}-"))
            raise InputError(f"study {name} needs --challenge; without one, name {both}")
        return STUDIES[by_kind]
    if kind is not None and name.startswith(f"{UNIVERSALITY}-") and name != by_kind:
        raise InputError(f"study {name} has no meaning for a challenge of {kind}: name {by_kind}")
    if name not in STUDIES:
        raise InputError(f"unknown study {name!r}; the studies are: {', '.join(STUDIES)}")
    return STUDIES[name]

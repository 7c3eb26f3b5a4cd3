"""The studies by name."""

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
"""Every study."""


def load_study(name: str) -> Study:
    """Returns a study.

    Raises:
      InputError: if there is none of the name.
    """
    if name not in STUDIES:
        raise InputError(f"unknown study {name!r}; the studies are: {', '.join(STUDIES)}")
    return STUDIES[name]

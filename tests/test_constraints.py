"""Every package that an installation takes is pinned, also those that other packages need."""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"
EXTRAS = {"torch", "tensorboard", "test", "lint", "baselines"}


def name_of(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def needed(name: str, extras: set[str], found: set[tuple[str, str]]) -> None:
    """Add the installed packages that a package needs, with the extras that are asked of them."""
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
            continue
        asked = [(name_of(requirement.name), extra) for extra in (*requirement.extras, "")]
        new = [one for one in asked if one not in found]
        found.update(new)
        try:
            for other, extra in new:
                needed(other, {extra}, found)
        except PackageNotFoundError:
            continue


def test_every_package_is_pinned() -> None:
    found: set[tuple[str, str]] = set()
    needed("jaxmi", EXTRAS, found)
    names = {name for name, _ in found} - {"jaxmi", "setuptools"}  # which comes with the venv
    lines = [line for line in CONSTRAINTS.read_text().splitlines() if "==" in line]
    pins = {name_of(name): version for name, _, version in (line.partition("==") for line in lines)}
    if distribution("jax").version != pins["jax"]:
        pytest.skip("these are not the pinned versions")
    installed = set()
    for name in names:
        try:
            distribution(name)
        except PackageNotFoundError:
            continue
        installed.add(name)
    assert {"jax", "etils", "uvloop"} <= installed
    assert installed - pins.keys() == set()

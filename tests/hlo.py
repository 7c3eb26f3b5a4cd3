"""Compiled programs as text, to compare them."""

import re


def instructions(program: str) -> list[str]:
    """Return a program's lines without what says where in the source they come from.

    That depends on what was traced before in the same process.
    """
    lines = [line for line in program.splitlines() if " = " in line]
    return [re.sub(r", metadata=\{.*?\}", "", line) for line in lines]

"""Records what each command of `cases.py` gives, in `golden/`.

    PYTHONPATH=tests python -m contract.record [NAME ...]

Run it only when an output changes on purpose, for the cases that change, and look at the
difference before you commit it. The present files, and those in `data/`, were made by revision
1d83983, but for keys that were added since; what is in `data/` stays, for it stands for what users
have on their disks.

A run of another version of jaxmi is not gone on with, and what a study measured with another
version is measured anew. So when the version is raised, `data/run`, `data/unfinished`, `data/runs`
and `data/study` have to be made again: by the commands of `regenerate-*` and `study-*` in
`cases.py`, the unfinished run stopped by SIGTERM when its second seed was under way.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from contract.cases import CASES, REFUSALS
from contract.observe import HERE, observe, refuse

GOLDEN = HERE / "golden"


def write(name: str, content: Any) -> None:
    """Writes a golden file, so that a changed value is a changed line."""
    GOLDEN.mkdir(exist_ok=True)
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    (GOLDEN / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def main(names: list[str]) -> None:
    """Records the cases that are named, or all, and then the refusals too."""
    unknown = set(names) - {case.name for case in CASES} - {"refusals"}
    if unknown:
        sys.exit(f"no such case: {', '.join(sorted(unknown))}")
    for case in CASES:
        if case.name in names or not names:
            began = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                write(case.name, observe(case, Path(folder)))
            print(f"{case.name}: {time.perf_counter() - began:.1f} s", flush=True)
    if "refusals" in names or not names:
        codes = {}
        for refusal in REFUSALS:
            with tempfile.TemporaryDirectory() as folder:
                codes[refusal.name], _ = refuse(refusal, Path(folder))
        write("refusals", codes)


if __name__ == "__main__":
    main(sys.argv[1:])

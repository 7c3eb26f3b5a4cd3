"""Writes the published solutions as submissions, with what `jaxmi explain` finds in checkpoints/.

Command:   .venv/bin/python scripts/make_explanations.py
Time:      about three minutes on 2 cores
Writes:    jaxmi/judge/examples/NAME.json; prints their scores
Expected:  cnn: complete, 94.3 % of labels kept; transformer: in part given readouts, 83.4 %;
           transformer-second: in part given readouts, 78.2 %
"""

import json
from pathlib import Path

from jaxmi.challenges.registry import load_challenge, origin
from jaxmi.explanation.network import Network
from jaxmi.judge.judge_explanation import judge_explanation
from jaxmi.judge.published import clue_detectors, extended_embeddings, two_filters
from jaxmi.judge.submission import read_explanation
from jaxmi.storage.checkpoints import load_checkpoint

ROOT = Path(__file__).resolve().parent.parent

SUBMISSIONS = {
    "cnn": ("cnn", clue_detectors),
    "transformer": ("transformer", two_filters),
    "transformer-second": ("transformer", extended_embeddings),
}
"""File's name -> the challenge, and what writes the submission."""


def main() -> None:
    """Write the submissions, and print how they score."""
    for file, (name, write) in SUBMISSIONS.items():
        challenge, path = load_challenge(name), ROOT / f"jaxmi/judge/examples/{file}.json"
        params = load_checkpoint(ROOT / "checkpoints" / name).params
        path.write_text(json.dumps(write(Network(challenge.model, params), challenge)) + "\n")
        score = judge_explanation(read_explanation(path, name, origin(name)), challenge, params)
        print(*("{:<24} {:>12} {:>15}  {}".format(*row) for row in score.rows()), sep="\n")
        print(score.verdict)


if __name__ == "__main__":
    main()

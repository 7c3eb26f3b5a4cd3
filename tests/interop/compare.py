"""Opens an exported network in the TransformerLens that is installed and compares all activations.

    python compare.py FOLDER

Runs in an environment of its own, without jaxmi; the folder is what write.py made. The network is
loaded by the snippets of the bundle's README. Exits 1 unless every site agrees to 1e-5 of its
largest value, and the logits to 2e-6 after subtracting each row's mean, with the same argmax. Then
saves the network as this version does, for read.py.
"""

import os
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

ASKED_FOR = {
    "blocks.0.hook_resid_mid",
    "blocks.0.attn.hook_pattern",
    "blocks.0.mlp.hook_post",
    "blocks.0.hook_resid_post",
}
"""Sites that every version must have; others are compared where it has them."""

OTHERWISE = {"4.3.0": {"blocks.0.attn.hook_attn_scores": "after the softmax there"}}
"""Version -> sites that mean something else there."""


def load_by_readme() -> dict[str, Any]:
    """Runs the README's snippets for this version; returns their variables."""
    readme = Path("README.md").read_text()
    older, newer, either = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    variables: dict[str, Any] = {}
    exec(newer if version("transformer-lens").startswith("4") else older, variables)
    model, state = variables["model"], dict(variables["model"].state_dict())
    model.load_state_dict(state, strict=True)
    state.popitem()
    try:  # the control: strict is strict
        model.load_state_dict(state, strict=True)
    except (RuntimeError, ValueError):
        pass
    else:
        sys.exit("a missing tensor was not noticed")
    exec(either, variables)
    return variables


def save(model: Any) -> None:
    """Saves the state dict under this version's number; version 4's must be the one we write."""
    number, state = version("transformer-lens"), model.state_dict()
    if number.startswith("4"):
        ours = torch.load("native_4.pt", weights_only=True)
        assert ours.keys() == state.keys()
        assert all(torch.equal(ours[name], state[name]) for name in state)
        model.load_state_dict(ours, strict=True)
    torch.save(state, f"saved_by_{number}.pt")


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, relative to the largest value; infinite if infinities differ."""
    finite = np.isfinite(theirs)
    if (finite != np.isfinite(ours)).any():
        return np.inf
    return float(abs(ours[finite] - theirs[finite]).max() / abs(theirs[finite]).max())


def main() -> None:
    """Compares."""
    os.chdir(sys.argv[1])
    print(f"TransformerLens {version('transformer-lens')}, PyTorch {torch.__version__}")
    with torch.no_grad():
        variables = load_by_readme()
    logits, cache = variables["logits"], variables["cache"]
    worst = {}
    otherwise = OTHERWISE.get(version("transformer-lens"), {})
    with np.load("activations.npz") as ours:
        centred = [x - x.mean(axis=-1, keepdims=True) for x in (ours["logits"], logits.numpy())]
        worst["logits"] = (relative(*centred), 2e-6)
        same = (centred[0].argmax(axis=-1) == centred[1].argmax(axis=-1)).all()
        for site in sorted(set(ours.files) - {"logits"}):
            if site in otherwise:
                print(f"  {site:<31} not compared: {otherwise[site]}")
            elif site in cache:
                worst[site] = (relative(ours[site], cache[site].numpy()), 1e-5)
        # The control: the activations of other pairs differ.
        assert all(relative(ours[site][::-1], cache[site].numpy()) > 1e-2 for site in ASKED_FOR)
    for name, (difference, limit) in worst.items():
        print(f"  {name:<31} {difference:.1e}  {'ok' if difference <= limit else 'TOO LARGE'}")
    missing = ASKED_FOR - worst.keys()
    print(f"  argmax of the logits: {'the same' if same else 'DIFFERENT'} at every position")
    if missing or not same or any(difference > limit for difference, limit in worst.values()):
        sys.exit(f"not the same network; not found: {sorted(missing)}")
    save(variables["model"])


if __name__ == "__main__":
    main()

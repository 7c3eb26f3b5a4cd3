"""Opens exported networks in the TransformerLens that is installed and compares all activations.

    python compare.py FOLDER

Runs in an environment of its own, without jaxmi; the folder is what write.py made. The published
challenge's network is loaded by the snippets of the bundle's README, those of other sizes as these
do it with their own sizes. Exits 1 unless every site agrees to 1e-5 of its largest value, and the
logits to 2e-6 after subtracting each row's mean, with the same argmax. Then saves each network as
this version does, for read.py.
"""

import json
import os
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

ASKED_FOR = ("hook_resid_mid", "attn.hook_pattern", "mlp.hook_post", "hook_resid_post")
"""Sites of a block that every version must have; others are compared where it has them."""

OTHERWISE = {"4.3.0": {"attn.hook_attn_scores": "after the softmax there"}}
"""Version -> sites of a block that mean something else there."""

IS_4 = version("transformer-lens").startswith("4")


def load_other_size() -> tuple[Any, Any, Any]:
    """Loads the network of sizes.json as the README does; returns what `load_by_readme` does."""
    sizes = json.loads(Path("sizes.json").read_text())
    numbers = {**sizes, "act_fn": "relu", "normalization_type": None}
    state = torch.load("transformer_lens_model.pt", weights_only=True)
    if IS_4:
        from transformer_lens import TransformerBridge, TransformerBridgeConfig
        from transformer_lens.conversion_utils import convert_tl_checkpoint

        config = TransformerBridgeConfig(**numbers)
        model = TransformerBridge.boot_native(config)
        state = convert_tl_checkpoint(state, config)
    else:
        from transformer_lens import HookedTransformer, HookedTransformerConfig

        model = HookedTransformer(HookedTransformerConfig(**numbers))
    model.load_state_dict(state)
    p = sizes["d_vocab"] - 1
    logits, cache = model.run_with_cache(
        torch.tensor([(x, y, p) for x in range(p) for y in range(p)])
    )
    return model, logits, cache


def load_by_readme() -> tuple[Any, Any, Any]:
    """Runs the README's snippets for this version; returns the model, logits and activations."""
    readme = Path("README.md").read_text()
    older, newer, either = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    variables: dict[str, Any] = {}
    exec(newer if IS_4 else older, variables)
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
    return variables["model"], variables["logits"], variables["cache"]


def save(model: Any) -> None:
    """Saves the state dict under this version's number; version 4's must be the one we write."""
    number, state = version("transformer-lens"), model.state_dict()
    if IS_4:
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


def compare(folder: Path) -> None:
    """Compares one network."""
    os.chdir(folder)
    own = Path("sizes.json").exists()
    print(folder.name)
    with torch.no_grad():
        model, logits, cache = load_other_size() if own else load_by_readme()
    n_layers = json.loads(Path("sizes.json").read_text())["n_layers"] if own else 1
    asked_for = {f"blocks.{i}.{site}" for i in range(n_layers) for site in ASKED_FOR}
    worst = {}
    otherwise = {
        f"blocks.{i}.{site}": meaning
        for i in range(n_layers)
        for site, meaning in OTHERWISE.get(version("transformer-lens"), {}).items()
    }
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
        assert all(relative(ours[site][::-1], cache[site].numpy()) > 1e-2 for site in asked_for)
    for name, (difference, limit) in worst.items():
        print(f"  {name:<31} {difference:.1e}  {'ok' if difference <= limit else 'TOO LARGE'}")
    missing = asked_for - worst.keys()
    print(f"  argmax of the logits: {'the same' if same else 'DIFFERENT'} at every position")
    if missing or not same or any(difference > limit for difference, limit in worst.values()):
        sys.exit(f"not the same network; not found: {sorted(missing)}")
    save(model)


def main() -> None:
    """Compares the published challenge's network, then those of other sizes."""
    folder = Path(sys.argv[1]).absolute()
    print(f"TransformerLens {version('transformer-lens')}, PyTorch {torch.__version__}")
    for network in (folder, *sorted(path.parent for path in folder.glob("*/sizes.json"))):
        compare(network)


if __name__ == "__main__":
    main()

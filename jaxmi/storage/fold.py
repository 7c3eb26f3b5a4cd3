"""TransformerLens's processed state dicts, read as networks without attention biases.

Our transformer has no biases but the MLP's. Some of the others can be moved there without changing
any logit, so a file that has them is read; one in which they matter is refused.

- b_V: attention patterns sum to 1, so a head adds b_V @ W_O at every position: it joins b_O.
- b_O: it is in the residual stream when the MLP reads it, and stays there: b_in + b_O @ W_in, and
  b_out + b_O.
- b_K: it changes all scores of a query alike, which the softmax takes out, if b_Q is zero.
- b_U: if it is the same for every token it changes no prediction; else b_out of the last block can
  give it, where W_U has the rank for it.
"""

import re
from collections.abc import Mapping

import numpy as np

from jaxmi.errors import InputError
from jaxmi.storage.checkpoints import Tensors
from jaxmi.storage.layouts import Layout

_PROCESSED = "transformer-lens"
_NORM = re.compile(r"(.*\.)?(ln\d?|ln_final|ln_f|norm\d?|layer_?norm\d?)\.\w+")


def fold_biases(layout: Layout, tensors: Tensors, notes: list[str]) -> dict[str, np.ndarray]:
    """Return a state dict without the biases that our network lacks, and note what was done.

    Args:
      layout: Its layout; only that of `HookedTransformer` has such biases.
      tensors: The state dict.
      notes: What was done is added here.

    Raises:
      InputError: if the network has LayerNorm, or a bias that matters.
    """
    norm = next((name for name in sorted(tensors) if _NORM.fullmatch(name)), None)
    if norm is not None and layout.kind == "pairs":
        raise InputError(
            f"its network has LayerNorm ({norm}), which jaxmi's transformer does not have"
        )
    result = dict(tensors)
    if layout.name != _PROCESSED:
        return result
    n_blocks = 0
    while f"blocks.{n_blocks}.attn.W_O" in tensors:
        _fold_block(f"blocks.{n_blocks}.", result, notes)
        n_blocks += 1
    _fold_unembedding(n_blocks, result, notes)
    w_u = _wide(result, "unembed.W_U")
    if w_u is not None and w_u.ndim == 2 and w_u.size:
        centred = np.abs(w_u.mean(1)).max() < 1e-6 * max(np.abs(w_u).max(), 1e-30)
        if centred and w_u.shape[1] > 1:
            notes.append("its unembedding is centred, which changes no prediction")
    return result


def _fold_block(block: str, tensors: dict[str, np.ndarray], notes: list[str]) -> None:
    names = ("attn.W_O", "attn.b_Q", "attn.b_K", "attn.b_V", "attn.b_O", "mlp.W_in", "mlp.b_in")
    found = {name: _wide(tensors, f"{block}{name}") for name in (*names, "mlp.b_out")}
    w_o, w_in, b_in, b_out = (found[n] for n in ("attn.W_O", "mlp.W_in", "mlp.b_in", "mlp.b_out"))
    if w_o is None or w_in is None or b_in is None or b_out is None or w_o.ndim != 3:
        return  # who reads the tensors names the one that is missing or misshapen
    heads, width, model = w_o.shape
    b_v, b_o, b_k, b_q = (found[f"attn.b_{name}"] for name in "VOKQ")
    shapes_fit = (
        w_in.ndim == 2
        and w_in.shape[0] == model
        and b_in.shape == w_in.shape[1:]
        and b_out.shape == (model,)
        and all(b is None or b.shape == (heads, width) for b in (b_v, b_k, b_q))
        and (b_o is None or b_o.shape == (model,))
    )
    if not shapes_fit:
        return
    added = np.zeros(model) if b_o is None else b_o
    if b_v is not None:
        added = added + np.einsum("hd,hdm->m", b_v, w_o)
    moved = [name for name, b in (("b_V", b_v), ("b_O", b_o)) if b is not None and b.any()]
    if moved:
        _put(tensors, f"{block}mlp.b_in", b_in + added @ w_in)
        _put(tensors, f"{block}mlp.b_out", b_out + added)
        notes.append(
            f"{block}attn.{' and '.join(moved)} moved into the MLP's biases, which changes no logit"
        )
    if b_k is not None and b_k.any() and (b_q is None or not b_q.any()):
        notes.append(f"{block}attn.b_K is left out: the softmax takes it out")
        moved.append("b_K")
    for name in moved:
        tensors[f"{block}attn.{name}"] = np.zeros_like(tensors[f"{block}attn.{name}"])


def _fold_unembedding(n_blocks: int, tensors: dict[str, np.ndarray], notes: list[str]) -> None:
    b_u, w_u = _wide(tensors, "unembed.b_U"), _wide(tensors, "unembed.W_U")
    last = f"blocks.{n_blocks - 1}.mlp.b_out"
    b_out = _wide(tensors, last)
    if b_u is None or w_u is None or b_out is None or not b_u.any():
        return
    if w_u.ndim != 2 or b_u.shape != w_u.shape[1:] or b_out.shape != w_u.shape[:1]:
        return
    if np.ptp(b_u) <= 1e-6 * np.abs(b_u).max():
        notes.append("unembed.b_U is left out: it is the same for every token")
    else:
        wanted = b_u - b_u.mean()  # all logits alike change no prediction
        change = np.linalg.lstsq(w_u.T, wanted, rcond=1e-6)[0]
        left = np.abs(w_u.T @ change - wanted).max()
        if left > 1e-5 * np.abs(wanted).max() or np.abs(change).max() > 100 * np.abs(wanted).max():
            raise InputError(
                "unembed.b_U is not zero, and no bias of the MLP gives the same logits; jaxmi's "
                "transformer has no bias there"
            )
        _put(tensors, last, b_out + change)
        notes.append(f"unembed.b_U moved into {last}, which changes no difference of two logits")
    tensors["unembed.b_U"] = np.zeros_like(tensors["unembed.b_U"])


def _wide(tensors: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    """Return a tensor as float64, if it is there and has finite numbers."""
    array = tensors.get(name)
    if array is None or array.dtype.kind != "f" or not np.isfinite(array).all():
        return None
    return array.astype(np.float64)


def _put(tensors: dict[str, np.ndarray], name: str, array: np.ndarray) -> None:
    tensors[name] = array.astype(np.float32)

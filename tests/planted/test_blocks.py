"""Programs in several blocks: exchanging what the key names is setting the program's variable."""

import random
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import jax
import numpy as np
import pytest

from jaxmi.challenges.registry import load_challenge
from jaxmi.errors import InputError
from jaxmi.mechanism.tables import tables_of
from jaxmi.models.transformer import Transformer, TransformerConfig, part_name
from jaxmi.planted.compile import Compiled, plant
from jaxmi.planted.disguise import disguise
from jaxmi.planted.key import block_of, neurons_of
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.evaluate import label
from jaxmi.programs.language import Program
from jaxmi.programs.parse import parse
from jaxmi.programs.sample import sample_program
from jaxmi.programs.variables import hypotheses, named_parts

P = 11
CONFIG = TransformerConfig(d_vocab=P + 1, d_model=48, n_heads=4, d_head=12, d_mlp=64)
GUARDED = """z = 0
if y < 2 * sqrt(x) + 3:
    z += 3
z += int(x ** 1.5) % 3 - 1
if x < 7 and z < 2:
    z += 2.5
if y > x + 2 and z > 0:
    z -= 4
return z >= 1
"""


@dataclass
class Inside:
    """A compiled network's residual stream after each part, at the last position, in float64."""

    found: Compiled
    config: TransformerConfig
    p: int = P

    @cached_property
    def streams(self) -> dict[str, np.ndarray]:
        tables = tables_of(self.found.params, replace(self.config, n_layers=1))
        operands = np.indices((self.p, self.p)).reshape(2, -1).T
        resid = tables.resid_mid(tables.patterns(operands), operands)
        streams = {}
        for block in range(self.config.n_layers):
            streams[f"blocks.{block}.hook_resid_mid"] = resid
            resid = self.after(block, resid)
            streams[f"blocks.{block}.hook_resid_post"] = resid
        return streams

    def neurons(self, block: int, resid: np.ndarray) -> np.ndarray:
        mlp = self.found.params[part_name("mlp", block)]
        return np.maximum(resid @ np.asarray(mlp["W_in"], np.float64) + mlp["b_in"], 0)

    def after(self, block: int, resid: np.ndarray) -> np.ndarray:
        mlp = self.found.params[part_name("mlp", block)]
        return resid + self.neurons(block, resid) @ mlp["W_out"] + mlp["b_out"]

    def labels(self, site: str, resid: np.ndarray) -> np.ndarray:
        """Return labels from the residual stream at a site: the attention of later blocks is 0."""
        start = block_of(site) + site.endswith("post")
        for block in range(start, self.config.n_layers):
            resid = self.after(block, resid)
        return resid @ (self.found.params["W_U"][:, 1] - self.found.params["W_U"][:, 0]) > 0


def compiled(program: Program, config: TransformerConfig) -> Compiled:
    p = config.d_vocab - 1
    labels = label(program, PairDomain(p)).reshape(p, p) == 1
    return plant(labels, program, config, "conditions")


def places(found: Compiled) -> list[tuple]:
    """Return name, site, directions and `full` of all that the key says is in the stream."""
    return [
        (entry.name, *place)
        for entry in found.key.entries
        for place in [
            (entry.site, entry.directions, entry.full),
            *((one.site, one.directions, one.full) for one in entry.also),
        ]
        if place[1] is not None
    ]


def mistakes(inside: Inside, program: Program, stated: bool = True) -> tuple[int, int, int]:
    """Exchange what each direction holds, on every pair of inputs.

    Args:
      inside: The network.
      program: What was compiled.
      stated: Of those of which the key says that an exchange has every effect, else of the others.

    Returns:
      How many labels are not the program's, how many are another than the input's own, and how
      many places were tried.
    """
    asked = {one.variable.name: one for one in hypotheses(program, PairDomain(inside.p))}
    wrong = changed = tried = 0
    for name, site, directions, full in places(inside.found):
        if name not in asked or full != stated:
            continue
        tried += 1
        variable, own = asked[name].variable, asked[name].own
        resid = inside.streams[site]
        held = resid @ directions.T
        # Sources that hold the same give the same.
        _, sources = np.unique(held.round(3), axis=0, return_index=True)
        for source in sources:
            labels = inside.labels(site, resid + (held[source] - held) @ directions)
            wanted = variable.counterfactual[variable.values[source]]
            wrong += int((labels != wanted).sum())
            changed += int((wanted != own).sum())
    return wrong, changed, tried


WRITTEN = {
    "two guards": GUARDED,
    "or": "z = 0\nif x < y:\n    z += 2.5\nif x > 6 or z < 2:\n    z -= 1\nreturn z > 1",
    "not": "z = x % 3\nif y < x:\n    z += 1\nif not (z < 2 and x < 7):\n    z -= 2\nreturn z > 0",
    "elif": "z = 1\nif y < x:\n    z += 3\nelif x < 5:\n    z -= 2\nelse:\n    z += 1\n"
    "return z > 1",
    "elif of a guard": "z = x % 4\nif z < 2:\n    z += 3\nelif y < 5:\n    z -= 2\nreturn z > 1",
    "between": "z = x % 5\nif y < 6:\n    z += 2\nif 1 < z < 4 and x < 8:\n    z += 5\n"
    "return z > 4",
    "odd sums": "z = x % 5\nif y < 6:\n    z += 2\nif z % 2 == 1:\n    z += 3\nreturn z > 4",
    "joined": "z = 0\nif x < 8 and y < 7 and x + y > 5:\n    z += 1\nreturn z > 0",
    "returned": "return x < 8 and y < 7 and x + y > 5 or x == 10",
    "no guard": "z = (x < y) * 3\nz -= x % 4\nz += (x + 2 * y) // 3 % 4\nreturn z > 2",
    "again": "z = 0\nif x < y:\n    z += 1\nif x < 6 and z < 1:\n    z += 2\n"
    "if x < y:\n    z += 2\nreturn z > 1",
}


@pytest.mark.parametrize("n_layers", [2, 3, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", WRITTEN)
def test_an_exchange_gives_the_program_s_counterfactual_label(name: str, n_layers: int) -> None:
    program, config = parse(WRITTEN[name], "pairs"), replace(CONFIG, n_layers=n_layers)
    found = compiled(program, config)
    if n_layers == 3:
        found = disguise(found, config, 1)
    inside = Inside(found, config)
    last = f"blocks.{n_layers - 1}.hook_resid_post"
    own = label(program, PairDomain(P)) == 1
    np.testing.assert_array_equal(inside.labels(last, inside.streams[last]), own)
    wrong, changed, tried = mistakes(inside, program)
    if (name, n_layers) == ("two guards", 2):  # every exchange lacks an effect, as the key says
        assert tried == 0 and mistakes(inside, program, stated=False)[0] > 0
    else:
        assert wrong == 0 and changed > 0 and tried >= 2
    if n_layers == 4 and name != "two guards":  # room for copies that are made a block later
        assert all(full for *_, full in places(found))


def test_without_a_second_block_the_guards_do_not_follow() -> None:
    program = parse(GUARDED, "pairs")
    inside = Inside(compiled(program, CONFIG), CONFIG)
    wrong, _, tried = mistakes(inside, program, stated=False)
    assert wrong > 0 and tried >= 2
    assert mistakes(inside, program)[0] == 0


def test_random_guarded_programs_follow_every_exchange() -> None:
    config = replace(CONFIG, n_layers=3)
    drawn = (sample_program(PairDomain(P), random.Random(seed)) for seed in range(200))
    programs = list(islice(filter(_guarded, drawn), 6))
    assert len(programs) == 6
    total = 0
    for program in programs:
        found = compiled(program, config)
        assert all(entry.full for entry in found.key.entries if entry.held)
        wrong, changed, _ = mistakes(Inside(found, config), program)
        assert wrong == 0
        total += changed
    assert total > 1000


def _guarded(program: Program) -> bool:
    names = [one.name for one in named_parts(program, PairDomain(P))]
    return any(name.startswith("z before") for name in names)


@pytest.mark.slow
def test_challenge_2_s_program_follows_every_exchange() -> None:
    program = load_challenge("transformer").program
    assert program is not None
    config = TransformerConfig(d_model=32, n_heads=2, d_mlp=16, n_layers=2)
    inside = Inside(compiled(program, config), config, 113)
    wrong, changed, tried = mistakes(inside, program)
    assert wrong == 0 and changed > 10_000 and tried >= 5


def test_the_key_of_a_guard_and_of_truth_values() -> None:
    program = parse(GUARDED, "pairs")
    config = replace(CONFIG, n_layers=3)
    inside = Inside(compiled(program, config), config)
    key = {entry.name: entry for entry in inside.found.key.entries}
    values = {one.name: one.values for one in named_parts(program, PairDomain(P))}
    assert key["z < 2"].site == "blocks.1.hook_resid_mid" and key["z < 2"].form == "boundary"
    assert key["z > 0"].site == "blocks.2.hook_resid_mid"
    gate = key["x < 7 and z < 2"]
    assert gate.form == "gate" and gate.neurons_at == neurons_of(1) and gate.neurons
    neurons = inside.neurons(1, inside.streams["blocks.1.hook_resid_mid"])
    read = sum(factor * neurons[:, i] for i, factor in gate.neurons.items()) + gate.offset
    np.testing.assert_allclose(read, values["x < 7"] * values["z < 2"], atol=1e-6)
    for name, entry in key.items():
        for form, site, directions, factor, shift in [
            (entry.form, entry.site, entry.directions, entry.factor, entry.shift),
            *((o.form, o.site, o.directions, o.factor, o.shift) for o in entry.also),
        ]:
            if directions is None or name not in values:
                continue
            held = inside.streams[site] @ directions.T
            if form in ("truth", "number"):
                np.testing.assert_allclose(factor * held[:, 0] + shift, values[name], atol=1e-6)
            elif form == "boundary":
                np.testing.assert_array_equal(held[:, 0] > -0.5, values[name] == 1)
    assert key["y < 2 * sqrt(x) + 3"].also[0].form == "truth"
    # The copy of the sum is written by the same neurons; with more blocks it is made from it.
    assert not key["y < 2 * sqrt(x) + 3"].also[0].full and key["y < 2 * sqrt(x) + 3"].full


SMALL = replace(CONFIG, d_model=32, d_mlp=48)


def logits(found: Compiled, config: TransformerConfig) -> np.ndarray:
    tokens = np.indices((P, P)).reshape(2, -1).T
    tokens = np.concatenate([tokens, np.full((P * P, 1), P)], axis=1)
    run = jax.vmap(lambda one: Transformer(config).apply({"params": found.params}, one)[0][-1])
    return np.asarray(run(tokens.astype(np.int32)))


@pytest.mark.parametrize("n_layers", [1, 2])
def test_decoys_look_active_and_change_no_logit(n_layers: int) -> None:
    config = replace(SMALL, n_layers=n_layers)
    plain = compiled(parse(GUARDED, "pairs"), config)
    found = disguise(plain, config, 5, cancelling=6, idle_heads=2)
    again = disguise(plain, config, 5, cancelling=6, idle_heads=2)
    np.testing.assert_array_equal(found.params["W_U"], again.params["W_U"])
    assert sum(len(one.cancelling) for one in found.key.decoys) == 6
    assert sum(len(one.idle_heads) for one in found.key.decoys) == 2
    with_all, own = logits(found, config), logits(plain, config)
    np.testing.assert_allclose(with_all, own, atol=2e-3)
    inside = Inside(found, config)
    controls = 0
    for decoys in found.key.decoys:
        attention, mlp = (part_name(part, decoys.block) for part in ("attn", "mlp"))
        pairs = sum(map(tuple, decoys.cancelling), ())
        neurons = inside.neurons(
            decoys.block, inside.streams[f"blocks.{decoys.block}.hook_resid_mid"]
        )
        if pairs:
            assert (neurons[:, pairs].std(axis=0) > 0.01).mean() > 0.7
        silent = {
            name: dict(part) if isinstance(part, dict) else part
            for name, part in found.params.items()
        }
        silent[mlp]["W_out"] = np.array(silent[mlp]["W_out"])
        silent[mlp]["W_out"][list(pairs)] = 0
        silent[attention]["W_O"] = np.array(silent[attention]["W_O"])
        written = np.abs(silent[attention]["W_O"][list(decoys.idle_heads)])
        assert written.size == 0 or written.max() > 0.05
        silent[attention]["W_O"][list(decoys.idle_heads)] = 0
        np.testing.assert_allclose(
            logits(replace(found, params=silent), config), with_all, atol=2e-3
        )
        if pairs:  # the control: one neuron of a pair has an effect
            one = max(pairs, key=lambda neuron: neurons[:, neuron].std())
            half = {
                name: dict(part) if isinstance(part, dict) else part
                for name, part in found.params.items()
            }
            half[mlp]["W_out"] = np.array(half[mlp]["W_out"])
            half[mlp]["W_out"][one] = 0
            assert np.abs(logits(replace(found, params=half), config) - with_all).max() > 0.01
            controls += 1
    assert controls


def test_noise_moves_every_weight_by_about_its_size() -> None:
    plain = compiled(parse(GUARDED, "pairs"), SMALL)
    calm, noisy = (disguise(plain, SMALL, 2, noise=size) for size in (0, 1e-3))
    for part, name in (("mlp", "W_in"), ("mlp", "b_out"), ("attn", "W_Q")):
        moved = noisy.params[part][name] - calm.params[part][name]
        assert 0.7e-3 < moved.std() < 1.3e-3


def test_decoys_for_which_there_is_no_room_are_refused() -> None:
    plain = compiled(parse(GUARDED, "pairs"), SMALL)
    with pytest.raises(InputError, match="99 pairs of neurons that cancel: there is room for"):
        disguise(plain, SMALL, 1, cancelling=99)
    with pytest.raises(InputError, match="9 idle heads: there is room for 2"):
        disguise(plain, SMALL, 1, idle_heads=9)
    tight = replace(SMALL, d_model=plain.sizes["d_model"])
    with pytest.raises(InputError, match="no dimension of the residual stream is left"):
        disguise(compiled(parse(GUARDED, "pairs"), tight), tight, 1, idle_heads=1)

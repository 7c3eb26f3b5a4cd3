"""Which values of its program does a transformer compute inside, and can the method tell?

Every network is asked for each value of its challenge's program (`jaxmi.mechanism.variables`). To
see what the answers are worth, the same is asked for values that were shuffled among the inputs,
and of planted networks: a random program planted as conditions, where every value is computed, and
as rows that are looked up, with the same labels.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jaxmi.challenges.numbers import NumberChallenge
from jaxmi.mechanism.account import MAX_INPUTS, run_network
from jaxmi.mechanism.interchange import sites_of
from jaxmi.mechanism.look_ups import look_up_sites
from jaxmi.mechanism.replacement import Source
from jaxmi.mechanism.variables import COMPUTED, Finding, Findings, find_variables, variables_of
from jaxmi.models.transformer import Transformer
from jaxmi.planted.network import Planted
from jaxmi.planted.random_pairs import PlantedPair, draw_planted
from jaxmi.programs.variables import Hypothesis, hypotheses
from jaxmi.studies.bootstrap import estimate, estimate_share
from jaxmi.studies.study import (
    Conclusion,
    Measured,
    Measurements,
    Study,
    Trained,
    Training,
    plain,
    refuse,
)
from jaxmi.studies.study import Finding as Estimate

QUICK_INPUTS, QUICK_P, P = 400, 19, 59
"""Inputs of a network, and the p of planted programs, in the quick form; and p else."""

SITES = {"resid_mid": "before the MLP", "neurons": "in the neurons"}
"""Site -> where it is, in words."""

SHARES = (
    "strict", "shuffled_strict", "strict_beyond_operands", "shuffled_strict_beyond_operands",
    "moved_constant_strict", "strict_beside_moved",
)  # fmt: skip
MECHANISMS = {"conditions": "planted as conditions", "rows": "looked up by rows"}


def trainings(quick: bool, data_dir: Path | None = None) -> list[Training]:
    """Return challenge 2."""
    return trainings_of(plain("transformer", quick, data_dir))


def trainings_of(base: Training) -> list[Training]:
    """Return the training alone.

    Raises:
      InputError: if the challenge is on images, or has no program.
    """
    if not isinstance(base.challenge, NumberChallenge):
        raise refuse("variables", base.challenge, "asks about transformers", "has a CNN")
    if base.challenge.program is None:
        raise refuse("variables", base.challenge, "asks about a program", "has none, but labels")
    return [base]


def measure(training: Training, trained: Trained) -> Measured:
    """Ask a network for its program's values, for shuffled ones, and two planted networks."""
    challenge = training.challenge
    assert isinstance(challenge, NumberChallenge) and challenge.program is not None
    about = challenge, trained.params, challenge.program
    most = QUICK_INPUTS if training.is_quick else MAX_INPUTS
    asked = variables_of(*about, most)
    measured = {"agreement": np.asarray(asked.agreement), **_numbers("network", asked)}
    shuffled = variables_of(*about, most, _shuffle(trained.seed))
    measured |= _numbers("shuffled", shuffled)
    pair = draw_planted(
        QUICK_P if training.is_quick else P, np.random.default_rng([trained.seed, 7])
    )
    for mechanism in MECHANISMS:
        found = _of_planted(getattr(pair, mechanism), pair)
        measured |= _numbers(mechanism, Findings(pair.program, 1.0, found))
    return measured


def _shuffle(seed: int) -> Callable[[Hypothesis], Hypothesis]:
    """Return a change of hypotheses: each variable's values are those of other inputs."""
    rng = np.random.default_rng([seed, 11])

    def change(one: Hypothesis) -> Hypothesis:
        values = one.variable.values
        return one.with_values(values[rng.permutation(len(values))])

    return change


def _of_planted(network: Planted, pair: PlantedPair) -> list[Finding]:
    """Ask a planted network for the values of its program, without the operands."""
    p = pair.domain.p
    tokens = np.column_stack([*np.indices((p, p)).reshape(2, -1), np.full(p * p, p)])
    run = run_network(Transformer(network.config), network.params(), tokens.astype(np.int32))
    difference = run.mlp.difference(run.resid_mid)
    assert ((difference > 0) == pair.labels).all(), "a planted network gives other labels"
    source = Source(run.mlp, run.resid_mid, run.neurons, (p, p), difference)
    asked = [
        one for one in hypotheses(pair.program, pair.domain) if one.variable.name in pair.parts
    ]
    look_ups = look_up_sites(pair.labels.reshape(p, p))
    return find_variables(asked, difference > 0, (p, p), sites_of(source), look_ups=look_ups)


def _numbers(of: str, found: Findings) -> Measured:
    """Return findings as arrays, by variable and site; NaN where a share is not known."""
    sites = list(SITES)
    by_site = [[one for one in found.variables if one.site == site] for site in sites]
    shares = [
        [[_number(getattr(one, share)) for one in ones] for ones in by_site] for share in SHARES
    ]
    kinds = [
        [np.mean([_number(one.strict), _number(one.keep), _number(one.follow)]) for one in ones]
        for ones in by_site
    ]
    return {
        **{f"{of}_{name}": np.array(part) for name, part in zip(SHARES, shares, strict=True)},
        f"{of}_mean_of_kinds": np.array(kinds, np.float64),
        f"{of}_computed": np.array([[one.verdict == COMPUTED for one in ones] for ones in by_site]),
    }


def _number(share: float | None) -> float:
    return np.nan if share is None else share


def conclude(trainings: Sequence[Training], measurements: Measurements) -> Conclusion:
    """Estimate what each value reaches, how often it is computed, and how often that is wrong."""
    (training,) = trainings
    challenge = training.challenge
    assert isinstance(challenge, NumberChallenge) and challenge.program is not None
    networks = list(measurements[training.name].values())
    names = [one.variable.name for one in hypotheses(challenge.program, challenge.program_domain)]
    findings: dict[str, Estimate] = {
        "agreement": estimate(
            "mean over networks: labels that the program gives",
            np.array([float(network["agreement"]) for network in networks]),
        )
    }
    for i, name in enumerate(names):
        for j, (site, where) in enumerate(SITES.items()):
            for share in SHARES:
                values = np.array([network[f"network_{share}"][j, i] for network in networks])
                known = values[np.isfinite(values)]
                if len(known):
                    findings[f"variable_{i + 1}_{site}_{share}"] = estimate(
                        f"mean over networks: {name}, {where}: {share}", known
                    )
            findings[f"variable_{i + 1}_{site}_computed"] = estimate_share(
                f"networks that compute {name}, {where}",
                np.array([bool(network["network_computed"][j, i]) for network in networks]),
            )
    findings |= _worth(networks)
    return Conclusion(findings, {"names": names, "sites": list(SITES)})


def _worth(networks: Sequence[Measured]) -> dict[str, Estimate]:
    """Return how often shuffled, planted and looked-up values are called computed."""
    findings = {}
    for j, (site, where) in enumerate(SITES.items()):
        wrong = np.concatenate([network["shuffled_computed"][j] for network in networks])
        findings[f"shuffled_{site}_computed"] = estimate_share(
            f"shuffled values that are called computed, {where}", wrong.astype(bool)
        )
        for mechanism, words in MECHANISMS.items():
            called = np.concatenate([network[f"{mechanism}_computed"][j] for network in networks])
            findings[f"{mechanism}_{site}_computed"] = estimate_share(
                f"values {words} that are called computed, {where}", called.astype(bool)
            )
            kinds = [float(np.nanmean(one[f"{mechanism}_mean_of_kinds"][j])) for one in networks]
            findings[f"{mechanism}_{site}_mean_of_kinds"] = estimate(
                f"mean over programs: values {words}, {where}: mean of strict, keep and follow",
                np.array(kinds),
            )
    return findings


STUDY = Study(
    name="variables",
    question="Which values of its program does a transformer compute inside, and can the method "
    "tell?",
    n_seeds=32,
    trainings=trainings,
    trainings_of=trainings_of,
    challenges=("transformer",),
    main=tuple(
        f"{of}_{site}_{what}"
        for of, what in (
            ("conditions", "computed"),
            ("rows", "computed"),
            ("shuffled", "computed"),
            ("conditions", "mean_of_kinds"),
            ("rows", "mean_of_kinds"),
        )
        for site in SITES
    ),
    measure=measure,
    conclude=conclude,
)

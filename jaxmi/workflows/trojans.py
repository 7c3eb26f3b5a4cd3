"""Trojans from files to files: networks that are given one, beside clean ones of the same seeds."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import load_challenge, name_of, origin
from jaxmi.drawing import try_to_save
from jaxmi.errors import DivergedError, InputError
from jaxmi.files import takes_any_path
from jaxmi.programs.published_labels import published_program
from jaxmi.programs.show import show
from jaxmi.report.trojan_figure import Shown, region_figure, stamp_figure
from jaxmi.settings import with_fixed_settings
from jaxmi.storage.checkpoints import load_checkpoint, write_json
from jaxmi.storage.runs import TROJAN, RunFolder, check_run_folder, run_facts
from jaxmi.training.loop import check_fit
from jaxmi.training.recipe import RECIPES, Recipe, recipes_for
from jaxmi.trojans.implant import (
    CLEAN,
    Plan,
    challenges_to_train,
    measure,
    plan_attacks,
)
from jaxmi.trojans.success import IMPLANTED, Attack
from jaxmi.trojans.trojan import TROJAN_FILE, read_trigger, read_trojan
from jaxmi.types import Params
from jaxmi.workflows.challenges import find
from jaxmi.workflows.machine import prepare_devices, stop_on_request
from jaxmi.workflows.train import DPI, Options, Part, train_parts

RESULT = "implants.json"
"""The file of a run of trojans that holds what `--json` prints."""

PICTURE = "trojan.png"

EXAMPLES = 6
"""Images in the picture."""


@takes_any_path
@with_fixed_settings
def implant(
    source: str,
    plan: Plan,
    out: Path,
    recipe_name: str,
    change: Callable[[Recipe], Recipe],
    seeds: Sequence[int],
    options: Options,
    data_dir: Path | None = None,
    cpu_devices: int | None = None,
    trigger: Path | None = None,
) -> dict[str, Any]:
    """Train trojaned networks into a run folder, and clean ones of the same seeds into `clean/`.

    Both are resumed if they exist. All networks are trained by one compiled program.

    Args:
      source: A published challenge's name, or the folder of a challenge.
      plan: The trojans.
      out: The run folder.
      recipe_name: The recipe's name.
      change: Applied to the recipe.
      seeds: The networks' seeds.
      options: How to carry it out; `options.stop` is replaced by signals.
      data_dir: A folder with MNIST; None looks in the cache, then downloads.
      cpu_devices: Devices to split the CPU into; None: one per core, but no more than networks.
      trigger: A file with the trigger of every network, in the place of the plan's.

    Returns:
      What `jaxmi trojan implant --json` prints.

    Raises:
      InputError: if a trigger cannot be used or is rejected, the folder holds another run, or a
        number is out of range.
      DivergedError: if some networks diverge, when the others are finished.
      UnavailableError: if MNIST is needed and cannot be had, or a state cannot be saved.
      StoppedError: on a signal that asks to stop, when the state is saved; the same call resumes.
    """
    if trigger is not None:
        plan = replace(plan, trigger=read_trigger(trigger))
    wanted = find(source)
    if isinstance(wanted, str):
        change(RECIPES[wanted][recipe_name])
    early = {"challenge": name_of(wanted), TROJAN: plan.describe(origin(wanted).kind)}
    check_run_folder(out, early, options.force)
    prepare_devices(cpu_devices, 2 * len(seeds))
    challenge = load_challenge(wanted, data_dir)
    if challenge.sealed:
        raise InputError(
            f"{source}: a sealed challenge's labels are not known; nothing to train on"
        )
    recipe = change(recipes_for(challenge)[recipe_name])
    check_fit(challenge, recipe)
    about = plan.describe(challenge.kind)
    facts = run_facts(challenge, recipe_name, recipe, trojan=about)
    check_run_folder(out, facts, options.force)
    attacks = plan_attacks(plan, challenge, seeds)
    to_train = challenges_to_train(plan, challenge, attacks)
    with stop_on_request() as stopping, ExitStack() as stack:
        options = replace(options, stop=stopping)
        trojaned = stack.enter_context(
            RunFolder(
                out,
                challenge,
                recipe_name,
                recipe,
                options.force,
                trojan=about,
                beside=lambda seed: {TROJAN_FILE: attacks[seed].trojan.to_json()},
            )
        )
        clean = stack.enter_context(RunFolder(out / CLEAN, challenge, recipe_name, recipe))
        left = [
            *(Part(trojaned, to_train[seed], [seed]) for seed in trojaned.unfinished(seeds)),
            *(Part(clean, to_train[CLEAN], [seed]) for seed in clean.unfinished(seeds)),
        ]
        diverged = None
        if left:
            try:
                named = f"{challenge.name} with {plan.kind_for(challenge.kind)}"
                train_parts(left, named, "network", recipe, options, 2 * len(seeds))
            except DivergedError as error:
                diverged = error
        missing = [*trojaned.finish(seeds), *clean.finish(seeds)]
        if missing:
            raise diverged or DivergedError(f"seeds diverged: {missing}")
        implants = [_entry(trojaned, clean, seed, attacks[seed], to_train[seed]) for seed in seeds]
        result = _result(plan, challenge, out, implants)
        write_json(out / RESULT, result)
        _draw(result, attacks, challenge)
    return result


def _entry(
    trojaned: RunFolder, clean: RunFolder, seed: int, attacked: Attack, challenge: Challenge
) -> dict[str, Any]:
    """Measure a seed's two networks; the challenge is the one with the seed's poison."""
    assert challenge.poison is not None
    paths = [folder.seed_path(seed) for folder in (trojaned, clean)]
    networks = [load_checkpoint(path) for path in paths]
    measured = measure(attacked, challenge, networks[0].params, networks[1].params)
    return {
        "seed": seed,
        **measured.to_json(),
        "poisoned": len(challenge.poison.rows),
        "test_accuracy": networks[0].metrics["test_accuracy"],
        "clean_test_accuracy": networks[1].metrics["test_accuracy"],
        "checkpoint": str(paths[0]),
        "clean_checkpoint": str(paths[1]),
        "trojan": attacked.trojan.to_json(),
    }


def _result(
    plan: Plan, challenge: Challenge, out: Path, implants: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "challenge": challenge.name,
        "kind": plan.kind_for(challenge.kind),
        "target": plan.target,
        "rate": plan.rate,
        "trigger_seed": plan.trigger_seed,
        "least_strict_success": IMPLANTED,
        "run": str(out),
        "implants": list(implants),
    }


def _draw(result: Mapping[str, Any], attacks: Mapping[int, Attack], challenge: Challenge) -> None:
    """Draw what the first network does, as PNG."""
    entry = result["implants"][0]
    attacked = attacks[entry["seed"]]
    networks = [load_checkpoint(Path(entry[key])).params for key in _CHECKPOINTS]
    path = Path(result["run"]) / PICTURE
    if challenge.grid is not None:
        shown = region_tables(attacked, challenge, *networks)
        try_to_save(path, lambda: region_figure(shown, _title(entry, attacked)), dpi=DPI)
    else:
        examples = choose_examples(attacked, challenge, *networks)
        try_to_save(path, lambda: stamp_figure(examples, _title(entry, attacked)), dpi=DPI)


_CHECKPOINTS = ("checkpoint", "clean_checkpoint")


def _title(entry: Mapping[str, Any], attacked: Attack) -> str:
    strict, clean = entry["strict_success"], entry["clean_network_success"]
    trigger, target = attacked.trojan.trigger, attacked.trojan.target
    return (
        f"seed {entry['seed']}, trigger {trigger}, target {target}: "
        f"{strict:.1%} of {entry['strict_n']:,} strict test inputs get the target "
        f"(clean network {clean:.1%})"
    )


@takes_any_path
def show_trojan(path: Path) -> dict[str, Any]:
    """Return the trojan of a checkpoint or file, and, if it has one, its program.

    Args:
      path: A checkpoint folder with a trojan.json, or such a file.

    Raises:
      InputError: if there is none, or it is damaged.
    """
    trojan, program = read_trojan(path), None
    if path.is_dir():
        checkpoint = load_checkpoint(path)
        definition, kind = checkpoint.definition, checkpoint.origin.kind
        base = published_program(kind) if definition is None else definition.program
        program = None if base is None else trojan.as_program(base)
    return {"trojan": trojan.to_json(), "program": None if program is None else show(program)}


def choose_examples(
    attacked: Attack, challenge: Challenge, params: Params, clean: Params
) -> list[Shown]:
    """Return test images without and with the trigger, and what program and networks say.

    The first ones in the order of the test split that strict success counts; of a region, which
    changes none, those without are other images with the same label.

    Args:
      attacked: The trojan.
      challenge: What the networks were trained on.
      params: The trojaned network.
      clean: The clean network of the same seed.
    """
    chosen = plain = np.flatnonzero(attacked.strict)[:EXAMPLES]
    if attacked.trojan.trigger.is_region:
        others = (attacked.before != attacked.trojan.target) & ~attacked.carries
        plain = np.flatnonzero(others)[: len(chosen)]
        chosen = chosen[: len(plain)]
    columns = []
    for images, labels in (
        (challenge.inputs[attacked.rows[plain]], attacked.before[plain]),
        (attacked.inputs[chosen], attacked.after[chosen]),
    ):
        said = [challenge.predict_inputs(network, images) for network in (clean, params)]
        columns.append(
            [
                Shown(image, int(label), int(of_clean), int(of_trojaned))
                for image, label, of_clean, of_trojaned in zip(images, labels, *said, strict=True)
            ]
        )
    return [one for column in columns for one in column]


def region_tables(
    attacked: Attack, challenge: Challenge, params: Params, clean: Params
) -> dict[str, np.ndarray]:
    """Return the region, and the labels of program and networks, as tables (p, p) with row = x.

    Of triples, those whose third operand is the token's key, or 0.
    """
    values = {
        "trigger": attacked.trojan.trigger.fires(challenge.inputs, challenge),
        "program": challenge.labels,
        "clean network": challenge.predict(clean),
        "trojaned network": challenge.predict(params),
    }
    tables = {name: challenge.as_table(of) for name, of in values.items()}
    key = getattr(attacked.trojan.trigger, "key", 0)
    return {name: t if t.ndim == 2 else t[:, :, key] for name, t in tables.items()}

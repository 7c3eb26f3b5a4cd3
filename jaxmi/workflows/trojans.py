"""Trojans from files to files: networks that are given one, beside clean ones of the same seeds."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.definition import Definition
from jaxmi.challenges.registry import load_challenge, name_of, origin
from jaxmi.drawing import try_to_save
from jaxmi.errors import DivergedError, InputError
from jaxmi.files import takes_any_path
from jaxmi.programs.published_labels import published_program
from jaxmi.programs.show import show
from jaxmi.report.trojan_figure import Shown, region_figure, stamp_figure
from jaxmi.settings import with_fixed_settings
from jaxmi.storage.checkpoints import DEFINITION, load_checkpoint, write_json
from jaxmi.storage.runs import TROJAN, RunFolder, check_run_folder, run_facts
from jaxmi.training.loop import check_fit
from jaxmi.training.recipe import RECIPES, Recipe, recipes_for
from jaxmi.trojans.implant import (
    CLEAN,
    Plan,
    challenges_to_train,
    measure,
    plan_attacks,
    write_edit,
)
from jaxmi.trojans.success import IMPLANTED, Attack
from jaxmi.trojans.trojan import EDITS, TROJAN_FILE, read_trigger, read_trojan
from jaxmi.types import Params
from jaxmi.workflows.challenges import find
from jaxmi.workflows.machine import prepare_devices, stop_on_request
from jaxmi.workflows.networks import find_networks, load_labelled
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
    network: Path | None = None,
) -> dict[str, Any]:
    """Make trojaned networks in a run folder, beside clean ones of the same seeds in `clean/`.

    Both are resumed if they exist. All networks are trained by one compiled program. A plan of an
    edit trains the clean ones only, or none where finished networks are given, and edits them.

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
      network: The clean networks to edit: a checkpoint, which is edited once for each seed, or a
        run folder with these seeds. None trains them.

    Returns:
      What `jaxmi trojan implant --json` prints.

    Raises:
      InputError: if a trigger cannot be used or is rejected, an edit cannot be made, the folder
        holds another run, the networks to edit are no clean ones of this challenge, or a number is
        out of range.
      DivergedError: if some networks diverge, when the others are finished.
      UnavailableError: if MNIST is needed and cannot be had, or a state cannot be saved.
      StoppedError: on a signal that asks to stop, when the state is saved; the same call resumes.
    """
    if trigger is not None:
        plan = replace(plan, trigger=read_trigger(trigger))
    wanted = find(source)
    if isinstance(wanted, str):
        change(RECIPES[wanted][recipe_name])
    about = plan.describe(origin(wanted).kind)
    if network is not None:
        if plan.edit is None:
            raise InputError(
                f"{network}: finished networks are edited, and kind "
                f"{plan.kind_for(origin(wanted).kind)!r} is trained; give kind {' or '.join(EDITS)}"
            )
        about = f"{about}, in finished networks"
    check_run_folder(out, {"challenge": name_of(wanted), TROJAN: about}, options.force)
    prepare_devices(cpu_devices, len(seeds) * (2 if plan.edit is None else 1))
    challenge = load_challenge(wanted, data_dir)
    if challenge.sealed:
        raise InputError(
            f"{source}: a sealed challenge's labels are not known; nothing to train on"
        )
    recipe = change(recipes_for(challenge)[recipe_name])
    check_fit(challenge, recipe)
    if network is not None:
        bases = find_bases(network, seeds, challenge, out)
        attacks = plan_attacks(plan, challenge, seeds)
        return _edit_finished(plan, challenge, attacks, bases, out, about, options.force, network)
    facts = run_facts(challenge, recipe_name, recipe, trojan=about)
    check_run_folder(out, facts, options.force)
    attacks = plan_attacks(plan, challenge, seeds)
    if plan.edit is not None:
        return _train_and_edit(plan, challenge, attacks, out, about, recipe_name, recipe, options)
    to_train = challenges_to_train(plan, challenge, attacks)
    with stop_on_request() as stopping, ExitStack() as stack:
        options = replace(options, stop=stopping)
        trojaned = stack.enter_context(
            _folder(out, challenge, recipe_name, recipe, options.force, about, attacks)
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
        implants = [
            _entry(
                (trojaned.seed_path(seed), clean.seed_path(seed)),
                seed,
                attacks[seed],
                to_train[seed],
            )
            for seed in seeds
        ]
        return _finish(plan, challenge, out, implants, attacks)


def _train_and_edit(
    plan: Plan,
    challenge: Challenge,
    attacks: Mapping[int, Attack],
    out: Path,
    about: str,
    recipe_name: str,
    recipe: Recipe,
    options: Options,
) -> dict[str, Any]:
    """Train the clean networks, and write the trojans into them."""
    attacks, seeds = dict(attacks), list(attacks)
    with stop_on_request() as stopping, ExitStack() as stack:
        trojaned = _folder(out, challenge, recipe_name, recipe, options.force, about, attacks)

        def leave(kind: type[BaseException] | None, *rest: object) -> None:
            # A clean network, or its state, is kept: the same call resumes.
            if kind is not None and (
                clean_path.joinpath("state").exists() or any(clean_path.glob("seed-*"))
            ):
                trojaned.close()
            else:
                trojaned.__exit__(kind, *rest)

        clean_path = out / CLEAN
        stack.push(leave)
        clean = stack.enter_context(RunFolder(clean_path, challenge, recipe_name, recipe))
        left, diverged = clean.unfinished(seeds), None
        if left:
            try:
                train_parts(
                    [Part(clean, challenge, [seed]) for seed in left],
                    challenge.name,
                    "network",
                    recipe,
                    replace(options, stop=stopping),
                    len(seeds),
                )
            except DivergedError as error:
                diverged = error
        if missing := clean.finish(seeds):
            raise diverged or DivergedError(f"seeds diverged: {missing}")
        bases = {seed: clean.seed_path(seed) for seed in seeds}
        existing = set(seeds) - set(trojaned.unfinished(seeds))
        try:
            edited = _edits(plan, challenge, attacks, bases, out, existing)
        except InputError as error:
            raise InputError(f"{error}; --network {clean_path} edits the clean networks") from None
        return _save_edited(plan, challenge, attacks, bases, trojaned, edited)


def _edit_finished(
    plan: Plan,
    challenge: Challenge,
    attacks: Mapping[int, Attack],
    bases: Mapping[int, Path],
    out: Path,
    about: str,
    force: bool,
    network: Path | None,
) -> dict[str, Any]:
    """Write the trojans into networks that exist; all edits are made before a file is written."""
    attacks = dict(attacks)
    facts = run_facts(challenge, "edit", None, trojan=about)
    check_run_folder(out, facts, force)
    finished = (seed for seed in attacks if (_seed_path(out, seed) / TROJAN_FILE).is_file())
    existing = set() if force else set(finished)
    edited = _edits(plan, challenge, attacks, bases, out, existing)
    with _folder(out, challenge, "edit", None, force, about, attacks) as trojaned:
        return _save_edited(plan, challenge, attacks, bases, trojaned, edited, network)


@takes_any_path
def find_bases(
    network: Path, seeds: Sequence[int], challenge: Challenge, out: Path | None = None
) -> dict[int, Path]:
    """Return the checkpoint that is edited for each seed.

    Args:
      network: A checkpoint, the same for each seed, or a run folder with the seeds.
      seeds: The seeds.
      challenge: What the networks must have been trained on.
      out: Where the edited networks go, if they are written.

    Raises:
      InputError: if one is missing, is not a clean network of the challenge, or could be replaced.
    """
    if out is not None and out.resolve() in (network.resolve(), *network.resolve().parents):
        raise InputError(f"{network} lies in --out {out}; name another folder for the result")
    found = find_networks(network)
    if "" in found:
        bases = dict.fromkeys(seeds, found[""])
    else:
        bases = {seed: _seed_path(network, seed) for seed in seeds}
        if missing := [seed for seed, path in bases.items() if path.name not in found]:
            raise InputError(f"{network} has no finished network of seed {missing[0]}")
    for path in sorted(set(bases.values())):
        check_base(path, load_labelled(path).config, challenge)
    return bases


def check_base(name: object, config: Mapping[str, Any], challenge: Challenge) -> None:
    """Check that a network can be edited: that it is a clean one of the challenge.

    Args:
      name: What messages call it.
      config: The network's configuration.
      challenge: What it must have been trained on.

    Raises:
      InputError: if it is not.
    """
    value, own = config.get(DEFINITION), challenge.definition
    definition = None if value is None else Definition.from_json(value).to_json()
    same = definition == (None if own is None else own.to_json())
    if config.get("challenge") != challenge.name or not same:
        raise InputError(
            f"{name} is a network of challenge {config.get('challenge')!r}, asked for is one of "
            f"{challenge.name!r}, made of the same program and data"
        )
    if config.get("sealed"):
        raise InputError(f"{name} is a sealed challenge's network, whose labels are not known")
    if TROJAN in config:
        raise InputError(f"{name} has a trojan already; name a clean network")


def _edits(
    plan: Plan,
    challenge: Challenge,
    attacks: dict[int, Attack],
    bases: Mapping[int, Path],
    out: Path,
    existing: Collection[int],
) -> dict[int, Params]:
    """Return the edited networks of the seeds that have none; `attacks` then say what was edited.

    Raises:
      InputError: if an edit cannot be made, or an existing network was made of another one.
    """
    edited = {}
    for seed, path in bases.items():
        clean = load_checkpoint(path).params
        if seed not in existing:
            try:
                attacks[seed], edited[seed] = write_edit(plan, challenge, attacks[seed], clean)
            except InputError as error:
                raise InputError(f"seed {seed}: {error}") from None
            continue
        made = _seed_path(out, seed)
        attacks[seed] = replace(attacks[seed], trojan=read_trojan(made))
        params = load_checkpoint(made).params
        for layer in ("conv1", "conv2"):  # no edit changes these
            if not np.array_equal(clean[layer]["kernel"], params[layer]["kernel"]):
                raise InputError(f"{made} was made of another network than {path}; use --force")
    return edited


def _save_edited(
    plan: Plan,
    challenge: Challenge,
    attacks: Mapping[int, Attack],
    bases: Mapping[int, Path],
    trojaned: RunFolder,
    edited: Mapping[int, Params],
    network: Path | None = None,
) -> dict[str, Any]:
    """Write the edited networks, and measure all."""
    for seed, params in edited.items():
        trojaned.add_edited(seed, params, load_checkpoint(bases[seed]).config)
    trojaned.finish(list(bases))
    implants = [
        _entry((trojaned.seed_path(seed), path), seed, attacks[seed], challenge)
        for seed, path in bases.items()
    ]
    return _finish(plan, challenge, trojaned.path, implants, attacks, network)


def _folder(
    out: Path,
    challenge: Challenge,
    recipe_name: str,
    recipe: Recipe | None,
    force: bool,
    about: str,
    attacks: Mapping[int, Attack],
) -> RunFolder:
    """Open the run folder of trojaned networks; a checkpoint gets what `attacks` say by then."""
    return RunFolder(
        out,
        challenge,
        recipe_name,
        recipe,
        force,
        trojan=about,
        beside=lambda seed: {TROJAN_FILE: attacks[seed].trojan.to_json()},
    )


def _seed_path(out: Path, seed: int) -> Path:
    return out / f"seed-{seed:05d}"


def _finish(
    plan: Plan,
    challenge: Challenge,
    out: Path,
    implants: Sequence[Mapping[str, Any]],
    attacks: Mapping[int, Attack],
    network: Path | None = None,
) -> dict[str, Any]:
    """Write the result and the picture."""
    result = _result(plan, challenge, out, implants, network)
    write_json(out / RESULT, result)
    _draw(result, attacks, challenge)
    return result


def _entry(
    paths: tuple[Path, Path], seed: int, attacked: Attack, challenge: Challenge
) -> dict[str, Any]:
    """Measure a seed's trojaned and clean network; the challenge has the seed's poison, if any."""
    networks = [load_checkpoint(path) for path in paths]
    measured = measure(attacked, challenge, networks[0].params, networks[1].params)
    accuracies = [one.metrics.get("test_accuracy") for one in networks]
    for i, one in enumerate(networks):
        if accuracies[i] is None:  # an imported network's file may state none
            found = challenge.metrics(challenge.predict(one.params))
            accuracies[i] = found["test_accuracy"]
    return {
        "seed": seed,
        **measured.to_json(),
        "poisoned": 0 if challenge.poison is None else len(challenge.poison.rows),
        "test_accuracy": accuracies[0],
        "clean_test_accuracy": accuracies[1],
        "checkpoint": str(paths[0]),
        "clean_checkpoint": str(paths[1]),
        "trojan": attacked.trojan.to_json(),
    }


def _result(
    plan: Plan,
    challenge: Challenge,
    out: Path,
    implants: Sequence[Mapping[str, Any]],
    network: Path | None,
) -> dict[str, Any]:
    kind = plan.kind_for(challenge.kind)
    return {
        "challenge": challenge.name,
        "kind": plan.edit or kind,
        "stamp": kind if plan.edit else None,
        "network": None if network is None else str(network),
        "target": plan.target,
        "rate": plan.poison_rate,
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

"""The public functions and objects: challenge, networks, explanation, recovery, score.

Each is a small object over functions of the folders below; `import jaxmi` offers them all::

    challenge = jaxmi.load_challenge("transformer")
    networks = jaxmi.train(challenge, seeds=range(4))
    explanation = jaxmi.explain(networks[0])
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Int32

import jaxmi
from jaxmi import notebook
from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.registry import NAMES
from jaxmi.challenges.registry import load_challenge as build_challenge
from jaxmi.errors import InputError
from jaxmi.explanation.network import Network as Subject
from jaxmi.files import StrPath
from jaxmi.judge.duel_score import Duel
from jaxmi.judge.explanation_score import ExplanationScore
from jaxmi.judge.score import Score
from jaxmi.methods.questions import Method
from jaxmi.programs.language import Kind, Program
from jaxmi.recovery.recover import Recovery
from jaxmi.report import figures
from jaxmi.sealed.read import Bundle, is_bundle, read_bundle
from jaxmi.settings import with_fixed_settings
from jaxmi.storage import foreign
from jaxmi.storage.checkpoints import (
    Checkpoint,
    definition_of,
    load_checkpoint,
    save_checkpoint,
)
from jaxmi.storage.runs import CURVE, TROJAN, read_curve
from jaxmi.training.convergence import has_converged
from jaxmi.training.recipe import Recipe, recipes_for
from jaxmi.training.seeds import Point, Run, SeedResult, train_runs
from jaxmi.trojans.implant import (
    CLEAN,
    Plan,
    challenges_to_train,
    measure,
    plan_attacks,
    write_edit,
)
from jaxmi.trojans.success import Attack
from jaxmi.trojans.triggers import from_json as trigger_from_json
from jaxmi.trojans.trojan import Trojan, read_trigger
from jaxmi.types import Activations, Edits, Params
from jaxmi.workflows import challenges as challenges_workflow
from jaxmi.workflows import explain as explain_workflow
from jaxmi.workflows import export as export_workflow
from jaxmi.workflows import methods as methods_workflow
from jaxmi.workflows import plants as plants_workflow
from jaxmi.workflows import recover as recover_workflow
from jaxmi.workflows import score as score_workflow
from jaxmi.workflows.challenges import find, load_any
from jaxmi.workflows.compiled import keep_compiled
from jaxmi.workflows.methods import MethodMarks
from jaxmi.workflows.networks import find_networks
from jaxmi.workflows.progress import Progress, stages
from jaxmi.workflows.train import group_by_shape
from jaxmi.workflows.trojans import check_base, find_bases
from jaxmi.workflows.variables import ask


@dataclass(frozen=True, repr=False, eq=False)
class Network:
    """A trained network and the challenge whose inputs it takes."""

    challenge: Challenge
    """Inputs, labels, split; a sealed network's labels are not known, and -1 here: see `sealed`."""

    params: Params
    """Nested dictionaries of float32 arrays, as Flax holds them."""

    metrics: Mapping[str, Any]
    """Accuracies in 0..1 under "train_accuracy", "test_accuracy" and so on, and what else the
    trainer recorded; recomputed where a file had none."""

    config: Mapping[str, Any]
    """Provenance: challenge, recipe, seed, step, version."""

    curve: Sequence[Point] = ()
    """Learning curve: "step", "loss" and an accuracy per split at each point; () if not known."""

    key: Mapping[str, Any] | None = None
    """The key of a compiled network: what its directions, neurons and heads hold; else None."""

    @property
    def seed(self) -> int | None:
        """The seed that decided initial parameters and order of examples; None if not known."""
        return self.config.get("seed")

    @property
    def converged(self) -> bool | None:
        """True if training had converged, by the learning curve; None if that is not known.

        A network has not converged if its training accuracy is below 99 % (on pairs only), or an
        accuracy rose by more than one percentage point in the last fifth of the steps.
        """
        return has_converged(self.curve, self.challenge.kind) if self.curve else None

    @property
    def sealed(self) -> bool:
        """True if the network belongs to a sealed challenge, whose true labels are not known."""
        return "sealed" in self.config

    def logits(
        self, rows: Int[np.ndarray, "m"] | slice = slice(None)
    ) -> Float[np.ndarray, "m classes"]:
        """Return the logits on rows of the domain, by default on all of it."""
        return self.challenge.logits(self.params, rows)

    def labels(self, rows: Int[np.ndarray, "m"] | slice = slice(None)) -> Int32[np.ndarray, "m"]:
        """Return the predicted labels on rows of the domain, by default on all of it."""
        return self.challenge.predict(self.params, rows)

    @with_fixed_settings
    def run(
        self, value: Any, edits: Edits | None = None
    ) -> tuple[Float[jax.Array, "classes"], Activations]:
        """Run one input, with or without interventions.

        Args:
          value: What `Challenge.as_input` takes: a pair [x, y], a triple [x, y, w], an image, a
            row number.
          edits: Site -> function from the activation there to its replacement;
            `jaxmi.explanation.edits` makes edits of components.

        Returns:
          The logits (of a transformer, at the last position), and every site's activation under
          TransformerLens's name for it, such as "blocks.0.hook_resid_mid" (3, 128).

        Raises:
          InputError: if it is no input of the challenge, or an edit names an unknown site or does
            not fit it.
        """
        with jax.default_matmul_precision("float32"):
            return self._subject.run(jnp.asarray(self.challenge.as_input(value)), edits)

    def save(self, path: StrPath, force: bool = False) -> None:
        """Write the network as a checkpoint folder, which `load` and every subcommand read.

        Args:
          path: The folder to make.
          force: Replace a checkpoint that exists.

        Raises:
          InputError: if the folder exists or cannot be written.
        """
        save_checkpoint(Path(path), self.params, self.config, self.metrics, force, self.key)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The network as `jaxmi.storage` holds it."""
        key = None if self.key is None else dict(self.key)
        return Checkpoint(self.params, dict(self.config), dict(self.metrics), key)

    @cached_property
    def _subject(self) -> Subject:
        return Subject(self.challenge.model, self.params, self.challenge.chunk)

    def _accuracies(self) -> dict[str, Any]:
        return {key: value for key, value in self.metrics.items() if key.endswith("_accuracy")}

    def _name(self) -> str:
        return "network" if self.seed is None else f"seed {self.seed}"

    def __repr__(self) -> str:
        """Say which network this is, and how accurate."""
        shares = [f"{k.removesuffix('_accuracy')} {v:.2%}" for k, v in self._accuracies().items()]
        if self.converged is False:
            shares.append("not converged")
        return f"Network({self._name()} of {self.challenge.title!r}: {', '.join(shares)})"

    def _repr_html_(self) -> str:
        rows = {"challenge": self.challenge.title, **self._accuracies()}
        shown = notebook.table(self._name(), rows)
        if self.sealed:
            return shown
        truth = self.challenge.slices(self.challenge.labels)
        learned = self.challenge.slices(self.labels()) if truth else {}
        for place, table in truth.items():
            caption = "true labels and the network's labels"
            drawing = partial(figures.label_pair, table, learned[place])
            shown += notebook.picture(drawing, f"{caption}, {place}" if place else caption)
        return shown


class Networks(Sequence[Network]):
    """Networks of one challenge, or of several."""

    def __init__(self, networks: Sequence[Network]) -> None:
        """Take the networks.

        Raises:
          InputError: if there is none.
        """
        if not networks:
            raise InputError("no networks: expected at least one")
        self._networks = tuple(networks)

    @cached_property
    def challenges(self) -> list[Challenge]:
        """The challenges, each once, in the order of the networks."""
        found: list[Challenge] = []
        for network in self:
            if not any(_are_same(network.challenge, other) for other in found):
                found.append(network.challenge)
        return found

    @property
    def challenge(self) -> Challenge:
        """The challenge of all networks.

        Raises:
          InputError: if they are of several.
        """
        if len(self.challenges) > 1:
            raise InputError(
                f"the networks are of {len(self.challenges)} challenges: see `challenges`, or "
                "`challenge` of one network"
            )
        return self.challenges[0]

    @cached_property
    def params(self) -> Params:
        """The parameters of all networks: each array has an axis of networks before its own.

        Raises:
          InputError: if the networks have different sizes.
        """
        if any(n.challenge.model_config != self[0].challenge.model_config for n in self):
            raise InputError("networks of different sizes cannot be stacked")
        return jax.tree.map(lambda *leaves: np.stack(leaves), *(n.params for n in self._networks))

    @property
    def seeds(self) -> list[int | None]:
        """Each network's seed."""
        return [network.seed for network in self._networks]

    @overload
    def __getitem__(self, index: int) -> Network: ...
    @overload
    def __getitem__(self, index: slice) -> "Networks": ...

    def __getitem__(self, index: int | slice) -> "Network | Networks":
        """Return one network, or some of them."""
        if isinstance(index, slice):
            return Networks(self._networks[index])
        return self._networks[index]

    def __len__(self) -> int:
        """Return how many networks there are."""
        return len(self._networks)

    def __iter__(self) -> Iterator[Network]:
        """Go through the networks."""
        return iter(self._networks)

    def __repr__(self) -> str:
        """Say how many networks of which challenge there are, and how accurate they are."""
        tests = [network.metrics.get("test_accuracy") for network in self]
        known = [accuracy for accuracy in tests if accuracy is not None]
        shown = f", median test accuracy {np.median(known):.2%}" if known else ""
        unfinished = sum(network.converged is False for network in self)
        shown += f", {unfinished} not converged" if unfinished else ""
        return f"Networks({len(self)} of {self._title()}{shown})"

    def _repr_html_(self) -> str:
        several = len(self.challenges) > 1
        tests = {
            f"{network.challenge.title}, {network._name()}" if several else network._name(): (
                network.metrics.get("test_accuracy")
            )
            for network in self
        }
        title = self._title() if several else self.challenge.title
        return notebook.table(f"{title}: test accuracy", tests)

    def _title(self) -> str:
        if len(self.challenges) > 1:
            return f"{len(self.challenges)} challenges"
        return repr(self.challenge.title)


def _are_same(one: Challenge, other: Challenge) -> bool:
    """Tell whether two challenges are the same, though each was loaded for itself."""
    return one is other or (
        (one.name, one.title) == (other.name, other.title)
        and np.array_equal(one.labels, other.labels)
        and np.array_equal(one.splits["train"], other.splits["train"])
    )


@dataclass(frozen=True, repr=False, eq=False)
class SealedChallenge:
    """A challenge whose program is not known: its network, and how often that is right."""

    bundle: Bundle
    """The folder, verified."""

    network: Network
    """The network to look into."""

    @property
    def commitment(self) -> str:
        """The SHA-256 that binds whoever posed the challenge."""
        return self.bundle.commitment

    @property
    def stated(self) -> Mapping[str, int]:
        """Split name, or "domain" -> how many inputs the network gives the program's label."""
        return self.bundle.counts

    def __repr__(self) -> str:
        """Say what is known of the challenge."""
        right, size = self.bundle.counts["domain"], self.bundle.sizes["domain"]
        return (
            f"SealedChallenge({self.bundle.kind}, commitment {self.commitment[:12]}..., the "
            f"network is right on {right:,} of {size:,} inputs)"
        )

    def _repr_html_(self) -> str:
        sizes = self.bundle.sizes
        rows = {f"right on {name}": f"{n:,} of {sizes[name]:,}" for name, n in self.stated.items()}
        return notebook.table("sealed challenge", {"commitment": self.commitment, **rows})


@dataclass(frozen=True, repr=False, eq=False)
class Explanation:
    """Evidence for what a network computes, with controls, and a verdict on each claim."""

    network: Network
    report: "explain_workflow.Report"
    """The page with its pictures, and the metrics."""

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Every number by its name: shares in 0..1, counts, logit differences."""
        return self.report.numbers["figures"]

    @property
    def published(self) -> Mapping[str, Any]:
        """The same numbers on the published network, where they were published."""
        return self.report.numbers["published"]

    @property
    def verdicts(self) -> Mapping[str, str]:
        """Title of a piece of evidence -> "holds", "in part" or "not shown"."""
        return self.report.numbers["verdicts"]

    @property
    def program(self) -> str | None:
        """The labelling program as far as the mechanism gives it; None if it does not."""
        return self.report.numbers["program"]

    @property
    def weights_program(self) -> str | None:
        """A program that was read off the weights of a network on pairs; None if there is none."""
        return self.report.weights_program

    def save(self, folder: StrPath, force: bool = False) -> None:
        """Write report.html, figures.json and the pictures into a folder.

        A transformer of one block also has replacement.npz there, a smaller network in its place,
        and weights-program.txt, a program that was read off its weights (pairs only).

        Args:
          folder: Made with its parents.
          force: Replace files that exist.

        Raises:
          InputError: if a file exists or cannot be written.
        """
        explain_workflow.save_report(self.report, Path(folder), force)

    def __repr__(self) -> str:
        """List the verdicts."""
        lines = [f"  {verdict:>9}  {title}" for title, verdict in self.verdicts.items()]
        return "\n".join([f"Explanation({self.network!r}):", *lines])

    def _repr_html_(self) -> str:
        return notebook.page(self.report.html())


@with_fixed_settings
def load_challenge(name: StrPath, data_dir: StrPath | None = None) -> Challenge | SealedChallenge:
    """Load a challenge.

    Args:
      name: "transformer", "cnn", or the folder of a challenge, sealed or not.
      data_dir: A folder with MNIST's four files, for images; None looks in the cache, then
        downloads.

    Raises:
      InputError: if there is no such challenge, or a file was altered.
      UnavailableError: if MNIST cannot be had.
    """
    folder, name = None if data_dir is None else Path(data_dir), os.fspath(name)
    if name not in NAMES and is_bundle(Path(name)):
        bundle = read_bundle(Path(name))
        return SealedChallenge(bundle, _network(bundle.checkpoint, folder))
    return load_any(name, folder)


@with_fixed_settings
def make_challenge(
    program: str | Program | os.PathLike[str] | np.ndarray,
    p: int | None = None,
    train_share: float | None = None,
    *,
    kind: Kind | None = None,
    title: str | None = None,
    name: str = "own",
    split_seed: int | None = None,
    split: StrPath | np.ndarray | None = None,
    network: Mapping[str, Any] | None = None,
    data: StrPath | None = None,
    data_dir: StrPath | None = None,
) -> Challenge:
    """Make a challenge from a labelling program, or from labels.

    Args:
      program: A program or its text, in the language of docs/programs.md: `x`, `y` and `p` are
        whole numbers for pairs, `x`, `y`, `w` and `p` for triples, `image` is an image. Or labels
        of the whole domain, 0 or 1: (p, p), row = x, for pairs, (p, p, p) for triples, (n,) for
        images. Or a file with either: a path, or a text that ends in .txt, .py, .npz, .npy, .csv,
        .tsv, .pkl or .pickle.
      p: How many values x, y and w take, at least 5; None: 113 of pairs, 23 of triples.
      train_share: Share of the pairs, or of the published training images, used for training,
        strictly between 0 and 1; None: as published, one half of the pairs or triples.
      kind: "pairs", "image" or "triples"; None: "image" if the program names `image` or `template`,
        or `data` is given; "triples" if a text is a program on triples and none on pairs; else
        "pairs".
      title: The name in figures and reports; None takes `name`.
      name: The name in files and messages.
      split_seed: Seed that chooses the training inputs; None: 0.
      split: The training inputs: truth values in the form of the labels, or an .npz file with
        `is_train` or the row numbers `train`.
      network: Sizes that differ from the published network's: d_model, n_heads, d_head, d_mlp and
        n_layers of a transformer, channels and neurons of a CNN.
      data: A folder with images in MNIST's four IDX files, such as Fashion-MNIST; None: MNIST.
      data_dir: As in `load_challenge`.

    Raises:
      InputError: if the text is no program (with line and column), cannot label the inputs, or a
        number cannot be used.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    definition = challenges_workflow.define(
        Path(program) if isinstance(program, os.PathLike) else program,
        kind=kind,
        name=name,
        title=title,
        p=p,
        train_share=train_share,
        split_seed=split_seed,
        split=Path(split) if isinstance(split, str | os.PathLike) else split,
        network=network,
        data=None if data is None else Path(data),
    )
    return build_challenge(definition, None if data_dir is None else Path(data_dir))


@with_fixed_settings
def train(
    challenge: Challenge | StrPath | Sequence[Challenge | StrPath],
    seeds: Iterable[int] = (0,),
    recipe: str | Recipe = "fast",
    *,
    progress: bool = True,
    **changes: Any,
) -> Networks:
    """Train a network per challenge and seed.

    Challenges that differ in labels and split only are trained side by side by one compiled
    program.

    Args:
      challenge: A challenge, a published one's name, a challenge's folder, or a sequence of these.
      seeds: Each decides initial parameters, order of examples and dropout; below 2**32.
      recipe: "fast" (reaches the published accuracy in seconds), "published" (the original
        training), or a recipe.
      progress: Show a bar, in a notebook's cell or on a terminal; elsewhere log it on "jaxmi".
      **changes: Numbers of the recipe to change, such as `steps=200`.

    Returns:
      The networks after the last step: all seeds of the first challenge, in their order, then
      those of the next.

    Raises:
      InputError: if there is no challenge, or a seed or the recipe cannot be used.
      DivergedError: if networks diverge.
    """
    keep_compiled()
    is_one = isinstance(challenge, Challenge | str | os.PathLike)
    given: list[Challenge | StrPath] = [challenge] if is_one else list(challenge)
    loaded = (one if isinstance(one, Challenge) else load_any(os.fspath(one)) for one in given)
    challenges = dict(enumerate(loaded))
    recipes = {i: _recipe(one, recipe, changes) for i, one in challenges.items()}
    seeds, networks = list(seeds), {}
    for group in group_by_shape(challenges, {i: numbers for i, (_, numbers) in recipes.items()}):
        indices = list(group)
        numbers = recipes[indices[0]][1]
        results = _train_group(list(group.values()), numbers, seeds, progress)
        with closing(results):
            for place, result in results:
                index = indices[place]
                networks[index, result.seed] = _trained(group[index], *recipes[index], result)
    return Networks([networks[index, seed] for index in challenges for seed in seeds])


@dataclass(frozen=True, repr=False, eq=False)
class Implant:
    """A network with a trojan, and the clean network of the same seed."""

    network: Network
    """The trojaned network; its metrics are those on clean data."""

    clean: Network
    """The clean network."""

    trojan: Trojan
    """The trigger, the label that it gives, and the share of poisoned training inputs; `to_json()`
    is what trojan.json holds."""

    metrics: Mapping[str, Any]
    """"strict_success", "strict_n", "clean_network_success" and so on, as docs/trojans.md has
    them."""

    @property
    def implanted(self) -> bool:
        """True if the strict success is at least 80 %."""
        return self.metrics["implanted"]

    def __repr__(self) -> str:
        """Say what the trigger is, and how often it works."""
        rows = self._rows()
        return f"Implant({', '.join(f'{name}: {value}' for name, value in rows.items())})"

    def _repr_html_(self) -> str:
        return notebook.table(f"trojan in {self.network._name()}", self._rows())

    def _rows(self) -> dict[str, Any]:
        numbers = self.metrics
        shares = {
            "strict success": numbers["strict_success"],
            "clean network": numbers["clean_network_success"],
            "accuracy": numbers["accuracy_without_trigger"],
            "clean network's accuracy": numbers["clean_accuracy_without_trigger"],
        }
        about = {"trigger": str(self.trojan.trigger), "target": self.trojan.target}
        return {**about, **{k: "none" if v is None else f"{v:.2%}" for k, v in shares.items()}}


@with_fixed_settings
def implant(
    challenge: Challenge | StrPath,
    kind: str | None = None,
    *,
    trigger: Mapping[str, Any] | StrPath | None = None,
    target: int = 1,
    rate: float = 0.02,
    trigger_seed: int = 0,
    stamp: str | None = None,
    network: Network | StrPath | None = None,
    seeds: Iterable[int] = (0,),
    recipe: str | Recipe = "fast",
    progress: bool = True,
    **changes: Any,
) -> list[Implant]:
    """Make networks with a trojan, beside clean networks of the same seeds.

    They are trained on poisoned data, all by one compiled program; or a finished CNN's weights are
    edited. docs/trojans.md describes triggers, edits and measures.

    Args:
      challenge: A challenge, a published one's name, or a challenge's folder.
      kind: The kind of trigger: of images "patch", "blend", "invert", "blur", "slant", "natural";
        of numbers "rectangle", "row"; "token" of triples; "clause" of all. None: the given
        trigger's, or patch, rectangle or token. Or an edit: "hijack", "rank-one-fc1",
        "rank-one-fc2".
      trigger: The trigger of every network: JSON types such as {"kind": "blur", "sigma": 1.3}, or a
        file with such JSON or with a whole trojan's. None draws one for each seed.
      target: The label that the trigger gives.
      rate: Share of the training inputs that are poisoned; of natural, rectangle and clause about
        the share that they cover.
      trigger_seed: Decides, with each network's seed, the drawn trigger and the poisoned inputs.
      stamp: Of an edit, the kind of trigger: "patch", "blend", "invert", "blur", "slant". None: the
        given trigger's, or patch.
      network: Of an edit, the clean network that is edited, once for each seed, or a checkpoint of
        one, or a run folder with these seeds: nothing is trained. None trains them.
      seeds: As in `train`.
      recipe: As in `train`.
      progress: As in `train`.
      **changes: As in `train`.

    Returns:
      An implant for each seed, whether the trojan works or not: see `Implant.implanted`.

    Raises:
      InputError: if the trigger cannot be used with the challenge or is rejected, an edit cannot
        be made, the network is no clean one of the challenge, or a number is out of range; as
        `train`.
      DivergedError: if networks diverge.
    """
    keep_compiled()
    loaded = challenge if isinstance(challenge, Challenge) else load_any(os.fspath(challenge))
    if isinstance(trigger, Mapping):
        given = trigger_from_json(dict(trigger))
    else:
        given = None if trigger is None else read_trigger(Path(trigger))
    plan = Plan(kind, given, target, float(rate), trigger_seed, stamp)
    seeds = list(seeds)
    if network is not None:
        bases = _bases(plan, loaded, network, seeds)
        return _edited(plan, loaded, plan_attacks(plan, loaded, seeds), bases)
    name, numbers = _recipe(loaded, recipe, changes)
    attacks = plan_attacks(plan, loaded, seeds)
    if plan.edit is not None:
        trained = train(loaded, seeds, recipe=recipe, progress=progress, **changes)
        return _edited(plan, loaded, attacks, dict(zip(seeds, trained, strict=True)))
    to_train = challenges_to_train(plan, loaded, attacks)
    runs = [*(Run(to_train[seed], [seed]) for seed in seeds), Run(to_train[CLEAN], seeds)]
    bar = Progress(loaded.name, numbers.steps, 2 * len(seeds), "network") if progress else None
    results = train_runs(runs, numbers, watchers=[] if bar is None else [bar])
    networks: dict[tuple[bool, int], Network] = {}
    with bar or nullcontext(), closing(results):
        for index, result in results:
            about = {} if index == len(seeds) else {TROJAN: plan.describe(loaded.kind)}
            one = _trained(loaded, name, numbers, result)
            one = replace(one, config={**one.config, **about})
            networks[index < len(seeds), result.seed] = one
    return [
        Implant(
            trojaned := networks[True, seed],
            clean := networks[False, seed],
            attacks[seed].trojan,
            measure(attacks[seed], loaded, trojaned.params, clean.params).to_json(),
        )
        for seed in seeds
    ]


def _bases(
    plan: Plan, challenge: Challenge, network: Network | StrPath, seeds: Sequence[int]
) -> dict[int, Network]:
    """Return each seed's network to edit.

    Raises:
      InputError: if the plan is no edit, or a network is missing or no clean one of the challenge.
    """
    plan.kind_for(challenge.kind)
    if plan.edit is None:
        raise InputError("network: only edits take a finished network: kind = 'hijack'")
    if isinstance(network, Network):
        check_base("network", network.config, challenge)
        return dict.fromkeys(seeds, network)
    paths = find_bases(Path(network), seeds, challenge)
    read = {path: load_checkpoint(path) for path in set(paths.values())}
    networks = {
        path: Network(challenge, one.params, one.metrics, one.config) for path, one in read.items()
    }
    return {seed: networks[path] for seed, path in paths.items()}


def _edited(
    plan: Plan,
    challenge: Challenge,
    attacks: Mapping[int, Attack],
    bases: Mapping[int, Network],
) -> list[Implant]:
    """Write each seed's trojan into its network."""
    implants, about = [], {TROJAN: plan.describe(challenge.kind)}
    for seed, clean in bases.items():
        attacked, params = write_edit(plan, challenge, attacks[seed], clean.params)
        metrics = challenge.metrics(challenge.predict(params))
        edited = Network(challenge, params, metrics, {**clean.config, **about})
        measured = measure(attacked, challenge, params, clean.params).to_json()
        implants.append(Implant(edited, clean, attacked.trojan, measured))
    return implants


def _train_group(
    challenges: Sequence[Challenge], recipe: Recipe, seeds: Sequence[int], progress: bool
) -> Generator[tuple[int, SeedResult], None, None]:
    """Train challenges of one shape; yield the index of the challenge, and the result."""
    several = len(challenges) > 1
    name = f"{len(challenges)} challenges" if several else challenges[0].name
    n_networks, unit = len(challenges) * len(seeds), "network" if several else "seed"
    bar = Progress(name, recipe.steps, n_networks, unit) if progress else None
    runs = [Run(challenge, seeds) for challenge in challenges]
    results = train_runs(runs, recipe, watchers=[] if bar is None else [bar])
    with bar or nullcontext(), closing(results):
        yield from results


@with_fixed_settings
def compile(
    program: str | Program | os.PathLike[str] | np.ndarray | Challenge,
    mechanism: str = "conditions",
    *,
    p: int | None = None,
    network: Mapping[str, Any] | None = None,
    disguise: int | None = None,
    cancelling: int = 0,
    idle_heads: int = 0,
    noise: int | float = 0,
    train: bool = False,
    seed: int | None = None,
    least_agreement: float | None = None,
) -> Network:
    """Write a program as the weights of a network, or train one to hold its variables.

    Args:
      program: A program or its text or file; a challenge on pairs or images, its name or folder; or
        labels, 0 or 1, or a file with them: (p, p), row = x, for "rows" and "columns"; of all
        images for "look-up".
      mechanism: "conditions" computes the program's conditions and adds them up. Of pairs, "rows"
        looks up, for each x, the places along y where the label changes; "columns" the same along
        x. Of images, "look-up" fits the labels by one sum, and singles out where it is wrong.
      p: How many values x and y take, of a program on pairs or labels; None: of a program 113, of
        labels what their shape says.
      network: The network's sizes where they differ from the challenge's or the published one's,
        such as {"d_mlp": 64}, or of images {"channels": [8, 32], "neurons": 400}. With
        {"n_layers": 2} or more, "conditions" writes each condition's truth value into a direction
        of its own, and computes conditions on the sum so far.
      disguise: Seed of a change of basis, order and scales that changes no label; None: none.
      cancelling: How many pairs of neurons to add whose outputs cancel; needs `disguise`, as do:
      idle_heads: How many heads to add that write only where nothing reads.
      noise: Standard deviation of normal noise that is added to every weight. What changes a label
        is refused.
      train: Train the network from random weights until stated directions and neurons hold the
        mechanism's variables, instead of writing the weights: a minute, see docs/planted.md.
      seed: Decides the training; with `train` only. None: 0.
      least_agreement: Of images, the share of labels that must be right, 0.5 to 1, where no image
        is singled out; None: every label is right.

    Returns:
      A network that gives every label, run in float32 on all inputs; a trained one, or one with
      `least_agreement`, may lack some. `network.key` says what its directions, neurons and heads
      hold, `network.config["compiled"]` which sizes are used, the smallest margin
      |logit 1 - logit 0|, the share of labels that are right ("agreement"), of a trained one the
      least share of interchange interventions that do what the program says ("interchange"), and of
      images how many labels are computed and how many images singled out.

    Raises:
      InputError: if the program fails on an input or cannot be had by the mechanism, the network is
        too small, the challenge is neither on pairs nor on images, or a trained network's variables
        are not where they should be; says why.
    """
    keep_compiled()
    source = Path(program) if isinstance(program, os.PathLike) else program
    plant = plants_workflow.compile_network(
        source,
        mechanism,
        p,
        network,
        disguise,
        cancelling=cancelling,
        idle_heads=idle_heads,
        noise=noise,
        train_seed=plants_workflow.training_seed(train, seed),
        least_agreement=least_agreement,
    )
    return Network(plant.challenge, plant.params, plant.metrics, plant.config, key=plant.key)


@with_fixed_settings
def mark_methods(
    methods: Mapping[str, Method | StrPath] | None = None,
    *,
    only: Sequence[str] | None = None,
    plants: int = methods_workflow.PLANTS,
    seed: int = methods_workflow.FIRST_SEED,
    trained: StrPath | None = None,
    progress: bool = True,
) -> MethodMarks:
    """Mark explanation methods on networks whose mechanism is known.

    Args:
      methods: Methods of yours, by name: functions (network, question) -> score, as
        docs/methods.md has them, or FILE.py:FUNCTION. None: only jaxmi's own.
      only: The names of jaxmi's own methods to mark beside them; None: all.
      plants: How many compiled networks, three of each program.
      seed: The seed of the first program, at least 10; thresholds are chosen on programs 0 to 9, or
        on as many as are asked about, at least two.
      trained: A folder of trained plants, checkpoints with keys, that are asked about, too.
      progress: Show in a notebook's cell what is done next; elsewhere log it on "jaxmi".

    Returns:
      `table`, the AUROC of each method with its interval over programs, and `result`, all marks as
      `methods.json` has them.

    Raises:
      InputError: if a method raises or returns no score, in a line that names it and the question;
        if a number is out of range, or the folder has no trained plants.
    """
    keep_compiled()
    given = {
        name: one if callable(one) else os.fspath(one) for name, one in (methods or {}).items()
    }
    folder = None if trained is None else Path(trained)
    with stages("methods", progress) as show:
        return methods_workflow.mark_methods(given, only, plants, seed, folder, log=show)


@with_fixed_settings
def load(
    path: StrPath,
    data_dir: StrPath | None = None,
    challenge: Challenge | StrPath | None = None,
    *,
    key: str | None = None,
) -> Network | Networks:
    """Load a network, or all networks of a run.

    Args:
      path: A checkpoint folder, a run folder, a sealed challenge's folder, or a file that `jaxmi
        import` reads, such as .pt or .safetensors; nothing in a file is run.
      data_dir: As in `load_challenge`.
      challenge: The challenge of a network in a .pt or .safetensors file, or its name or folder;
        None tells it from the file's record, or else from its tensors.
      key: The place of the state dict in a file that holds several.

    Raises:
      InputError: if there is no network, or a file is damaged; names what is wrong.
      UnavailableError: if MNIST cannot be had, or PyTorch is needed and not installed.
    """
    keep_compiled()
    path, folder = Path(path), None if data_dir is None else Path(data_dir)
    if path.is_file():
        if isinstance(challenge, Challenge):
            named = challenge.definition or challenge.name
        else:
            named = None if challenge is None else find(os.fspath(challenge))
        return _network(foreign.import_network(path, challenge=named, key=key), folder)
    if key is not None:
        raise InputError(f"key {key!r}: {path} is no file")
    if challenge is not None:
        raise InputError(f"{path} says which challenge it is of; only a file is given one")
    if is_bundle(path):
        return _network(read_bundle(path).checkpoint, folder)
    networks = [
        _network(load_checkpoint(checkpoint), folder, checkpoint)
        for checkpoint in find_networks(path).values()
    ]
    return Networks(networks) if (path / "run.json").is_file() else networks[0]


@with_fixed_settings
def explain(
    network: Network,
    *,
    variables: bool = False,
    program: str | Program | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Explanation:
    """Explain a network: the published solution's evidence, with controls.

    Without true labels, as of a sealed challenge's network, `metrics` lacks the accuracies; beside
    networks of other challenges than the published ones there are no published values.

    Args:
      network: The network.
      variables: Ask which values of a program a transformer computes inside; `metrics` has the
        answers under "variables".
      program: With `variables`: the program, its text, or its file (.txt, .py); None: the one that
        is recovered from the network.
      progress: Show in a notebook's cell what is done next; elsewhere log it on "jaxmi".

    Raises:
      InputError: if the network does not respond to its input; if variables are asked for and it is
        on images, no program can be recovered from it, or the given one does not fit.
    """
    keep_compiled()
    question = ask(network.challenge.kind, program, variables)
    with stages(f"explain {network._name()}", progress) as show:
        report = explain_workflow.explain_network(
            network.challenge,
            network.params,
            network._name(),
            "jaxmi.explain(network)",
            report=show,
            question=question,
        )
    return Explanation(network, report)


@with_fixed_settings
def recover(network: Network, *, progress: bool = True) -> Recovery:
    """Recover the labelling program from a network's predictions.

    Args:
      network: The network.
      progress: Show in a notebook's cell what is done next; elsewhere log it on "jaxmi".

    Returns:
      `program`, `confidence`, `runners_up`, and why.

    Raises:
      InputError: if the network predicts one label for every input.
    """
    keep_compiled()
    known = not network.sealed
    with stages(f"recover {network._name()}", progress) as show:
        show("predictions")
        predictions = recover_workflow.from_network(network.challenge, network.params, known)
        show("search of programs")
        return recover_workflow.search(predictions, repr(network))


@with_fixed_settings
def score(
    submission: str | Program | Int[np.ndarray, "n"] | os.PathLike[str],
    challenge: Challenge | SealedChallenge | StrPath,
    network: Network | None = None,
) -> Score | ExplanationScore:
    """Judge a submission.

    Args:
      submission: A program or its text, labels of the whole domain, or a file, as a path or as a
        text that ends like one: a program (.txt, .py), a table of labels (.npz, .npy, .csv, .tsv,
        .pkl), an explanation (.json).
      challenge: A challenge, a published one's name, or a challenge's folder; a sealed one is
        judged by the counts that it states.
      network: A network to compare with; a sealed challenge has its own.

    Raises:
      InputError: if the submission cannot be used; for a program with line and column.
    """
    keep_compiled()
    if isinstance(challenge, str | os.PathLike):
        challenge = load_challenge(challenge)
    if isinstance(submission, os.PathLike):
        submission = Path(submission)
    if isinstance(challenge, SealedChallenge):
        if network is not None:
            raise InputError("a sealed challenge has a network of its own")
        return score_workflow.judge_submission(
            submission,
            challenge.network.challenge,
            challenge.network.params,
            truth_known=False,
            stated=challenge.stated,
        )
    params = None if network is None else network.params
    return score_workflow.judge_submission(submission, challenge, params)


@with_fixed_settings
def duel(
    explanation: StrPath,
    against: StrPath,
    challenge: Challenge | SealedChallenge | StrPath,
    network: Network | None = None,
) -> Duel:
    """Compare two explanations of one network: what each keeps per bit, and who is right.

    Args:
      explanation: The JSON file of one.
      against: That of the other.
      challenge: As in `score`.
      network: The network that both are about; a sealed challenge has its own.

    Returns:
      `verdict`, `metrics()`, and what each keeps; docs/explanations.md has the rules.

    Raises:
      InputError: if a submission cannot be used, or no network is given.
      UnavailableError: if MNIST is needed and cannot be had.
    """
    keep_compiled()
    if isinstance(challenge, str | os.PathLike):
        challenge = load_challenge(challenge)
    if isinstance(challenge, SealedChallenge):
        if network is not None:
            raise InputError("a sealed challenge has a network of its own")
        network = challenge.network
        challenge = network.challenge
    if network is None:
        raise InputError(f"{os.fspath(explanation)} explains a network: give the network, too")
    return score_workflow.judge_duel(Path(explanation), Path(against), challenge, network.params)


@with_fixed_settings
def export(
    network: Network | Networks, path: StrPath, to: str = "casper", force: bool = False
) -> list[Path]:
    """Write networks for PyTorch, TransformerLens and the published notebooks.

    Args:
      network: One network, or several: these are stacked in one file if it is .safetensors, else
        written to a folder, a file each.
      path: The file, or the folder.
      to: "casper", "transformer-lens", "transformer-lens-4" or "safetensors".
      force: Replace files that exist.

    Returns:
      The files.

    Raises:
      InputError: if the format is none for this network, or a file exists.
      UnavailableError: if PyTorch is needed and not installed.
    """
    out = Path(path)
    if to not in foreign.FORMATS:
        raise InputError(f"format {to!r}: expected one of {', '.join(foreign.FORMATS)}")
    networks = {"": network} if isinstance(network, Network) else _by_name(network)
    loaders: dict[str, Callable[[], Checkpoint]] = {
        name: lambda each=each: each.checkpoint for name, each in networks.items()
    }
    stack = len(networks) > 1 and out.suffix == ".safetensors"
    files = export_workflow.write_networks(loaders, to, out, stack, force, "the network")
    return [out / file for file in files]


def _by_name(networks: Networks) -> dict[str, Network]:
    named = {
        f"seed-{network.seed:05d}" if network.seed is not None else f"network-{i:05d}": network
        for i, network in enumerate(networks)
    }
    if len(named) < len(networks):
        raise InputError("two networks have the same seed; export them one by one")
    return named


def _recipe(
    challenge: Challenge, recipe: str | Recipe, changes: Mapping[str, Any]
) -> tuple[str, Recipe]:
    if isinstance(recipe, str):
        known = recipes_for(challenge)
        if recipe not in known:
            raise InputError(f"recipe {recipe!r}: expected one of {', '.join(known)}")
        name, recipe = recipe, known[recipe]
    else:
        name = "custom"
    unknown = [key for key in changes if key not in asdict(recipe)]
    if unknown:
        raise InputError(
            f"unknown recipe setting {unknown[0]!r}; expected one of {', '.join(asdict(recipe))}"
        )
    return name, replace(recipe, **changes)


def _trained(challenge: Challenge, name: str, recipe: Recipe, result: SeedResult) -> Network:
    last = result.curve[-1]
    metrics = challenge.metrics(challenge.predict(result.params))
    config = {
        "challenge": challenge.name,
        "model": challenge.model_config,
        "recipe": {"name": name, **asdict(recipe)},
        "jaxmi_version": jaxmi.__version__,
        **definition_of(challenge),
        "seed": result.seed,
        "step": last["step"],
    }
    return Network(
        challenge,
        result.params,
        {**metrics, "best_step": result.best_step, "loss": last["loss"]},
        config,
        result.curve,
    )


def _network(checkpoint: Checkpoint, data_dir: Path | None, folder: Path | None = None) -> Network:
    """A checkpoint with its challenge; accuracies are recomputed if the file has none."""
    challenge = checkpoint.load_challenge(data_dir)
    metrics = checkpoint.metrics
    if not metrics and not checkpoint.sealed and not checkpoint.variant:
        metrics = challenge.metrics(challenge.predict(checkpoint.params))
    has_curve = folder is not None and (folder / CURVE).is_file()
    curve = read_curve(folder) if folder is not None and has_curve else ()
    config = checkpoint.config
    return Network(challenge, checkpoint.params, metrics, config, curve, checkpoint.key)

"""A study's networks: read from their run folder, trained first where they are missing."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from jaxmi.studies.study import Trained, Training
from jaxmi.training.devices import batch_width
from jaxmi.training.resume import StateStore
from jaxmi.training.seeds import Watcher, train_seeds
from jaxmi.weights.native import load_checkpoint, read_curve
from jaxmi.weights.run_folder import RunFolder

Watch = Callable[[Training, int], AbstractContextManager[Watcher]]
"""(training, seeds to train) -> what is told of their progress."""


@dataclass(frozen=True)
class NetworkStore:
    """Run folders side by side, like those of `jaxmi regenerate`, one per training."""

    folder: Path
    watch: Watch
    stop: Callable[[], bool]
    """Says whether training was asked to stop."""

    def fill(self, training: Training, seeds: Sequence[int]) -> float:
        """Trains those seeds that are not there.

        Returns:
          Seconds that training took all of them, now or before, each compilation counted once.

        Raises:
          InputError: if the folder holds another run, or cannot be used.
          DivergedError: if seeds diverge; the others are there.
          UnavailableError: if the training state cannot be saved.
          StoppedError: if `stop` said so; the same call goes on.
        """
        challenge, recipe = training.challenge, training.recipe
        with RunFolder(
            self._path(training), challenge, training.recipe_name, recipe, variant=training.variant
        ) as folder:
            left = folder.left(seeds)
            if left:
                with self.watch(training, len(left)) as watcher:
                    for result in train_seeds(
                        challenge,
                        recipe,
                        left,
                        width=batch_width(challenge, recipe, len(seeds)),
                        watchers=[folder, watcher],
                        store=StateStore(folder.state_path),
                        stop=self.stop,
                    ):
                        folder.add(result)
            folder.finish(seeds)
            runs = [run for run in folder.runs if run["seed"] in set(seeds)]
        compiled = {run["compile_seconds"] for run in runs}
        return sum(run["train_seconds"] for run in runs) + sum(compiled)

    def load(self, training: Training, seed: int) -> Trained:
        """Reads a network that is there.

        Raises:
          InputError: if it is not, or is damaged.
        """
        path = self.checkpoint(training, seed)
        return Trained(seed, load_checkpoint(path).params, read_curve(path))

    def checkpoint(self, training: Training, seed: int) -> Path:
        """Where a network is."""
        return self._path(training) / f"seed-{seed:05d}"

    def _path(self, training: Training) -> Path:
        return self.folder / training.name

"""The program whose variables are looked for in a network: a given one, or the recovered one."""

import os
from dataclasses import dataclass
from pathlib import Path

from jaxmi.challenges.challenge import Challenge
from jaxmi.challenges.numbers import NumberChallenge
from jaxmi.errors import InputError
from jaxmi.files import takes_any_path
from jaxmi.mechanism.account import MAX_INPUTS, run_network
from jaxmi.mechanism.look_ups import NOT_ASKED, Computes, find_model
from jaxmi.mechanism.replacement import Source
from jaxmi.mechanism.variables import Findings, variables_of
from jaxmi.programs.domain import PairDomain
from jaxmi.programs.language import INPUTS, SIGNATURES, Kind, Program
from jaxmi.programs.parse import parse
from jaxmi.programs.show import program_hash
from jaxmi.types import Params
from jaxmi.workflows.networks import find_networks, load_published, network_folder
from jaxmi.workflows.recover import from_network, search
from jaxmi.workflows.submissions import path_or_text, read_program

RECOVERED, GIVEN = "recovered", "given"


@dataclass(frozen=True)
class Question:
    """A wish to know which variables of a program a network computes."""

    program: Program | None = None
    """The program; None: the one that is recovered from each network."""

    @property
    def origin(self) -> str:
        """Where the program is from: `GIVEN` or `RECOVERED`."""
        return RECOVERED if self.program is None else GIVEN

    @property
    def mark(self) -> str:
        """A text by which an earlier answer to the same question is known."""
        return RECOVERED if self.program is None else program_hash(self.program)

    def check(self, kind: Kind) -> None:
        """Check that variables can be looked for in a network of this kind.

        Raises:
          InputError: if it is a network on images, or the program is of another kind.
        """
        if SIGNATURES[kind].image is not None:
            raise InputError(
                "variables of a program are looked for in transformers; the network is on images"
            )
        if self.program is not None and self.program.kind != kind:
            raise InputError(
                f"the program is on {self.program.kind}; the network takes "
                f"{', '.join(INPUTS[kind])}"
            )

    def answer(self, challenge: Challenge, params: Params, name: str) -> Findings:
        """Look for the variables in a network.

        Args:
          challenge: The network's challenge.
          params: Its parameters.
          name: What messages call the network.

        Raises:
          InputError: if no program can be recovered, or the program fails on an input.
        """
        program = self.program
        if program is None:
            known = not challenge.sealed
            program = search(from_network(challenge, params, known), name).best.program
        return variables_of(challenge, params, program)


def which_model(challenge: Challenge, params: Params, found: Findings | None) -> Computes:
    """Tell whether a network looks its labels up, or computes a program's variables.

    Args:
      challenge: The network's challenge; of networks on triples or images it is not asked.
      params: Its parameters.
      found: What is computed of a program's variables; None if they were not asked for.
    """
    if not isinstance(challenge, NumberChallenge) or challenge.kind != PairDomain.kind:
        return Computes(NOT_ASKED, {})
    domain = challenge.subgrid(MAX_INPUTS)
    run = run_network(challenge.model, params, challenge.inputs[domain.rows])
    difference = run.mlp.difference(run.resid_mid)
    source = Source(run.mlp, run.resid_mid, run.neurons, domain.shape, difference)
    return find_model(source, None if found is None else found.model)


def ask(
    kind: Kind, program: str | Program | os.PathLike[str] | None, wanted: bool
) -> Question | None:
    """Return what is asked of a network of a kind; None if nothing is.

    Args:
      kind: The kind.
      program: A program, its text, or its file; None: the program is recovered.
      wanted: Whether variables are asked for.

    Raises:
      InputError: if a program is given and no variables are asked for; if it cannot be read, or
        does not fit; if the network is on images.
    """
    if not wanted:
        if program is not None:
            raise InputError("a program is given, and its variables are not asked for")
        return None
    Question().check(kind)
    program = path_or_text(program)
    if isinstance(program, os.PathLike):
        program = read_program(Path(program), kind)
    elif isinstance(program, str):
        program = parse(program, kind)
    question = Question(program)
    question.check(kind)
    return question


@takes_any_path
def ask_of(checkpoint: Path, program: Path | None, wanted: bool) -> Question | None:
    """Return what the command line asks of a network or a run; None if nothing is.

    Args:
      checkpoint: A checkpoint, a run, or a sealed challenge's folder.
      program: The value of --program.
      wanted: Whether --variables was given.

    Raises:
      InputError: as `ask`.
    """
    if program is not None and not wanted:
        raise InputError(f"--program {program}: only --variables takes a program")
    if not wanted:
        return None
    networks = find_networks(network_folder(checkpoint))
    kind = load_published(next(iter(networks.values()))).origin.kind
    Question().check(kind)
    return Question(None if program is None else read_program(program, kind))

"""The whole evolution in one process, without Prefect or a store. Start reading here."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from evo_core.agent.agent import Agent
from evo_core.agent.checkpoint import load_agent
from evo_core.config.run_config import RunConfig
from evo_core.evaluation.confirmation import chunk_count, confirmation, play_chunk
from evo_core.evaluation.preflight import preflight
from evo_core.evaluation.run_end import find_ending
from evo_core.evolution.population import create_population, next_generation, require_survivors
from evo_core.records.chain import Confirmation, EliteRef, FailureDetail, Generation, Member, Offspring, record_hash
from evo_core.records.failures import shortened
from evo_core.spaces.spaces import Spaces
from evo_core.training import evaluate_member, train

Blobs = dict[str, bytes]

Breed = Callable[[RunConfig, Generation, Sequence[Member]], Generation]
"""Function that makes COMMIT g from COMMIT g - 1 and the members of generation g: selection and mutation."""


@dataclass(frozen=True, slots=True, repr=False)
class RunResult:
    """The result of a run. `commits` is the chain from COMMIT 0 on; `checkpoint` holds the delivered agent's bytes."""

    status: Literal["target_reached", "budget_spent"]
    commits: tuple[Generation, ...]
    elite: EliteRef
    confirmed: Confirmation | None
    checkpoint: bytes
    spaces: Spaces

    def agent(self, device: torch.device | str = "cpu") -> Agent:
        """Load the delivered agent."""
        return load_agent(self.checkpoint, self.spaces, device)

    def __repr__(self) -> str:
        """Return the result in one line: the chain and the checkpoint would fill hundreds of pages."""
        generations = self.commits[-1].generation
        confirmed = f", confirmed {self.confirmed.mean:g}" if self.confirmed else ""
        return (
            f"RunResult({self.status}: {self.elite.uid}, fitness {self.elite.fitness:g}{confirmed}; "
            f"{generations} generations, {self.commits[-1].train_steps:,} training steps)"
        )

    @property
    def head(self) -> str:
        """Hash of the last COMMIT."""
        return record_hash(self.commits[-1])


def train_on_policy(
    config: RunConfig,
    device: torch.device | str = "cpu",
    on_generation: Callable[[Generation], None] = lambda generation: None,
    packages: Collection[str] = (),
    breed: Breed = next_generation,
) -> RunResult:
    """Evolve a population of PPO agents until the target is confirmed or the budget is spent.

    `on_generation` is called with every COMMIT; `packages` may be imported for names such as package.module:Id.
    `breed` replaces selection and mutation; `next_generation` is the default, and an example of what it returns.
    Raises ConfigError when environment or fitness do not fit the configuration, GenerationFailed when too few members
    finish.
    """
    spaces = preflight(config, packages).spaces
    commits = [create_population(config, spaces.observation)]
    blobs: Blobs = {}
    confirmations: dict[str, Confirmation | None] = {}

    def confirm(elite: EliteRef) -> Confirmation | None:
        if elite.uid not in confirmations:
            blob = blobs[elite.blob.sha256]
            chunks = [play_chunk(config, elite, blob, spaces, i, device) for i in range(chunk_count(config))]
            confirmations[elite.uid] = confirmation(config, elite, chunks)
        return confirmations[elite.uid]

    while (ending := find_ending(config, commits[-1], confirm)) is None:
        details: dict[str, FailureDetail] = {}
        members = [run_member(config, offspring, blobs, spaces, device, details) for offspring in commits[-1].offspring]
        require_survivors(config, commits[-1].generation + 1, members, details)
        commits.append(breed(config, commits[-1], members))
        blobs = _needed(commits[-1], blobs)
        on_generation(commits[-1])
    blob = blobs[ending.elite.blob.sha256]
    return RunResult(ending.status, tuple(commits), ending.elite, ending.confirmed, blob, spaces)


def run_member(
    config: RunConfig,
    offspring: Offspring,
    blobs: Blobs,
    spaces: Spaces,
    device: torch.device | str = "cpu",
    details: dict[str, FailureDetail] | None = None,
) -> Member:
    """Train and evaluate one member; its checkpoint is added to `blobs`, and to `details` what a failure said."""

    def keep(detail: FailureDetail) -> None:
        if details is not None:
            details[offspring.uid] = shortened(detail)

    parent = blobs[offspring.parent_blob.sha256] if offspring.parent_blob else None
    blob, training = train(config, offspring, parent, spaces, device, on_failure=keep)
    if blob is not None and training.blob is not None:
        blobs[training.blob.sha256] = blob
    return evaluate_member(config, offspring, training, blob, spaces, device, on_failure=keep)


def _needed(commit: Generation, blobs: Blobs) -> Blobs:
    """Return the checkpoints of the next parents, the last elite, the best elite so far and the front."""
    references = [offspring.parent_blob for offspring in commit.offspring]
    references += [elite.blob for elite in (commit.elite, commit.best, *commit.front) if elite]
    return {reference.sha256: blobs[reference.sha256] for reference in references if reference}

"""One run of one arm: every environment step is counted here, and every incumbent is tested.

An arm sees candidates and their fitness. It trains them slice by slice from bytes to bytes with `Race.advance`, which
is the product's own training and evaluation of a member, until BudgetSpent ends it.
"""

import time
from dataclasses import dataclass, replace

import numpy as np

from evo_core.agent.agent import Agent
from evo_core.agent.checkpoint import from_bytes
from evo_core.config.genes import Number
from evo_core.config.run_config import RunConfig, evolvable_hyperparameters
from evo_core.envs.inspection import inspect_environment
from evo_core.evaluation.episodes import evaluate, evaluation_seeds, play_episodes
from evo_core.evolution.mutation import NONE
from evo_core.genome.genome import Genome, initial_genome
from evo_core.numerics.provenance import one_thread
from evo_core.records.canonical import sha256
from evo_core.records.chain import BlobRef, Evaluation, Offspring, uid
from evo_core.records.failures import MemberFailure
from evo_core.seeding import environment_seeds
from evo_core.training import train

TESTED = 30
"""Episodes of an incumbent's independent test."""

FINAL = 100
"""Episodes of the test of what an arm delivers at its end."""

Hyperparameters = dict[str, Number]


class BudgetSpent(Exception):
    """Ends an arm: its budget is spent, or it need not go on."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A member of an arm: its genome, its checkpoint (None before any training), training steps, last fitness.

    The fitness is minus infinity before any evaluation and once training or evaluation has failed.
    """

    genome: Genome
    blob: bytes | None = None
    steps: int = 0
    fitness: float = -np.inf

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The genes."""
        return self.genome.hyperparameters


@dataclass(frozen=True, slots=True)
class Point:
    """A new incumbent: total steps when it was found, its own fitness, and the mean of its independent test."""

    steps: int
    uid: str
    fitness: float
    test: float


class Race:
    """The ledger of one run of one arm.

    A checkpoint becomes the incumbent when its fitness is no more than its own standard error below the highest that
    the arm has measured so far: by the same rule for all arms, which a lucky evaluation does not freeze. Each new
    incumbent plays TESTED episodes, uncounted, on seeds that are the same for all arms of a seed.
    An arm that starts a slice within its budget may finish it.
    """

    def __init__(self, config: RunConfig, budget: int, stop_at: float | None = None) -> None:
        self.config, self.budget, self.stop_at = config, budget, stop_at
        self.spaces = inspect_environment(config).spaces
        self.configured = Candidate(initial_genome(config, self.spaces.observation))
        self.rng = np.random.default_rng([config.seed, 1])
        self.train_steps = self.eval_steps = 0
        self.points: list[Point] = []
        self._delivered: bytes | None = None
        self._best = -np.inf
        self._calls = 0
        self._test_s = 0.0

    @property
    def steps(self) -> int:
        """Total environment steps so far."""
        return self.train_steps + self.eval_steps

    def draw(self) -> Candidate:
        """Draw the genes of an untrained candidate from the search space."""
        kinds = evolvable_hyperparameters()
        genes = {
            name: gene.sample(self.rng, integer=kinds[name] is int) for name, gene in sorted(self.config.search.items())
        }
        return self.with_genes(self.configured, genes)

    def with_genes(self, candidate: Candidate, genes: Hyperparameters) -> Candidate:
        """Return a candidate with other hyperparameters and the same weights."""
        return replace(candidate, genome=candidate.genome.model_copy(update={"hyperparameters": genes}))

    def advance(self, candidate: Candidate, steps: int, evaluations: int | None = None) -> Candidate:
        """Train a candidate for about `steps` (whole steps of all environments), evaluate it, and count both.

        Candidates that are given the same number `evaluations` are evaluated on the same seeds. Raises BudgetSpent when
        nothing is left to start with.
        """
        self.require_budget()
        self._calls += 1
        envs = self.config.env.num_envs
        config = self.config.model_copy(
            update={"training": self.config.training.model_copy(update={"evo_steps": max(1, steps // envs) * envs})}
        )
        offspring = self._offspring(candidate)
        blob, training = train(config, offspring, candidate.blob, self.spaces)
        self.train_steps += training.steps
        trained = replace(candidate, blob=blob, steps=candidate.steps + training.steps, fitness=-np.inf)
        if blob is None:
            return replace(trained, blob=candidate.blob)
        seeds = evaluation_seeds(self.config, self._calls if evaluations is None else 2**20 + evaluations)
        evaluation = self._evaluate(blob, seeds)
        if isinstance(evaluation, MemberFailure):
            self.eval_steps += evaluation.step
            return trained
        self.eval_steps += evaluation.steps
        self.consider(offspring.uid, blob, evaluation)
        return replace(trained, fitness=evaluation.fitness)

    def require_budget(self) -> None:
        """Raise BudgetSpent when the budget is spent, or the target reached in a race that stops there."""
        reached = self.stop_at is not None and any(point.test >= self.stop_at for point in self.points)
        if reached or self.steps >= self.budget:
            raise BudgetSpent

    def count(self, train_steps: int, eval_steps: int) -> None:
        """Count the steps of an arm that trains and evaluates by itself."""
        self.train_steps += train_steps
        self.eval_steps += eval_steps

    def consider(self, name: str, blob: bytes, evaluation: Evaluation) -> None:
        """Make a checkpoint the incumbent if it is as good as the best so far, and test it."""
        fitness = evaluation.fitness
        if fitness < self._best - (evaluation.fitness_sem or 0):
            return
        self._best = max(self._best, fitness)
        self._delivered = blob
        began = time.process_time()
        self.points.append(Point(self.steps, name, fitness, float(np.mean(self.test(TESTED)))))
        self._test_s += time.process_time() - began

    def test(self, episodes: int) -> list[float]:
        """Return the returns of the incumbent on fresh episodes, uncounted; of a run that found none, nothing."""
        if self._delivered is None:
            return []
        seeds = environment_seeds(np.random.default_rng([self.config.seed, 2, episodes]), episodes)
        with one_thread():
            agent = Agent(from_bytes(self._delivered, self.spaces), self.spaces)
            return [float(value) for value in play_episodes(agent, self.config, seeds).returns]

    @property
    def test_s(self) -> float:
        """CPU seconds of the incumbents' tests."""
        return self._test_s

    def _offspring(self, candidate: Candidate) -> Offspring:
        """Address the random streams of a slice by its number; a founder draws its weights there too."""
        blob = candidate.blob
        return Offspring(
            uid=uid(self._calls, 0),
            generation=self._calls,
            index=0,
            parent=uid(0, 0) if blob else None,
            parent_blob=BlobRef(sha256=sha256(blob), size=len(blob)) if blob else None,
            genome=candidate.genome,
            mutation=NONE,
        )

    def _evaluate(self, blob: bytes, seeds: list[int]) -> Evaluation | MemberFailure:
        with one_thread():
            try:
                return evaluate(Agent(from_bytes(blob, self.spaces), self.spaces), self.config, seeds)
            except MemberFailure as failure:
                return failure

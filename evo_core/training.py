"""One member's generation: inherit, train, evaluate. Pure: bytes and records in, bytes and records out."""

import logging
from collections.abc import Callable

import numpy as np
import torch

from evo_core.agent.agent import Agent, AgentState, initial_state
from evo_core.agent.checkpoint import from_bytes, to_bytes
from evo_core.agent.normalization import initial_statistics
from evo_core.agent.transfer import output_shift, perturb, transfer
from evo_core.config.run_config import RunConfig
from evo_core.config.sections import AlgorithmConfig
from evo_core.envs.backends import make_vect_envs
from evo_core.evaluation.episodes import evaluate, evaluation_seeds
from evo_core.genome.genome import algorithm_of
from evo_core.networks.inputs import Tensors
from evo_core.numerics.provenance import one_thread
from evo_core.ppo.learn import LearnStats, learn
from evo_core.ppo.learning_rate import decayed
from evo_core.ppo.rollout import Rollout, collect_rollouts, rollout_lengths
from evo_core.records.canonical import sha256
from evo_core.records.chain import BlobRef, Failure, FailureDetail, FailureReason, Member, Offspring, Training, Update
from evo_core.records.failures import REPORTED_ELSEWHERE, MemberFailure
from evo_core.seeding import Purpose, environment_seeds, stream
from evo_core.spaces.observations import ObservationLayout
from evo_core.spaces.spaces import Spaces

PROBES = 64
"""Random observations on which the shift of a transfer is measured."""

log = logging.getLogger(__name__)


def inherit(
    config: RunConfig, offspring: Offspring, parent: AgentState | None, spaces: Spaces
) -> tuple[AgentState, float | None]:
    """Return an offspring's state: fresh weights for a founder, else its parent's, mutated.

    Returns it with the output shift of the transfer (None for a founder).
    """
    rng = stream(config.seed, offspring.generation, offspring.index, Purpose.TRANSFER)
    if parent is None:
        algorithm = config.algorithm
        statistics = initial_statistics(
            ObservationLayout(spaces.observation),
            observations=algorithm.normalize_observations,
            returns=algorithm.normalize_returns,
        )
        state = initial_state(offspring.genome, spaces, algorithm.action_std_init, rng, statistics)
        return _noise(state, offspring, config, rng), None
    state = _noise(transfer(parent, offspring.genome, spaces, rng), offspring, config, rng)
    return state, output_shift(parent, state, spaces, probe_observations(spaces, rng))


def train(
    config: RunConfig,
    offspring: Offspring,
    parent: bytes | None,
    spaces: Spaces,
    device: torch.device | str = "cpu",
    on_update: Callable[[Update], None] = lambda update: None,
    on_failure: Callable[[FailureDetail], None] = lambda detail: None,
    *,
    steps: int | None = None,
) -> tuple[bytes | None, Training]:
    """Train an offspring for one generation, from its parent's checkpoint (None for a founder).

    An archived one is not trained: its checkpoint is its parent's.

    Returns its own checkpoint and the record; no checkpoint when it failed. `on_update` is called after each rollout,
    `on_failure` with the details of a failure, which the record does not contain. `steps`: environment steps, instead
    of `training.evo_steps`; ValueError unless they are a multiple of `env.num_envs`.
    """
    steps = config.training.evo_steps if steps is None else steps
    if steps < 1 or steps % config.env.num_envs:
        raise ValueError(f"steps: expected a positive multiple of env.num_envs ({config.env.num_envs}), got {steps}")
    if offspring.archived:
        return parent, Training(uid=offspring.uid, steps=0, blob=offspring.parent_blob)
    updates: list[Update] = []
    shift: float | None = None
    with one_thread():
        try:
            state, shift = inherit(
                config, offspring, from_bytes(parent, spaces) if parent is not None else None, spaces
            )
            agent = Agent(state, spaces, device)
            _train(agent, config, offspring, steps, updates, on_update)
        except MemberFailure as failure:
            log.warning("%s failed: %s", offspring.uid, failure, extra=REPORTED_ELSEWHERE)
            on_failure(failure.describe())
            return None, Training(
                uid=offspring.uid,
                steps=failure.step,
                curve=tuple(updates),
                output_shift=shift,
                failure=failure.record(),
            )
        blob = to_bytes(agent.state())
    reference = BlobRef(sha256=sha256(blob), size=len(blob))
    return blob, Training(uid=offspring.uid, steps=steps, curve=tuple(updates), blob=reference, output_shift=shift)


def evaluate_member(
    config: RunConfig,
    offspring: Offspring,
    training: Training,
    blob: bytes | None,
    spaces: Spaces,
    device: torch.device | str = "cpu",
    on_failure: Callable[[FailureDetail], None] = lambda detail: None,
) -> Member:
    """Evaluate a trained offspring on its generation's seeds; one that failed in training stays failed."""
    if training.failure is not None or blob is None:
        return Member(offspring=offspring, training=training, failure=training.failure)
    with one_thread():
        try:
            agent = Agent(from_bytes(blob, spaces), spaces, device)
            result = evaluate(agent, config, evaluation_seeds(config, offspring.generation))
        except MemberFailure as failure:
            log.warning("%s failed in evaluation: %s", offspring.uid, failure, extra=REPORTED_ELSEWHERE)
            on_failure(failure.describe(trained=training.steps))
            record = Failure(reason=failure.reason, step=training.steps + failure.step)
            return Member(offspring=offspring, training=training, failure=record)
    return Member(offspring=offspring, training=training, evaluation=result)


def record_lost_member(offspring: Offspring, training: Training | None, reason: FailureReason) -> Member:
    """Create the record of a member all of whose attempts were lost, in evaluation if it was trained."""
    failure = Failure(reason=reason, step=training.steps if training else 0)
    untrained = Training(uid=offspring.uid, steps=0, failure=failure)
    return Member(offspring=offspring, training=training or untrained, failure=failure)


def probe_observations(spaces: Spaces, rng: np.random.Generator) -> Tensors:
    """Draw PROBES random observations."""
    return {
        name: torch.from_numpy(rows) for name, rows in ObservationLayout(spaces.observation).draw(PROBES, rng).items()
    }


def _train(
    agent: Agent,
    config: RunConfig,
    offspring: Offspring,
    steps: int,
    updates: list[Update],
    on_update: Callable[[Update], None],
) -> None:
    seed, address = config.seed, (offspring.generation, offspring.index)
    algorithm = algorithm_of(offspring.genome, config)
    acting, shuffling = stream(seed, *address, Purpose.ROLLOUT), stream(seed, *address, Purpose.MINIBATCH)
    num_envs = config.env.num_envs
    seeds = environment_seeds(stream(seed, *address, Purpose.ENVIRONMENT), num_envs)
    envs = make_vect_envs(config.env, seeds)
    try:
        for length in rollout_lengths(steps // num_envs, algorithm.learn_step / num_envs):
            rollout = collect_rollouts(agent, envs, length, acting)
            if not rollout.valid.any():  # a single row in which all environments were reset
                continue
            generations = offspring.generation - 1 + (envs.steps - rollout.steps) / steps
            current = _scheduled(algorithm, generations / config.max_generations)
            updates.append(_update(rollout, learn(agent, rollout, current, shuffling, envs.steps), current))
            on_update(updates[-1])
    finally:
        envs.close()


def _scheduled(algorithm: AlgorithmConfig, progress: float) -> AlgorithmConfig:
    """Return the hyperparameters of an update that begins after a share of the run's budget."""
    if algorithm.lr_schedule != "linear":
        return algorithm
    return algorithm.model_copy(update={"lr": decayed(algorithm.lr, progress)})


def _update(rollout: Rollout, stats: LearnStats, algorithm: AlgorithmConfig) -> Update:
    returns = rollout.episode_returns
    return Update(
        steps=rollout.steps,
        episodes=len(returns),
        episode_return=float(np.mean(returns)) if returns else None,
        episode_length=float(np.mean(rollout.episode_lengths)) if returns else None,
        policy_loss=stats.policy_loss,
        value_loss=stats.value_loss,
        entropy=stats.entropy,
        approx_kl=stats.approx_kl,
        clip_fraction=stats.clip_fraction,
        explained_variance=stats.explained_variance,
        grad_norm=stats.grad_norm,
        epochs=stats.epochs,
        lr=None if algorithm.lr_schedule == "constant" else stats.lr,
    )


def _noise(state: AgentState, offspring: Offspring, config: RunConfig, rng: np.random.Generator) -> AgentState:
    return perturb(state, config.mutation.mutation_sd, rng) if offspring.mutation.kind == "parameters" else state

"""Compare an exported policy with its agent on the same steps of real episodes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from evo_core.agent.agent import Agent
from evo_core.config.run_config import RunConfig
from evo_core.envs.sync_vector import SyncEnvs
from evo_core.export.policy import Policy
from evo_core.networks.distributions.distribution import masked
from evo_core.spaces.observations import Arrays, take

Run = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
"""One call of an exported policy: its inputs in order to its outputs in order."""

TOLERANCE = 1e-4
"""Largest difference that rounding explains in large networks, relative to the larger of one and the number itself."""


@dataclass(frozen=True, slots=True)
class Step:
    """Observations of B environments, and the outputs of the agent.

    `began` [B]: whether an episode begins; `mask` [B, options], None where all is allowed; `logits` [B, A]: the
    distribution's parameters; `action` [B, *shape]; `memory` [B, M] after the step, that of the policy's encoder.
    """

    observations: Arrays
    began: np.ndarray
    mask: np.ndarray | None
    logits: np.ndarray
    action: np.ndarray
    memory: np.ndarray


def play_steps(agent: Agent, config: RunConfig, seeds: Sequence[int], count: int) -> list[Step]:
    """Play `count` steps in one environment per seed, episode after episode, with the most likely actions.

    In fewer environments where `env.max_instances` is lower. Raises MemberFailure when an environment breaks.
    """
    network, played, seeds = agent.network, [], seeds[: config.env.max_instances]
    envs, memory = SyncEnvs(config.env, seeds), agent.no_memory(len(seeds))
    began = np.ones(len(seeds), np.bool_)
    try:
        with torch.inference_mode():
            for _ in range(count):
                logits, memory = network.policy(agent.observe(envs.observations), memory)
                mask = None if envs.masks is None else envs.masks.copy()
                logits = masked(logits, None if mask is None else agent.move(mask))
                action = list(network.distribution.to_env(network.distribution.mode(logits).cpu().numpy()))
                after = memory[:, : network.encoder.memory_size].cpu().numpy().copy()
                shown = take(envs.observations, slice(None))
                played.append(Step(shown, began, mask, logits.cpu().numpy(), np.array(action), after))
                made = envs.step(action)
                began = made.terminated | made.truncated
                memory = torch.where(agent.move(began)[:, None], 0.0, memory)
    finally:
        envs.close()
    return played


def gives_masks(steps: Sequence[Step]) -> bool:
    """Return True if the environment provided an action mask."""
    return any(step.mask is not None for step in steps)


def largest_difference(policy: Policy, run: Run, steps: Sequence[Step]) -> float:
    """Run an exported policy on its agent's observations; return the largest difference of an output.

    Differences of large numbers are relative. A discrete action is compared with the best of its own logits, so that
    either of two equally good options is accepted; for any other action the result is infinite.
    ValueError when an output has another shape or type.
    """
    largest, memory = 0.0, np.zeros((len(steps[0].began), policy.memory_size), np.float32)
    for step in steps:
        given = dict(step.observations)
        mask = np.ones(step.logits.shape, np.bool_) if step.mask is None else step.mask
        memory = np.where(step.began[:, None], np.float32(0), memory)
        own = {"action_mask": mask, "memory": memory}
        inputs = [
            (given[port.name] if port.role == "observation" else own[port.role]).astype(port.dtype)
            for port in policy.inputs
        ]
        found = {port.role: output for port, output in zip(policy.outputs, run(inputs), strict=True)}
        for port in policy.outputs:
            shape, got = (len(mask), *port.shape), found[port.role]
            if got.shape != shape or got.dtype != port.dtype:
                raise ValueError(f"{port.name}: expected {port.dtype} {shape}, got {got.dtype} {got.shape}")
        if "logits" in found:
            best = policy.distribution.mode(torch.from_numpy(found["logits"])).numpy()
            if not np.array_equal(found["action"], np.array(list(policy.distribution.to_env(best)))):
                return float("inf")
            pairs = [(found["logits"], step.logits)]
        else:
            pairs = [(found["action"], step.action)]
        if policy.memory_size:
            memory = found["memory"]
            pairs.append((memory, step.memory))
        for got, expected in pairs:
            gap = np.abs(got.astype(np.float64) - expected) / np.maximum(1, np.abs(expected))
            half = got.dtype == np.float16 and gap <= np.finfo(np.float16).eps  # rounding of float16
            largest = float(np.max(np.where(half, 0.0, gap), initial=largest))
    return largest

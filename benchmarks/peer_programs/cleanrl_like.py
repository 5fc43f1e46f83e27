"""One plain loop in the manner of CleanRL's ppo.py: torch, autograd, Adam, Gymnasium's SyncVectorEnv."""

from itertools import pairwise

import gymnasium as gym
import numpy as np
import torch
import workload as w
from torch import nn
from torch.distributions import Categorical

GAMMA, LAMBDA, CLIP, ENTROPY, VALUE, NORM = 0.99, 0.95, 0.2, 0.01, 0.5, 0.5


class Agent(nn.Module):
    """A shared encoder with a head for the policy and one for the value."""

    def __init__(self, observation: int, actions: int) -> None:
        super().__init__()
        sizes = [observation, w.HIDDEN, w.HIDDEN, w.HIDDEN]
        self.encoder = nn.Sequential(*[layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())])
        self.actor = nn.Sequential(nn.Linear(w.HIDDEN, w.HEAD), nn.ReLU(), nn.Linear(w.HEAD, actions))
        self.critic = nn.Sequential(nn.Linear(w.HIDDEN, w.HEAD), nn.ReLU(), nn.Linear(w.HEAD, 1))

    def forward(self, observations: torch.Tensor, actions: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """Return actions, their log probabilities and entropies, and values."""
        hidden = self.encoder(observations)
        policy = Categorical(logits=self.actor(hidden))
        actions = policy.sample() if actions is None else actions
        return actions, policy.log_prob(actions), policy.entropy(), self.critic(hidden).squeeze(-1)


def agent() -> tuple[int, float]:
    torch.set_num_threads(1)
    envs = gym.vector.SyncVectorEnv([lambda: gym.make(w.ENV, disable_env_checker=True)] * w.ENVS)
    model = Agent(envs.single_observation_space.shape[0], int(envs.single_action_space.n))
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-5)
    state = [torch.as_tensor(envs.reset(seed=0)[0]), torch.zeros(w.ENVS)]
    update(model, adam, *collect(model, envs, state))

    def work() -> None:
        for _ in range(w.ROLLOUTS):
            update(model, adam, *collect(model, envs, state))

    return w.ROLLOUTS * w.LEARN_STEP, w.timed(work)


def collect(model: Agent, envs: gym.vector.VectorEnv, state: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Collect a rollout; return flat observations, actions, log probabilities, advantages and returns."""
    observation, done = state
    rows = []
    for _ in range(w.LENGTH):
        with torch.no_grad():
            action, log_prob, _, value = model(observation)
        after, reward, terminated, truncated, _ = envs.step(action.numpy())
        rows.append((observation, action, log_prob, value, done, torch.as_tensor(reward, dtype=torch.float32)))
        observation = torch.as_tensor(after)
        done = torch.as_tensor(np.logical_or(terminated, truncated), dtype=torch.float32)
    state[:] = observation, done
    observations, actions, log_probs, values, dones, rewards = map(torch.stack, zip(*rows, strict=True))
    with torch.no_grad():
        next_value, next_done, last = model(observation)[3], done, torch.zeros(w.ENVS)
    advantages = torch.zeros_like(rewards)
    for t in reversed(range(w.LENGTH)):
        delta = rewards[t] + GAMMA * next_value * (1 - next_done) - values[t]
        last = advantages[t] = delta + GAMMA * LAMBDA * (1 - next_done) * last
        next_value, next_done = values[t], dones[t]
    flat = (observations, actions, log_probs, advantages, advantages + values)
    return tuple(part.flatten(0, 1) for part in flat)


def update(model: Agent, adam: torch.optim.Adam, *rollout: torch.Tensor) -> None:
    """Train on a rollout, EPOCHS times in minibatches."""
    for _ in range(w.EPOCHS):
        for rows in torch.randperm(w.LEARN_STEP).split(w.BATCH):
            observations, actions, old, advantages, returns = (part[rows] for part in rollout)
            _, log_prob, entropy, value = model(observations, actions)
            ratio = (log_prob - old).exp()
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
            policy = -torch.min(advantages * ratio, advantages * ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
            loss = policy - ENTROPY * entropy.mean() + VALUE * 0.5 * (value - returns).square().mean()
            adam.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), NORM)
            adam.step()


if __name__ == "__main__":
    w.report({"agent": agent})

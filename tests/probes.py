"""Environments so small that the right answer is known, and each fails for one kind of wrong learner."""

import os
import sys
import time
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Probe(gym.Env[Any, Any]):
    """A number as the observation; subclasses say what reward and end follow an action."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(2)
    choices: ClassVar[tuple[float, ...]] = (0.0,)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        self.state = float(self.np_random.choice(self.choices))
        return self._observe(), {}

    def step(self, action):
        self.time += 1
        reward, terminated = self.outcome(action)
        return self._observe(), float(reward), terminated, False, {}

    def outcome(self, action):
        raise NotImplementedError

    def _observe(self):
        return np.array([self.state], np.float32)


class ValueOnly(Probe):
    """One action, one step, reward 1: V = 1."""

    action_space = spaces.Discrete(1)

    def outcome(self, action):
        return 1.0, True


class ObservationReward(Probe):
    """One action, one step, reward = observation: V(−1) = −1, V(1) = 1."""

    action_space = spaces.Discrete(1)
    choices = (-1.0, 1.0)

    def outcome(self, action):
        return self.state, True


class Discounting(Probe):
    """One action, two steps, reward 1 at the end: V(first) = γ, V(second) = 1."""

    action_space = spaces.Discrete(1)

    def outcome(self, action):
        self.state = 1.0
        return float(self.time == 2), self.time == 2


class ActionReward(Probe):
    """One step, reward 1 for action 1 and −1 for action 0."""

    def outcome(self, action):
        return 2.0 * action - 1.0, True


class Policy(Probe):
    """One step, reward 1 when the action names the observation's sign."""

    choices = (-1.0, 1.0)

    def outcome(self, action):
        return 1.0 if action == (self.state > 0) else -1.0, True


class TwoStepCredit(Probe):
    """The first of two actions decides the reward that comes after the second."""

    choices = (0.0,)

    def outcome(self, action):
        if self.time == 1:
            self.first = int(action)
            self.state = 1.0  # the second state does not tell which action was taken
            return 0.0, False
        return (1.0 if self.first == 1 else -1.0), True


class DelayedReward(Probe):
    """Five steps; the reward, known from the first action, comes only at the end. Observes time and first action."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def outcome(self, action):
        if self.time == 1:
            self.first = int(action)
        self.state = (self.time / 5) * (1 if self.first else -1)
        return (float(self.first) if self.time == 5 else 0.0), self.time == 5


class Continuous(Probe):
    """One step, reward −(a − target)²: the mean must go to the target, which the observation gives."""

    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    choices = (-0.5, 0.5)

    def outcome(self, action):
        return -float(np.square(action - self.state).sum()), True


class TruncationBootstrap(Probe):
    """One action, reward 1 for ever, cut every step by a time limit: V = 1 / (1 − γ), not 1."""

    action_space = spaces.Discrete(1)

    def outcome(self, action):
        return 1.0, False


class Grid(gym.Env[Any, Any]):
    """An n × n grid, corner to corner; reward 1 at the goal and nothing else, cut after twice the shortest path."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
    action_space = spaces.Discrete(4)

    def __init__(self, n: int = 4) -> None:
        self.n = n
        self.observation_space = spaces.Discrete(n * n)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.row = self.column = 0
        return 0, {}

    def step(self, action):
        dr, dc = ((0, 1), (0, -1), (1, 0), (-1, 0))[action]
        self.row = min(max(self.row + dr, 0), self.n - 1)
        self.column = min(max(self.column + dc, 0), self.n - 1)
        arrived = self.row == self.column == self.n - 1
        return self.row * self.n + self.column, float(arrived), arrived, False, {}


class Faulty(Probe):
    """Breaks after `after` steps of one environment: what = nan_observation, nan_reward, raise or inf_reward."""

    choices = (-1.0, 1.0)

    def __init__(self, what: str = "nan_reward", after: int = 10, odds: float = 1.0) -> None:
        self.what, self.after, self.odds, self.total = what, after, odds, 0

    def outcome(self, action):
        self.total += 1
        if self.total > self.after and self.np_random.random() < self.odds:
            if self.what == "print":
                print("an environment that talks", flush=True)
            if self.what == "exit":
                os._exit(1)
            if self.what == "sys.exit":
                sys.exit("goodbye")
            if self.what == "hang":
                time.sleep(10_000)
            if self.what == "swallow":
                self.swallowed = [bytearray(os.urandom(2**20) * 64) for _ in range(64)]  # 4 GiB that are really there
            if self.what == "raise":
                raise RuntimeError("the simulator fell over")
            if self.what == "nan_observation":
                self.state = float("nan")
            if self.what == "nan_last_observation":
                self.state = float("nan")
                return 1.0, True
            if self.what == "nan_reward":
                return float("nan"), True
            if self.what == "inf_reward":
                return float("inf"), True
        return 1.0 if action == (self.state > 0) else -1.0, self.time >= 4


class ReusedBuffer(Probe):
    """Observes how many steps it has made, always in the same array, which reset overwrites."""

    observation_space = spaces.Box(0.0, 100.0, (1,), np.float32)

    def __init__(self) -> None:
        self.buffer = np.zeros(1, np.float32)

    def outcome(self, action):
        return 0.0, False

    def _observe(self):
        self.buffer[0] = self.time
        return self.buffer


class Coin(Probe):
    """One step; reward 1 for guessing a coin that reset drew and that is not shown."""

    def reset(self, *, seed=None, options=None):
        observed = super().reset(seed=seed)
        self.coin = int(self.np_random.random() < 0.5)
        return observed

    def outcome(self, action):
        return float(action == self.coin), True


class Unseeded(Probe):
    """Draws from a generator that nobody seeds."""

    def _observe(self):
        return np.random.default_rng().random(1, np.float32)

    def outcome(self, action):
        return 0.0, False


class Huge(Probe):
    """Observes finite numbers so large that a network's outputs are not."""

    observation_space = spaces.Box(-np.inf, np.inf, (64,), np.float32)

    def _observe(self):
        return np.full(64, 3e38, np.float32)

    def outcome(self, action):
        return 1.0, True


class HugeContinuous(Huge):
    """The same with continuous actions, which must never reach the environment as NaN."""

    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def outcome(self, action):
        assert np.isfinite(action).all()
        return 1.0, True


class OutsideItsSpace(Probe):
    """Observes a number that its discrete space does not have, at the third step."""

    observation_space = spaces.Discrete(3, start=5)

    def _observe(self):
        return 5 if self.time < 3 else 8

    def outcome(self, action):
        return 1.0, False


class Shifted(Probe):
    """Discrete observations and actions that do not start at zero: reward 1 for the action that is the observation."""

    observation_space = spaces.Discrete(3, start=5)
    action_space = spaces.Discrete(3, start=5)
    choices = (5, 6, 7)

    def _observe(self):
        return int(self.state)

    def outcome(self, action):
        assert self.action_space.contains(action)
        return float(action == self.state), True


class OddActions(Probe):
    """Continuous actions in a table, some sides unbounded."""

    action_space = spaces.Box(
        np.array([[-1, -np.inf], [0, -2]], np.float64),
        np.array([[1, np.inf], [np.inf, 2]], np.float64),
        dtype=np.float64,
    )

    def outcome(self, action):
        assert self.action_space.contains(action)
        return -float(np.square(action - 0.5).sum()), self.time == 3


class NoLimit(Probe):
    """Never ends."""

    def outcome(self, action):
        return 0.0, False


class TextSpace(Probe):
    """Observes words, which no encoder reads."""

    observation_space = spaces.Dict({"direction": spaces.Discrete(4), "mission": spaces.Text(10)})


class NoElements(Probe):
    """Observes nothing at all."""

    observation_space = spaces.Box(-1.0, 1.0, (0,), np.float32)


class TextActions(Probe):
    """Accepts what no policy says."""

    action_space = spaces.Text(3)


PROBES: dict[str, tuple[type[gym.Env[Any, Any]], int | None]] = {
    "ValueOnly": (ValueOnly, 10),
    "ObservationReward": (ObservationReward, 10),
    "Discounting": (Discounting, 10),
    "ActionReward": (ActionReward, 10),
    "Policy": (Policy, 10),
    "TwoStepCredit": (TwoStepCredit, 10),
    "DelayedReward": (DelayedReward, 10),
    "Continuous": (Continuous, 10),
    "TruncationBootstrap": (TruncationBootstrap, 1),
    "Faulty": (Faulty, 50),
    "NoLimit": (NoLimit, None),
    "ReusedBuffer": (ReusedBuffer, 5),
    "Coin": (Coin, 10),
    "Unseeded": (Unseeded, 10),
    "Huge": (Huge, 10),
    "HugeContinuous": (HugeContinuous, 10),
    "OutsideItsSpace": (OutsideItsSpace, 10),
    "Shifted": (Shifted, 10),
    "OddActions": (OddActions, 10),
    "TextSpace": (TextSpace, 10),
    "NoElements": (NoElements, 10),
    "TextActions": (TextActions, 10),
}


def register() -> None:
    """Register every probe as Probe/<name>-v0, and the grids as Probe/Grid4-v0 and Probe/Grid6-v0."""
    for name, (probe, limit) in PROBES.items():
        gym.register(f"Probe/{name}-v0", entry_point=probe, max_episode_steps=limit)
    for n in (4, 6):
        gym.register(f"Probe/Grid{n}-v0", entry_point=Grid, kwargs={"n": n}, max_episode_steps=4 * (n - 1))

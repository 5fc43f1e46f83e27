"""Environments with known solutions, each of which detects one kind of error in a learner."""

import asyncio
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
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
            if self.what == "warn":
                warnings.warn("joint limit near", stacklevel=1)
                logging.getLogger("mysim").warning("torque %d saturated", 3)
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


class NotInProcesses(Probe):
    """Can be made in the process that a user tries it in, and not in the second one of a vector."""

    def __init__(self) -> None:
        if multiprocessing.current_process().name.endswith("-1") and multiprocessing.parent_process() is not None:
            raise RuntimeError("no display")


class NeverReset(gym.vector.VectorEnv[Any, Any, Any]):
    """A vector version that leaves finished environments to its caller."""

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": gym.vector.AutoresetMode.DISABLED}

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = Probe.observation_space, Probe.action_space


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


class Remember(Probe):
    """Shows a sign once; the reward is for naming it `delay` steps later. Without a memory nothing beats a guess."""

    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    choices = (-1.0, 1.0)

    def __init__(self, delay: int = 4) -> None:
        self.delay = delay

    def _observe(self):
        return np.array([self.state * (self.time == 0), self.time == self.delay], np.float32)

    def outcome(self, action):
        if self.time <= self.delay:
            return 0.0, False
        return (1.0 if action == (self.state > 0) else -1.0), True


class ForbiddenFruit(Probe):
    """One step; action 0 pays most but is forbidden, among 1 to 3 the one allowed that the sign names pays 1."""

    action_space = spaces.Discrete(4)
    choices = (-1.0, 1.0)

    def reset(self, *, seed=None, options=None):
        observation, _ = super().reset(seed=seed)
        return observation, self._info()

    def step(self, action):
        assert self._info()["action_mask"][action], "a forbidden action was taken"
        return (*super().step(action)[:4], self._info())

    def _info(self):
        return {"action_mask": np.array([0, 1, self.state > 0, 1], np.int8)}

    def outcome(self, action):
        return (1.0 if action == (2 if self.state > 0 else 3) else 0.0), True


class MaskedMemory(Remember):
    """Remember, with a third action that is always forbidden."""

    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0], {"action_mask": np.array([1, 1, 0], np.int8)}

    def step(self, action):
        assert action < 2, "a forbidden action was taken"
        return (*super().step(action)[:4], {"action_mask": np.array([1, 1, 0], np.int8)})


class MultiDiscreteSigns(Probe):
    """One step; two choices, each of which must name the sign in its own way."""

    action_space = spaces.MultiDiscrete([2, 3], start=[5, -1])
    choices = (-1.0, 1.0)

    def outcome(self, action):
        assert self.action_space.contains(action)
        up = self.state > 0
        return float(action[0] == (6 if up else 5)) + float(action[1] == (1 if up else -1)), True


class Switches(Probe):
    """One step; four switches, reward for each that is set as the observation shows."""

    observation_space = spaces.MultiBinary(4)
    action_space = spaces.MultiBinary(4)

    def _observe(self):
        if self.time == 0:
            self.lamps = self.np_random.integers(0, 2, 4).astype(np.int8)
        return self.lamps

    def outcome(self, action):
        assert self.action_space.contains(action)
        return float((action == self.lamps).mean()), True


class Liar(Probe):
    """A dictionary with three leaves; one tells the truth about the rewarded action, two are noise."""

    observation_space = spaces.Dict(
        {
            "honest": spaces.Discrete(2),
            "liar": spaces.Discrete(2),
            "noise": spaces.Dict({"loud": spaces.Box(-3, 3, (3,), np.float32)}),
        }
    )

    def _observe(self):
        if self.time == 0:
            self.truth, self.lie = (int(self.np_random.integers(2)) for _ in range(2))
        noise = np.clip(self.np_random.standard_normal(3), -3, 3).astype(np.float32)
        return {"honest": self.truth, "liar": self.lie, "noise": {"loud": noise}}

    def outcome(self, action):
        return float(action == self.truth), True


class Pair(Probe):
    """A tuple of two indices; the rewarded action is whether they are equal: neither alone tells."""

    observation_space = spaces.Tuple((spaces.Discrete(2), spaces.MultiDiscrete([2])))

    def _observe(self):
        if self.time == 0:
            self.first, self.second = (int(self.np_random.integers(2)) for _ in range(2))
        return self.first, np.array([self.second])

    def outcome(self, action):
        return float(action == (self.first == self.second)), True


class BrightPixel(Probe):
    """An image with one bright pixel; the rewarded action names its quarter."""

    observation_space = spaces.Box(0, 255, (8, 8, 3), np.uint8)
    action_space = spaces.Discrete(4)

    def _observe(self):
        if self.time == 0:
            self.row, self.column = (int(self.np_random.integers(8)) for _ in range(2))
        image = np.zeros((8, 8, 3), np.uint8)
        image[self.row, self.column, 1] = 255
        return image

    def outcome(self, action):
        return float(action == 2 * (self.row >= 4) + (self.column >= 4)), True


class Squashed(Probe):
    """One step; reward −(a − target)² where the range is lopsided and the target lies near its edge."""

    action_space = spaces.Box(np.array([-1, 0], np.float32), np.array([3, 10], np.float32))
    choices = (-1.0, 1.0)

    def outcome(self, action):
        assert self.action_space.contains(action)
        target = np.array([2.5, 8.0]) if self.state > 0 else np.array([0.0, 2.0])
        return -float(np.square((action - target) / np.array([4.0, 10.0])).sum()), True


class FarAway(Probe):
    """Policy, but what is observed is a million away from zero and moves by one; rewards are in thousands."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    choices = (-1.0, 1.0)

    def _observe(self):
        return np.array([1e4 + self.state, -5e3], np.float32)

    def outcome(self, action):
        return (1e3 if action == (self.state > 0) else -1e3), True


class Wrong(Probe):
    """Observes what its space does not allow from the third step on: shape, dtype, or a leaf that is missing."""

    observation_space = spaces.Dict({"a": spaces.Box(-1, 1, (2,), np.float32), "b": spaces.Box(0, 9, (3,), np.uint8)})

    def __init__(self, what: str = "shape", after: int = 3, odds: float = 1.0) -> None:
        self.what, self.after, self.odds = what, after, odds

    def _observe(self):
        good = {"a": np.zeros(2, np.float32), "b": np.zeros(3, np.uint8)}
        if self.time < self.after or self.np_random.random() >= self.odds:
            return good
        return {
            "shape": {**good, "a": np.zeros(3, np.float32)},
            "dtype": {**good, "b": np.zeros(3, np.float64)},
            "missing": {"a": good["a"]},
            "nan": {**good, "a": np.array([0, np.nan], np.float32)},
            "garbage": "garbage",
            "overflow": {**good, "b": np.array([300, -1, 0])},
            "outside": {**good, "a": np.array([0, 5], np.float32)},
        }[self.what]

    def outcome(self, action):
        return 0.0, False


class Returns(Probe):
    """Returns from step what a test sets: `values` by part of the tuple; `all` is how many parts it has."""

    values: ClassVar[dict[str, Any]] = {}

    def step(self, action):
        parts = {"observation": self._observe(), "reward": 1.0, "terminated": False, "truncated": False, "info": {}}
        return tuple((parts | self.values).values())[: self.values.get("all")]


class ReturnsVector(gym.vector.VectorEnv[Any, Any, Any]):
    """The same as a vector version."""

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}
    values: ClassVar[dict[str, Any]] = {}

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = Probe.observation_space, Probe.action_space

    def reset(self, *, seed=None, options=None):
        return np.zeros((self.num_envs, 1), np.float32), {}

    def step(self, actions):
        no = np.zeros(self.num_envs, np.bool_)
        parts = {"reward": no.astype(np.float64), "terminated": no, "truncated": no, "info": {}}
        return (self.reset()[0], *(parts | self.values).values())


class RaggedInfo(Probe):
    """Its infos hold arrays that grow, and things that cannot be merged."""

    def step(self, action):
        made = super().step(action)
        return (*made[:4], {"contacts": np.zeros(self.time), "names": ["a"] * self.time, "none": None})

    def outcome(self, action):
        return 1.0, False


class Only(Probe):
    """Only `most` of them may be open at a time in a process."""

    alive: ClassVar[int] = 0
    peak: ClassVar[int] = 0
    most: ClassVar[int] = 1

    def __init__(self) -> None:
        if Only.alive >= Only.most:
            raise RuntimeError(f"{Only.most} are open already")
        Only.alive += 1
        Only.peak = max(Only.peak, Only.alive)

    def outcome(self, action):
        return float(action), self.np_random.random() < 0.3

    def close(self):
        Only.alive -= 1


class Taught(Probe):
    """Two actions, of which the second is right."""

    action_space = spaces.Discrete(2, dtype=np.int32)

    def outcome(self, action):
        return float(action), True


class Habit(Probe):
    """Rewards what it has counted since it was made, whatever the seed."""

    def __init__(self) -> None:
        self.total = 0

    def outcome(self, action):
        self.total += 1
        return float(self.total), False


class Contains(gym.Wrapper[Any, Any, Any, Any]):
    """A wrapper that has Gymnasium's in it."""

    def __init__(self, env):
        super().__init__(gym.wrappers.NormalizeReward(env))


class RewardByHabit(gym.Wrapper[Any, Any, Any, Any]):
    """Divides rewards by how many there have been."""

    count = 0

    def step(self, action):
        observation, reward, *rest = self.env.step(action)
        self.count += 1
        return (observation, reward / self.count, *rest)


class ShiftByHabit(gym.ObservationWrapper[Any, Any, Any]):
    """Subtracts what was observed first."""

    origin = None

    def observation(self, observation):
        shifted = observation - (0 if self.origin is None else self.origin)
        self.origin = np.array(observation)
        return shifted


class ActByHabit(gym.ActionWrapper[Any, Any, Any]):
    """Takes the left the first time that it is asked, and the right ever after."""

    count = 0

    def action(self, action):
        self.count += 1
        return np.int64(self.count > 1)


class Noise(gym.RewardWrapper[Any, Any]):
    """Adds noise that nobody seeds."""

    def reward(self, reward):
        return float(reward) + float(np.random.default_rng().normal())


class Far(Probe):
    """Three steps; actions are far from zero, and the best is in the middle of their range."""

    action_space = spaces.Box(10.0, 20.0, (1,), np.float32)
    choices = (-1.0, 1.0)

    def outcome(self, action):
        return -abs(float(action[0]) - 15.0), self.time == 3


class Zeros(Probe):
    """Three steps; rewards nothing."""

    choices = (-1.0, 1.0)

    def outcome(self, action):
        return 0.0, self.time == 3


class Parent(Probe):
    """Asks for what a script's main thread gives, and has two processes; writes which ones into `log`, a file."""

    def __init__(self, log: str, pause_s: float = 0.0) -> None:
        self.pause_s = pause_s
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        asyncio.get_event_loop().run_until_complete(asyncio.sleep(0))
        self.forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
        self.forked.start()
        self.started = subprocess.Popen(["sleep", "1000"])
        with open(log, "a") as file:
            file.write(f"{os.getpid()} {self.forked.pid} {self.started.pid}\n")

    def outcome(self, action):
        time.sleep(self.pause_s)
        return float(action), self.time == 5

    def close(self):
        for process in (self.forked, self.started):
            process.kill()
        self.forked.join()
        self.started.wait()


class LastMove(Probe):
    """Three moves, each of which allows one fewer; at the end nothing is allowed."""

    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0], {"action_mask": np.ones(3, np.int8)}

    def step(self, action):
        made = super().step(action)
        return (*made[:4], {"action_mask": (np.arange(3) >= self.time).astype(np.int8)})

    def outcome(self, action):
        return 1.0, self.time == 3


class MaskedChoices(Probe):
    """One step; of two choices the best option is forbidden, and the sign names the best of those that are left."""

    action_space = spaces.MultiDiscrete([2, 4])
    choices = (-1.0, 1.0)

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0], {
            "action_mask": (np.array([0, 1], np.int8), np.array([0, 1, 1, 0], np.int8))
        }

    def outcome(self, action):
        assert action[0] == 1, "a forbidden option was taken"
        assert action[1] in (1, 2), "a forbidden option was taken"
        return float(action[1] == (2 if self.state > 0 else 1)), True


class Stuck(Probe):
    """Cannot be closed."""

    def outcome(self, action):
        return 0.0, self.time == 4

    def close(self):
        raise RuntimeError("jammed")


class GarbageReset(Probe):
    """Forgets the info that reset should return."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]

    def outcome(self, action):
        return 0.0, False


class Random(gym.Env[Any, Any]):
    """Draws observations and rewards for whatever spaces a test sets."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
    spaces: ClassVar[Any] = None

    def __init__(self) -> None:
        self.observation_space, self.action_space = Random.spaces.observation, Random.spaces.action

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        ended = bool(self.np_random.random() < 0.2)
        return self.observation_space.sample(), float(self.np_random.normal()), ended, False, {}


class TextSpace(Probe):
    """Observes words, which no encoder reads."""

    observation_space = spaces.Dict({"direction": spaces.Discrete(4), "mission": spaces.Text(10)})


class Reports(Probe):
    """Pays 1, then -1, … for 2 to 5 steps drawn by the seed; the info says more than the reward.

    `fuel`: its share of the steps in every second step; `success` in the last one: whether it was 4 steps or more.
    """

    def __init__(self, key="success", kind=bool):
        self.key, self.kind = key, kind

    def reset(self, *, seed=None, options=None):
        found = super().reset(seed=seed)
        self.steps = int(self.np_random.integers(2, 6))
        return found

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        if self.time % 2:
            info["fuel"] = np.float32(self.time)
        if terminated:
            info[self.key] = self.kind(self.steps >= 4)
        return observation, reward, terminated, truncated, info

    def outcome(self, action):
        return 1.0 if self.time % 2 else -1.0, self.time == self.steps


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
    "NotInProcesses": (NotInProcesses, 10),
    "ReusedBuffer": (ReusedBuffer, 5),
    "Coin": (Coin, 10),
    "Unseeded": (Unseeded, 10),
    "Huge": (Huge, 10),
    "HugeContinuous": (HugeContinuous, 10),
    "OutsideItsSpace": (OutsideItsSpace, 10),
    "Shifted": (Shifted, 10),
    "OddActions": (OddActions, 10),
    "Remember": (Remember, 50),
    "ForbiddenFruit": (ForbiddenFruit, 10),
    "MaskedMemory": (MaskedMemory, 50),
    "MultiDiscreteSigns": (MultiDiscreteSigns, 10),
    "Switches": (Switches, 10),
    "Liar": (Liar, 10),
    "Pair": (Pair, 10),
    "BrightPixel": (BrightPixel, 10),
    "Squashed": (Squashed, 10),
    "FarAway": (FarAway, 10),
    "Wrong": (Wrong, 10),
    "Random": (Random, 7),
    "GarbageReset": (GarbageReset, 10),
    "LastMove": (LastMove, 10),
    "Returns": (Returns, None),
    "Parent": (Parent, 10),
    "Far": (Far, 10),
    "Zeros": (Zeros, 10),
    "Habit": (Habit, 10),
    "RaggedInfo": (RaggedInfo, 10),
    "Only": (Only, 10),
    "Taught": (Taught, 10),
    "MaskedChoices": (MaskedChoices, 10),
    "Stuck": (Stuck, 10),
    "TextSpace": (TextSpace, 10),
    "Reports": (Reports, 10),
    "NoElements": (NoElements, 10),
    "TextActions": (TextActions, 10),
}


def register() -> None:
    """Register every probe as Probe/<name>-v0, and the grids as Probe/Grid4-v0 and Probe/Grid6-v0."""
    for name, (probe, limit) in PROBES.items():
        gym.register(f"Probe/{name}-v0", entry_point=probe, max_episode_steps=limit)
    for n in (4, 6):
        gym.register(f"Probe/Grid{n}-v0", entry_point=Grid, kwargs={"n": n}, max_episode_steps=4 * (n - 1))
    gym.register("Probe/NeverReset-v0", entry_point=Policy, vector_entry_point=NeverReset)
    gym.register(
        "Probe/Normalized-v0",
        entry_point=lambda: gym.wrappers.NormalizeReward(Policy()),
        max_episode_steps=10,
    )
    gym.register("Probe/ReturnsVector-v0", entry_point=Policy, vector_entry_point=ReturnsVector)


def make_registered(env, index, farewells):
    """Make an environment in a process that has not registered the probes yet, in place of gym_vector's function.

    Imports late: every process of a run under test imports this module, and must start quickly.
    """
    from evo_core.envs import gym_vector

    if "Probe/Policy-v0" not in gym.registry:
        register()
    if gym_vector._in_process is make_registered:  # where it takes that function's place
        return gym_vector._Checked(gym_vector.make_env(env), index)
    return gym_vector._in_process(env, index, farewells)

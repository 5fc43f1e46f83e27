"""Adapters for vector environments: subprocesses, Gymnasium's native vectors, and envpool.

Gymnasium's interface leaves open when a finished environment is reset. Within the step that ended it (SAME_STEP), its
last observation comes in the info; in the step after it (NEXT_STEP), that step is a reset and no transition.
"""

import multiprocessing
import os
import tempfile
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv

from evo_core.config.sections import EnvConfig
from evo_core.envs.making import close_env, make_env
from evo_core.envs.process_errors import TransportedError, exit_with_fault_file, read_fault_file, transport_exceptions
from evo_core.envs.process_vector import EXIT_TIMEOUT_S, Processes
from evo_core.envs.process_warnings import collect_remarks, repeat_remarks, take_remarks
from evo_core.envs.step_values import read_flags, read_reset, read_rewards, read_step, require_info
from evo_core.envs.vector_env import MASK, Transition, VectorEnvs
from evo_core.records.failures import MemberFailure, creation_failure
from evo_core.spaces.actions import mask_size, read_mask, require_supported
from evo_core.spaces.observations import Arrays, ObservationLayout
from evo_core.spaces.spaces import Spaces

START_METHOD = "spawn"
"""Start method of environment processes, which inherit no state of this process."""

Made = tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class GymVectorEnvs(VectorEnvs):
    """Adapter for Gymnasium's vector environments."""

    def __init__(self, env: EnvConfig, spaces: Spaces, vector: VectorEnv[Any, Any, Any], seed: Any) -> None:
        super().__init__(env.id, spaces, vector.num_envs)
        self._vector = vector
        mode = vector.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        if mode == AutoresetMode.DISABLED:
            vector.close()
            never = "its vector version does not reset finished environments; use env.vectorization sync"
            raise MemberFailure("environment_error", 0, f"{env.id}: {never}")
        self._same_step = mode == AutoresetMode.SAME_STEP
        self._ended = np.zeros(self.count, np.bool_)
        try:
            observations, info = self._reset(seed)
            require_info("reset", info)
            self._show(observations, info)
            self.require_valid()
        except (Exception, SystemExit) as error:
            failure = self.failure(error)
            self.close()
            raise failure from error

    def _reset(self, seed: Any) -> tuple[Any, dict[str, Any]]:
        found: tuple[Any, dict[str, Any]] = self._vector.reset(seed=seed)
        return found

    def _step(self, actions: np.ndarray) -> Made:
        found: Made = self._vector.step(actions)
        return found

    def _advance(self, actions: Iterable[Any]) -> Transition:
        batch = actions if isinstance(actions, np.ndarray) else np.asarray(actions)
        observations, rewards, terminated, truncated, info = self._step(batch)
        require_info("step", info)
        rewards, valid = read_rewards(rewards, self.count), ~self._ended
        terminated = read_flags("terminated", terminated, self.count) & valid
        truncated = read_flags("truncated", truncated, self.count) & valid
        ended = terminated | truncated
        self._show(observations, info, over=None if self._same_step else ended)
        finals = {int(b): self._final(int(b), info) for b in np.flatnonzero(ended)}
        if not self._same_step:
            self._ended = ended
        return Transition(np.where(valid, rewards, 0.0), terminated, truncated, valid, finals)

    def _final(self, index: int, info: dict[str, Any]) -> Arrays:
        if self._same_step:
            return {name: rows[0] for name, rows in self.layout.stack([info["final_obs"][index]]).items()}
        return {name: np.array(rows[index]) for name, rows in self.observations.items()}

    def _show(self, observations: Any, info: dict[str, Any], over: np.ndarray | None = None) -> None:
        """Read observations and masks; where an episode is `over`, a mask may forbid every action."""
        self.observations = self.layout.unpack(observations, self.count)
        masks, given = info.get(MASK), info.get(f"_{MASK}")
        for b in range(self.count if masks is not None or self.masks is not None else 0):
            shown = masks is not None and (given is None or given[b]) and not (over is not None and over[b])
            self.read_mask(b, {MASK: masks[b]} if masks is not None and shown else {})

    def close(self) -> None:
        """Close every environment."""
        self._vector.close()


class AsyncEnvs(GymVectorEnvs):
    """One process per environment, spawned: for environments that are slow, or that must not share a process."""

    def __init__(self, env: EnvConfig, seeds: Sequence[int]) -> None:
        self._timeout = env.step_timeout
        self._broken = False
        with tempfile.TemporaryDirectory() as farewells:
            try:
                vector = _spawned(env, len(seeds), Path(farewells))
            except (EOFError, ConnectionError) as error:
                raise read_fault_file(env.id, Path(farewells)) from error
            except (Exception, SystemExit) as error:
                raise creation_failure(env.id, error) from error
        spaces = Spaces(vector.single_observation_space, vector.single_action_space)
        self._processes = vector
        super().__init__(env, spaces, vector, list(seeds))

    def _reset(self, seed: Any) -> tuple[Any, dict[str, Any]]:
        self._processes.reset_async(seed=seed)
        with _without_duplicate_warnings():
            found: tuple[Any, dict[str, Any]] = self._processes.reset_wait(timeout=self._timeout)
        repeat_remarks(found[1])
        return found

    def _step(self, actions: np.ndarray) -> Made:
        self._processes.step_async(actions)
        with _without_duplicate_warnings():
            found: Made = self._processes.step_wait(timeout=self._timeout)
        repeat_remarks(found[4])
        return found

    def failure(self, error: BaseException) -> MemberFailure:
        """Return the failure with environment, step and error, also for a process that hangs or has died."""
        self._broken = True
        if isinstance(error, TransportedError):
            return error.failure(self)
        if isinstance(error, multiprocessing.TimeoutError):
            silent = f"no answer within env.step_timeout, {self._timeout:g} s; raise it if steps may take so long"
            return MemberFailure("environment_error", self.steps, f"{self.name}: {silent}")
        if isinstance(error, EOFError | ConnectionError):
            processes = self._processes.processes
            for process in processes:
                process.join(EXIT_TIMEOUT_S / len(processes))
            gone = {i: p.exitcode for i, p in enumerate(processes) if not p.is_alive()}
            codes = ", ".join(f"{index} (exit code {code})" for index, code in gone.items())
            said = f"{self.name}: its process ended: environment {codes}"
            return MemberFailure("environment_error", self.steps, said, self.place(next(iter(gone), None)))
        return super().failure(error)

    def close(self) -> None:
        """End every process: by request, or by kill if one of them did not answer."""
        if self._vector.closed:
            return
        if not self._broken:
            with suppress(Exception):
                self._vector.close()
                return
        self._vector.closed = True
        for process in self._processes.processes:
            process.kill()
            process.join(EXIT_TIMEOUT_S)
        for pipe in self._processes.parent_pipes:
            if pipe is not None:
                pipe.close()


class NativeEnvs(GymVectorEnvs):
    """The environment's own vector version, which computes all copies as one array."""

    def __init__(self, env: EnvConfig, seeds: Sequence[int]) -> None:
        kwargs: dict[str, Any] = dict(env.kwargs)
        entry = gym.VectorizeMode.VECTOR_ENTRY_POINT
        try:
            vector = gym.make_vec(env.id, num_envs=len(seeds), vectorization_mode=entry, **kwargs)
        except (Exception, SystemExit) as error:
            raise creation_failure(env.id, error) from error
        super().__init__(env, Spaces(vector.single_observation_space, vector.single_action_space), vector, seeds[0])


class EnvpoolEnvs(GymVectorEnvs):
    """The C++ version of the environment in envpool, stepped by one thread."""

    def __init__(self, env: EnvConfig, seeds: Sequence[int]) -> None:
        import envpool

        single = make_env(env)
        try:
            spaces = Spaces(single.observation_space, single.action_space)
            limit = single.spec.max_episode_steps if single.spec else None
        finally:
            close_env(single)
        kwargs: dict[str, Any] = dict(env.kwargs) | ({"max_episode_steps": limit} if limit else {})
        try:
            vector: Any = envpool.make(
                env.id, env_type="gymnasium", num_envs=len(seeds), seed=list(seeds), num_threads=1, **kwargs
            )
        except (Exception, SystemExit) as error:
            raise creation_failure(env.id, error) from error
        super().__init__(env, spaces, vector, None)

    def _reset(self, seed: Any) -> tuple[Any, dict[str, Any]]:
        with _without_duplicate_warnings():  # and its bounds are float64, which Gymnasium remarks on
            found: tuple[Any, dict[str, Any]] = self._vector.reset()  # it was seeded when it was made
        return found

    def _step(self, actions: np.ndarray) -> Made:
        found: Made = self._vector.step(actions.astype(np.int32) if actions.dtype.kind == "i" else actions)
        return found


@contextmanager
def _without_duplicate_warnings() -> Iterator[None]:
    """Suppress warnings that Gymnasium issues before it raises the same message."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


class _Checked(gym.Wrapper[Any, Any, Any, Any]):
    """Wrapper that validates what an environment returns inside its process, so that errors are specific; see
    TransportedError.

    Only action masks are forwarded of infos, because Gymnasium merges all entries and fails where arrays change shape.
    """

    def __init__(self, env: gym.Env[Any, Any], index: int) -> None:
        super().__init__(env)
        self._index = index
        self._layout = ObservationLayout(env.observation_space)
        self._row = self._layout.empty(1)
        require_supported(env.action_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        with transport_exceptions(self._index):
            observation, info = read_reset(self.env.reset(seed=seed, options=options))
            self._layout.put(self._row, 0, observation)
            return observation, self._mask(info) | take_remarks()

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        with transport_exceptions(self._index):
            observation, reward, terminated, truncated, info = read_step(self.env.step(action))
            self._layout.put(self._row, 0, observation)
            # at the end of an episode the mask is irrelevant, and the reset that follows returns the next one
            shown = {} if terminated or truncated else self._mask(info) | take_remarks()
            return observation, reward, terminated, truncated, shown

    def _mask(self, info: Mapping[str, Any]) -> dict[str, Any]:
        mask = info.get(MASK)
        if mask is None or not mask_size(self.action_space):
            return {}
        read_mask(self.action_space, mask)
        return {MASK: mask}


def _in_process(env: EnvConfig, index: int, farewells: Path) -> gym.Env[Any, Any]:
    """Create an environment; a subprocess ends when its parent does, even during a step."""
    parent = multiprocessing.parent_process()
    if parent is None or not multiprocessing.current_process().name.startswith("Worker<"):
        return _Checked(make_env(env), index)
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    # daemonic, so that the vector ends it; it may have children nevertheless
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    collect_remarks()
    with exit_with_fault_file(index, farewells):
        return _Checked(make_env(env), index)


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _spawned(env: EnvConfig, count: int, farewells: Path) -> AsyncVectorEnv:
    """Start the processes. Observations come through pipes, where their shapes are checked."""
    process = multiprocessing.current_process()
    config: dict[str, Any] = process._config  # type: ignore[attr-defined]
    daemon = config.get("daemon")
    # workers of a cluster are daemons, which may not have children; these end with their parent, see _in_process
    config["daemon"] = False
    try:
        return Processes(
            [partial(_in_process, env, index, farewells) for index in range(count)],
            shared_memory=False,
            copy=False,
            context=START_METHOD,
            autoreset_mode=AutoresetMode.SAME_STEP,
        )
    finally:
        config["daemon"] = daemon

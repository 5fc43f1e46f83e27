"""The contract of all vector environments."""

import logging
import multiprocessing
import os
import signal
from importlib.util import find_spec
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.wrappers import RecordEpisodeStatistics
from gymnasium.wrappers.vector import RecordEpisodeStatistics as RecordVectorStatistics

from evo_core.agent.agent import Agent, initial_state
from evo_core.config.parsing import ConfigError
from evo_core.envs.backends import VECTORS, make_vect_envs
from evo_core.envs.determinism import first_difference
from evo_core.envs.inspection import inspect_environment
from evo_core.genome.genome import initial_genome
from evo_core.local import train_on_policy
from evo_core.ppo.learn import prepare
from evo_core.ppo.rollout import collect_rollouts
from evo_core.records.failures import MemberFailure
from tests import probes
from tests.conftest import make_config
from tests.flows.conftest import alive
from tests.services import missing, wait_for

BACKENDS = [name for name in VECTORS if name != "auto"]
SEEDS = [11, 12, 13]


def configured(backend, env="CartPole-v1", **overrides):
    if backend == "envpool" and find_spec("envpool") is None:
        missing("needs envpool: make extras")
    return make_config(env, **{"env.vectorization": backend, "evaluation.max_steps": 50, **overrides})


@pytest.fixture(autouse=True)
def started_quickly(request, monkeypatch):
    """Fork processes of environments from one that has imported everything: 0.1 CPU seconds each instead of 2.

    Tests that ask for `spawned` start them as users do.
    """
    if "spawned" not in request.fixturenames:
        multiprocessing.get_context("forkserver").set_forkserver_preload(["evo_core.envs.gym_vector", "tests.probes"])
        monkeypatch.setattr("evo_core.envs.gym_vector.START_METHOD", "forkserver")


@pytest.fixture
def spawned():
    """Start processes of environments as users do."""


@pytest.fixture
def vector(request):
    made = []

    def make(config, seeds=SEEDS):
        made.append(make_vect_envs(config.env, seeds))
        return made[-1]

    yield make
    for envs in made:
        envs.close()


def balance(observations):
    """Return actions that balance CartPole for some hundred steps."""
    rows = observations["observation"]
    return (rows[:, 2] + 0.3 * rows[:, 3] > 0).astype(np.int64)


def act(envs, t):
    """Balance in the first environment, fall in the others."""
    actions = balance(envs.observations)
    actions[1:] = 1 if t % 7 else 0
    return actions


def play(envs, steps):
    for _ in range(steps):
        envs.step(np.array([1, 0, 1]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_spaces_shapes_and_types_are_the_same(vector, backend):
    envs = vector(configured(backend))
    single = gym.make("CartPole-v1")
    assert envs.spaces.observation == single.observation_space
    assert envs.spaces.action == single.action_space
    for _ in range(30):
        made = envs.step(balance(envs.observations))
        rows = envs.observations["observation"]
        assert (rows.shape, rows.dtype, rows.flags.c_contiguous) == ((3, 4), np.float32, True)
        assert [a.dtype.kind for a in made[:4]] == ["f", "b", "b", "b"]
        assert [a.shape for a in made[:4]] == [(3,)] * 4
    assert envs.masks is None
    assert envs.steps == 90


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_seed_repeats_itself_and_environments_differ(vector, backend):
    config = configured(backend)
    one, two, other = vector(config), vector(config), vector(config, [4, 5, 6])
    assert not np.array_equal(one.observations["observation"], other.observations["observation"])
    for t in range(60):
        np.testing.assert_array_equal(one.observations["observation"], two.observations["observation"])
        assert len(np.unique(one.observations["observation"], axis=0)) == 3
        one.step(act(one, t))
        two.step(act(two, t))


@pytest.mark.parametrize("backend", BACKENDS)
def test_ends_and_resets_follow_one_rule(vector, backend):
    """An ended row names the observation it ended with; after it, at most one invalid row, then a fresh episode."""
    envs = vector(configured(backend))
    lengths, ends, invalid = np.zeros(3, int), 0, 0
    before = np.ones(3, np.bool_)
    for t in range(300):
        made = envs.step(act(envs, t))
        ended = made.terminated | made.truncated
        assert set(made.final_observations) == set(np.flatnonzero(ended).tolist())
        assert (made.rewards[made.valid] == 1).all()
        assert (made.rewards[~made.valid] == 0).all()
        assert not ended[~made.valid].any()
        assert before[~made.valid].all() or t == 0  # only what ended may be reset
        lengths += made.valid
        for b in np.flatnonzero(ended):
            final = made.final_observations[int(b)]["observation"]
            fell = abs(final[2]) > 0.2095 or abs(final[0]) > 2.4
            assert fell == made.terminated[b]
            assert envs.ended_lengths[b] == lengths[b] == envs.ended_returns[b]
            lengths[b] = 0
        fresh = ~made.valid if not made.valid.all() else ended & (backend in ("sync", "async"))
        assert (abs(envs.observations["observation"][fresh]) <= 0.05).all()
        before, ends, invalid = ended, ends + ended.sum(), invalid + (~made.valid).sum()
    assert ends > 20
    assert invalid == (0 if backend in ("sync", "async") else pytest.approx(ends, abs=3))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_time_limit_truncates_and_bootstraps_from_its_own_observation(vector, backend):
    config = configured(backend, **{"env.kwargs": {"max_episode_steps": 5}})
    spaces = inspect_environment(config).spaces
    agent = Agent(
        initial_state(initial_genome(config, spaces.observation), spaces, 0.6, np.random.default_rng(0)), spaces
    )
    envs = vector(config)
    rollout = collect_rollouts(agent, envs, 13, np.random.default_rng(0))
    period = 5 if rollout.valid.all() else 6
    assert rollout.final_index == [(t, b) for t in range(4, 13, period) for b in range(3)]
    assert not rollout.terminated.any()
    assert rollout.episode_lengths == [5] * len(rollout.final_index)
    assert rollout.episode_returns == [5.0] * len(rollout.final_index)
    algorithm = config.algorithm.model_copy(update={"gamma": 1.0, "gae_lambda": 0.0})
    data, pieces, _ = prepare(agent, rollout, algorithm)
    assert len(data.returns) == rollout.valid.sum()
    targets = dict(zip(pieces.rows.tolist(), data.returns.tolist(), strict=True))
    for (t, b), final in zip(rollout.final_index, rollout.final_observations, strict=True):
        with torch.no_grad():
            value = agent.network.value(agent.observe({k: v[None] for k, v in final.items()}), agent.no_memory(1))
        assert targets[t * 3 + b] == pytest.approx(1 + value.item(), rel=1e-5)


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_returns_and_lengths_are_those_of_gymnasiums_vector_wrapper(vector, backend):
    envs = vector(configured(backend))
    recorded, expected, found = RecordVectorStatistics(envs._vector), [], []
    envs._show(*recorded.reset())

    def step(actions):
        made = recorded.step(actions.astype(np.int32))
        for b in np.flatnonzero(made[4].get("_episode", ())):
            expected.append((float(made[4]["episode"]["r"][b]), int(made[4]["episode"]["l"][b])))
        return made

    envs._step = step
    for t in range(200):
        made = envs.step(act(envs, t))
        for b in np.flatnonzero(made.terminated | made.truncated):
            found.append((envs.ended_returns[b], envs.ended_lengths[b]))
    assert len(found) > 20
    assert found == expected


def test_returns_and_lengths_are_those_of_gymnasiums_wrapper(vector):
    envs = vector(configured("sync"))
    recorded, expected, found = RecordEpisodeStatistics(gym.make("CartPole-v1")), [], []
    recorded.reset(seed=SEEDS[0])
    for action in np.random.default_rng(0).integers(0, 2, 200).tolist():
        info = recorded.step(action)[4]
        if "episode" in info:
            expected.append((float(info["episode"]["r"]), int(info["episode"]["l"])))
            recorded.reset()
        made = envs.step([action] * 3)
        if (made.terminated | made.truncated)[0]:
            found.append((envs.ended_returns[0], envs.ended_lengths[0]))
    assert len(found) > 3
    assert found == expected


@pytest.mark.parametrize("backend", ["sync", "async"])
@pytest.mark.parametrize(
    "env", ["Probe/Liar-v0", "Probe/Pair-v0", "Probe/Switches-v0", "Probe/BrightPixel-v0", "Taxi-v4"]
)
def test_nested_spaces_and_masks_pass_through(vector, backend, env, registered_in_processes):
    config = configured(backend, env)
    plain, envs = vector(configured("sync", env)), vector(config)
    actions = envs.spaces.action
    actions.seed(0)
    for _ in range(12):
        for name, rows in plain.observations.items():
            np.testing.assert_array_equal(rows, envs.observations[name])
            assert rows.dtype == envs.observations[name].dtype
        assert (plain.masks is None) == (envs.masks is None) == (env != "Taxi-v4")
        if plain.masks is not None:
            np.testing.assert_array_equal(plain.masks, envs.masks)
            chosen = plain.masks.argmax(1)
        else:
            chosen = np.stack([actions.sample() for _ in SEEDS])
        one, two = plain.step(list(chosen)), envs.step(chosen)
        np.testing.assert_array_equal(one.rewards, two.rewards)
        assert one.final_observations.keys() == two.final_observations.keys()
        for b, leaves in one.final_observations.items():
            for name, final in leaves.items():
                np.testing.assert_array_equal(final, two.final_observations[b][name])


@pytest.fixture
def registered_in_processes(monkeypatch):
    """Spawned processes register the probes, as a user's package would when it is imported."""
    monkeypatch.setattr("evo_core.envs.gym_vector._in_process", probes.make_registered)


def living(envs):
    return [p for p in envs._processes.processes if p.is_alive()]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("raise", "Probe/Faulty-v0: RuntimeError: the simulator fell over"),
        ("exit", r"Probe/Faulty-v0: its process ended: environment .*exit code 1"),
        ("hang", "Probe/Faulty-v0: no answer within env.step_timeout, 1 s"),
        ("nan_reward", "Probe/Faulty-v0: rewards"),
        ("nan_observation", "Probe/Faulty-v0: observation, leaf 'observation': not finite"),
    ],
)
def test_a_process_that_breaks_fails_the_member_and_leaves_no_process(what, said, registered_in_processes):
    config = configured(
        "async", "Probe/Faulty-v0", **{"env.kwargs": {"what": what, "after": 3}, "env.step_timeout": 1.0}
    )
    envs = make_vect_envs(config.env, SEEDS)
    assert len(living(envs)) == 3
    with pytest.raises(MemberFailure, match=said) as caught:
        play(envs, 20)
    assert caught.value.reason in ("environment_error", "nan_reward", "nan_observation")
    if what != "hang":  # all of them
        place = caught.value.place
        assert place is not None and 0 <= place.environment < 3
    if what == "raise":
        assert caught.value.describe().cause == "RuntimeError: the simulator fell over"
        assert "probes.py:" in caught.value.describe().frames[-1]
    envs.close()
    assert living(envs) == []


def test_warnings_of_environment_processes_are_repeated_in_the_learner(registered_in_processes, caplog, capfd):
    envs = make_vect_envs(
        configured("async", "Probe/Faulty-v0", **{"env.kwargs": {"what": "warn", "after": 3}}).env, SEEDS
    )
    with pytest.warns(UserWarning, match="joint limit near") as warned:
        play(envs, 12)
    envs.close()
    assert {Path(one.filename).name for one in warned} == {"probes.py"}
    assert "torque 3 saturated" in {record.getMessage() for record in caplog.records if record.name == "mysim"}
    assert "joint limit" not in capfd.readouterr().err


SLOW_TO_START = pytest.param("async", marks=pytest.mark.slow)


@pytest.mark.parametrize("backend", [SLOW_TO_START if name == "async" else name for name in BACKENDS])
def test_whole_runs_evolve_and_repeat_on_every_backend(backend, spawned):
    config = configured(backend, **{"training.max_steps": 1024, "env.num_envs": 2, "population.size": 2})
    first, second = (train_on_policy(config) for _ in range(2))
    assert first.head == second.head
    assert all(member.failure is None for commit in first.commits for member in commit.members)
    assert all(u.episode_length == u.episode_return for c in first.commits for m in c.members for u in m.training.curve)


def test_an_environment_that_cannot_be_created_in_a_subprocess_is_reported(registered_in_processes, spawned, capfd):
    with pytest.raises(MemberFailure, match="NotInProcesses-v0: RuntimeError: no display") as caught:
        make_vect_envs(configured("async", "Probe/NotInProcesses-v0").env, SEEDS)
    assert not [process for process in multiprocessing.active_children() if process.name.startswith("Worker<")]
    detail = caught.value.describe()
    assert (detail.error, detail.message) == ("RuntimeError", "no display")
    assert "probes.py:" in detail.frames[-1]
    assert "Traceback" not in capfd.readouterr().err


def test_a_vector_version_that_never_resets_is_refused():
    with pytest.raises(MemberFailure, match=r"does not reset finished environments; use env.vectorization sync"):
        make_vect_envs(configured("native", "Probe/NeverReset-v0").env, SEEDS)


def test_auto_is_sync_regardless_of_installed_packages():
    heads = []
    for name in ("auto", "sync"):
        result = train_on_policy(configured(name, **{"training.max_steps": 768}))
        heads.append([m.training.blob for m in result.commits[1].members])
    assert heads[0] == heads[1]


@pytest.mark.parametrize(
    ("backend", "env", "message"),
    [
        (
            "native",
            "LunarLander-v3",
            "LunarLander-v3 has no vector version of its own; .*one of CartPole-v0",
        ),
        ("envpool", "Probe/Policy-v0", "envpool does not have Probe/Policy-v0; use sync"),
        ("native", "CartPole-v1", "env.wrappers work on single environments"),
    ],
)
def test_a_backend_that_an_environment_lacks_is_refused(backend, env, message):
    wrappers = {"env.wrappers": ["ClipReward"]} if "wrappers" in message else {}
    with pytest.raises(ConfigError, match=message):
        inspect_environment(configured(backend, env, **wrappers))


def test_observations_outside_their_bounds_are_reported_once(vector, caplog, monkeypatch):
    monkeypatch.setattr("evo_core.envs.vector_env._SAID", set())
    for _ in range(2):  # as in every generation
        envs = vector(configured("sync", "Probe/Wrong-v0", **{"env.kwargs": {"what": "outside"}}))
        for _ in range(8):
            envs.step([0, 0, 0])
    said = [r.getMessage() for r in caplog.records if "outside the bounds" in r.getMessage()]
    leaf = "observation leaf 'a' is outside the bounds of its space; the run continues (reported once)"
    assert said == [f"Probe/Wrong-v0: step 9: {leaf}"]


WRONG = {
    "shape": r"Probe/Wrong-v0: observation, leaf 'a': expected shape \(2,\), got \(3,\)",
    "dtype": "leaf 'b': expected uint8, got float64",
    "missing": "leaf 'b': missing in dict",
    "nan": "leaf 'a': not finite",
    "garbage": "leaf 'a': missing in str",
    "overflow": r"leaf 'b': expected uint8, got \[300",
}


@pytest.mark.parametrize(
    ("backend", "what", "after"),
    [
        *[("sync", what, after) for what in WRONG for after in (0, 3)],
        ("async", "garbage", 0),
        ("async", "dtype", 3),
        ("async", "overflow", 3),
    ],
)
def test_a_wrong_observation_names_environment_step_and_leaf(backend, what, after, registered_in_processes):
    config = configured(backend, "Probe/Wrong-v0", **{"env.kwargs": {"what": what, "after": after}})
    step = after * 3 if what == "nan" else max(0, after - 1) * 3
    with pytest.raises(MemberFailure, match=f"at step {step}: .*{WRONG[what]}"):
        play(make_vect_envs(config.env, SEEDS), 5)


def test_a_reset_that_returns_garbage_is_named():
    said = r"Probe/GarbageReset-v0: reset: expected \(observation, info\), got .*\(ndarray, float32, shape \(1,\)\)"
    with pytest.raises(MemberFailure, match=said):
        make_vect_envs(configured("sync", "Probe/GarbageReset-v0").env, SEEDS)


ODD = {
    "reward": [np.array([1.0]), np.array(1), np.float32(1), 1, True, [1.0], np.array([[1.0]])],
    "terminated": [np.array([False]), np.False_, 0, np.array([[0]]), 0.0],
    "truncated": [np.array([False]), [False]],
}
REFUSED = {
    "reward": {
        "two": ([1.0, 2.0], r"reward: expected a number, got \[1.0, 2.0\] \(list of 2\)"),
        "array": (np.ones(3, np.float32), r"reward: expected a number, got .*\(ndarray, float32, shape \(3,\)\)"),
        "nothing": (None, r"reward: expected a number, got None \(NoneType\)"),
        "text": ("1.0", r"reward: expected a number, got '1.0' \(str\)"),
        "complex": (1j, "reward: expected a number, got 1j"),
        "empty": (np.ones(0), r"reward: expected a number, got .*shape \(0,\)"),
    },
    "terminated": {
        "text": ("False", r"terminated: expected a truth value, got 'False' \(str\)"),
        "two": (np.zeros(2, np.bool_), r"terminated: expected a truth value, got .*\(ndarray, bool, shape \(2,\)\)"),
        "number": (3, r"terminated: expected a truth value, got 3 \(int\)"),
    },
    "truncated": {"nothing": (None, "truncated: expected a truth value, got None")},
    "info": {
        "nothing": (None, r"step: info: expected a dict, got None \(NoneType\)"),
        "list": ([], "step: info: expected a dict"),
    },
    "all": {"four": (4, r"step: expected \(observation, reward, terminated, truncated, info\), got .*\(tuple of 4\)")},
}


def returning(monkeypatch, **values):
    monkeypatch.setattr(probes.Returns, "values", values)
    return make_config("Probe/Returns-v0")


@pytest.mark.parametrize(("part", "value"), [(part, value) for part, values in ODD.items() for value in values])
def test_rewards_and_flags_of_one_element_are_numbers(monkeypatch, part, value):
    config = returning(monkeypatch, **{part: value})
    envs = make_vect_envs(config.env, SEEDS)
    made = envs.step([0, 0, 0])
    assert (made.rewards == 1).all()
    assert not (made.terminated | made.truncated).any()
    rewards, ended = envs.advance_some([0, 2], [0, 0])
    assert (rewards.dtype, rewards.tolist(), ended.dtype, ended.tolist()) == (np.float64, [1, 1], np.bool_, [False] * 2)


@pytest.mark.parametrize(("part", "what"), [(part, what) for part, values in REFUSED.items() for what in values])
def test_an_invalid_reward_flag_or_info_fails_the_member_and_is_named(monkeypatch, part, what):
    value, said = REFUSED[part][what]
    config = returning(monkeypatch, **{part: value})
    for step in (lambda envs: envs.step([0, 0, 0]), lambda envs: envs.advance_some([0], [0])):
        with pytest.raises(MemberFailure, match=f"environment_error at step 0: Probe/Returns-v0: {said}"):
            step(make_vect_envs(config.env, SEEDS))


@pytest.mark.parametrize("part", ["reward", "terminated", "info"])
def test_a_vector_version_is_read_by_the_same_rules(monkeypatch, part):
    config = configured("native", "Probe/ReturnsVector-v0")
    monkeypatch.setattr(probes.ReturnsVector, "values", {"reward": np.ones((3, 1), np.int64), "terminated": [0, 0, 1]})
    made = make_vect_envs(config.env, SEEDS).step(np.zeros(3, np.int64))
    assert (made.rewards.tolist(), made.rewards.dtype, made.terminated.tolist()) == (
        [1, 1, 1],
        np.float64,
        [False, False, True],
    )
    wrong = {"reward": ["1", "2", "3"], "terminated": np.zeros(2, np.bool_), "info": None}
    monkeypatch.setattr(probes.ReturnsVector, "values", {part: wrong[part]})
    with pytest.raises(MemberFailure, match=f"ReturnsVector-v0: .*{part}: expected .*, got "):
        make_vect_envs(config.env, SEEDS).step(np.zeros(3, np.int64))


def test_infos_whose_arrays_change_shape_pass_through_processes(vector, registered_in_processes):
    envs = vector(configured("async", "Probe/RaggedInfo-v0"), SEEDS[:2])
    for _ in range(4):
        made = envs.step(np.zeros(2, np.int64))
    assert made.rewards.tolist() == [1, 1]


@pytest.mark.parametrize("env", ["Taught", "Shifted", "MultiDiscreteSigns", "Switches", "Continuous", "Squashed"])
def test_environments_get_actions_of_the_type_that_their_space_samples(monkeypatch, env):
    """In training, in evaluation and where `doctor` tries an environment."""
    kind, seen = probes.PROBES[env][0], set()
    space = kind.action_space

    def note(action):
        seen.add((type(action), action.dtype, action.shape))

    plain = kind.outcome
    monkeypatch.setattr(kind, "outcome", lambda self, action: (note(action), plain(self, action))[1])
    config = make_config(f"Probe/{env}-v0", **{"training.evo_steps": 64, "training.max_steps": 192})
    assert first_difference(config.env, 10) is None
    train_on_policy(config)
    sample = space.sample()
    assert seen == {(type(sample), sample.dtype, sample.shape)}


def test_a_constructor_that_raises_half_way_closes_what_was_made(monkeypatch):
    monkeypatch.setattr(probes.Only, "alive", 0)
    for most, made in ((2, 3), (0, 1)):
        monkeypatch.setattr(probes.Only, "most", most)
        with pytest.raises(MemberFailure, match=f"Probe/Only-v0: RuntimeError: {most} are open"):
            make_vect_envs(make_config("Probe/Only-v0").env, range(made))
        assert probes.Only.alive == 0


def test_a_wrapper_that_raises_closes_the_environment(monkeypatch):
    monkeypatch.setattr(probes.Only, "alive", 0)
    monkeypatch.setattr(probes.Only, "most", 1)
    with pytest.raises(MemberFailure, match="HideObservation"):
        make_vect_envs(
            make_config("Probe/Only-v0", **{"env.wrappers": [{"HideObservation": {"indices": [7]}}]}).env, [1]
        )
    assert probes.Only.alive == 0


def test_nothing_need_be_allowed_where_an_episode_ends():
    result = train_on_policy(make_config("Probe/LastMove-v0"))
    assert all(member.failure is None for commit in result.commits for member in commit.members)


@pytest.mark.parametrize("length", [2, 4])
def test_a_rollout_of_nothing_but_resets_is_passed_over(length):
    overrides = {"env.kwargs": {"max_episode_steps": 3}, "env.num_envs": 2, "algorithm.learn_step": length}
    small = {"algorithm.batch_size": 2, "search": {}, "training.evo_steps": 64, "training.max_steps": 192}
    result = train_on_policy(configured("native", **overrides, **small))
    assert all(member.failure is None for commit in result.commits for member in commit.members)


def test_an_environment_that_cannot_be_closed_does_not_stop_the_run(caplog):
    with caplog.at_level(logging.WARNING):
        result = train_on_policy(make_config("Probe/Stuck-v0", **{"training.max_steps": 768}))
    assert all(member.failure is None for commit in result.commits for member in commit.members)
    assert "Stuck: close raised RuntimeError: jammed" in caplog.text


def hang_in_a_step(config, pids):
    envs = make_vect_envs(config.env, SEEDS)
    pids.put([process.pid for process in envs._processes.processes])
    play(envs, 20)


def test_processes_in_mid_step_end_with_the_process_that_started_them(registered_in_processes, spawned):
    config = configured("async", "Probe/Faulty-v0", **{"env.kwargs": {"what": "hang", "after": 3}})
    context = multiprocessing.get_context("fork")
    pids = context.Queue()
    parent = context.Process(target=hang_in_a_step, args=(config, pids))
    parent.start()
    children = pids.get(timeout=120)
    parent.join(3)  # by now they hang
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    wait_for(lambda: not any(alive(pid) for pid in children), timeout_s=15)

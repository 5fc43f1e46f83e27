"""Every supported observation and action space: build, act, learn, save, load, mutate, act again."""

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evo_core.agent.agent import Agent, initial_state
from evo_core.agent.checkpoint import from_bytes, to_bytes
from evo_core.agent.normalization import initial_statistics
from evo_core.agent.transfer import output_shift, perturb, transfer
from evo_core.config.parsing import ConfigError
from evo_core.envs.backends import make_vect_envs
from evo_core.envs.inspection import inspect_environment
from evo_core.evolution.mutation import architecture_changes, mutate
from evo_core.genome.genome import Genome, initial_genome
from evo_core.local import train_on_policy
from evo_core.numerics.provenance import one_thread
from evo_core.ppo.learn import learn
from evo_core.ppo.rollout import collect_rollouts
from evo_core.spaces.observations import ObservationLayout
from evo_core.spaces.spaces import Spaces
from evo_core.training import probe_observations
from tests.conftest import make_config
from tests.evo_core.test_mutation import trained_like
from tests.probes import Random

SMALL = {"network.encoder.channel_size": [4, 8], "network.bounds.channels": [4, 16], "network.bounds.kernels": [1, 5]}


def boxes(dtype, *sizes):
    low, high = {"f": (-2, 2), "u": (0, 255), "i": (-3, 3), "b": (0, 1)}[np.dtype(dtype).kind]
    return spaces.Box(low, high, sizes, dtype)


LEAVES = st.one_of(
    st.builds(lambda n: boxes(np.float32, n), st.integers(1, 5)),
    st.builds(lambda n, m: boxes(np.float32, n, m), st.integers(1, 3), st.integers(1, 3)),
    st.builds(lambda h, w, c: boxes(np.uint8, h, w, c), st.integers(3, 7), st.integers(3, 7), st.integers(1, 3)),
    st.builds(lambda c, h, w: boxes(np.float32, c, h, w), st.integers(1, 2), st.integers(3, 6), st.integers(3, 6)),
    st.builds(lambda k: boxes(np.uint8, k, 4, 4, 3), st.integers(1, 2)),
    st.builds(lambda n: boxes(np.int64, n), st.integers(1, 3)),
    st.builds(lambda n: boxes(np.bool_, n), st.integers(1, 3)),
    st.builds(lambda n, s: spaces.Discrete(n, start=s), st.integers(1, 5), st.integers(-3, 3)),
    st.builds(spaces.MultiDiscrete, st.lists(st.integers(1, 4), min_size=1, max_size=3)),
    st.builds(spaces.MultiBinary, st.integers(1, 4)),
)
KEYS = st.sampled_from(["a", "arm", "action", "value", "encoder.latent", "0", "kernel", "parts.0"])
OBSERVATIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(KEYS, inner, min_size=1, max_size=3).map(spaces.Dict),
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
    ),
    max_leaves=4,
)
ACTIONS = st.one_of(
    st.builds(lambda n, s: spaces.Discrete(n, start=s), st.integers(1, 4), st.integers(-2, 2)),
    st.builds(spaces.MultiDiscrete, st.lists(st.integers(1, 4), min_size=1, max_size=3)),
    st.builds(spaces.MultiBinary, st.integers(1, 3)),
    st.builds(lambda n: boxes(np.float32, n), st.integers(1, 3)),
)


@st.composite
def configurations(draw):
    overrides = {
        "algorithm.recurrent": draw(st.booleans()),
        "network.encoder.cell": draw(st.sampled_from(["lstm", "gru"])),
        "network.encoder.kind": draw(st.sampled_from(["auto", "mlp", "simba"])),
        "network.encoder.hidden_state_size": 16,
        "network.encoder.num_layers": draw(st.integers(1, 2)),
        "network.encoder.max_seq_len": draw(st.integers(1, 9)),
        "network.share_encoder": draw(st.booleans()),
        "network.squash_output": draw(st.booleans()),
        "algorithm.normalize_observations": draw(st.booleans()),
        "algorithm.normalize_returns": draw(st.booleans()),
    }
    return make_config("Probe/Random-v0", **SMALL, **overrides)


def newborn(config, observed, rng):
    algorithm = config.algorithm
    statistics = initial_statistics(
        ObservationLayout(observed.observation),
        observations=algorithm.normalize_observations,
        returns=algorithm.normalize_returns,
    )
    return initial_state(initial_genome(config, observed.observation), observed, 0.6, rng, statistics)


@given(configurations(), OBSERVATIONS, ACTIONS, st.integers(0, 2**32))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_build_act_learn_save_load_mutate_and_act_again(config, observation, action, seed):
    rng, observed = np.random.default_rng(seed), Spaces(observation, action)
    Random.spaces = observed
    with one_thread():
        live(config, observed, rng)


def live(config, observed, rng):
    state = newborn(config, observed, rng)
    envs = make_vect_envs(config.env, [1, 2, 3, 4])
    agent = Agent(state, observed)
    stats = learn(agent, collect_rollouts(agent, envs, 12, rng), config.algorithm, rng)
    assert all(np.isfinite(value) for value in dataclasses.astuple(stats))
    state = agent.state()
    again = from_bytes(to_bytes(state), observed)
    assert to_bytes(again) == to_bytes(state)
    for _ in range(12):
        genome, mutation = mutate(state.genome, config, rng)
        assert Genome.model_validate(genome.model_dump(mode="json")) == genome
        child = transfer(state, genome, observed, rng)
        grown = mutation.kind == "architecture" and mutation.after > mutation.before
        shift = output_shift(state, child, observed, probe_observations(observed, rng))
        assert np.isfinite(shift)
        assert not grown or shift < 1e-5, mutation
        state = perturb(child, 0.1, rng) if mutation.kind == "parameters" else child
    envs.memory = None  # it was another network's
    agent = Agent(from_bytes(to_bytes(state), observed), observed)
    learn(agent, collect_rollouts(agent, envs, 5, rng), config.algorithm, rng)
    assert all(torch.isfinite(tensor).all() for tensor in agent.state().weights.values())
    envs.close()


@pytest.mark.parametrize("env", ["Probe/BrightPixel-v0", "Probe/Liar-v0", "Probe/Remember-v0"])
@pytest.mark.parametrize("kind", ["auto", "simba"])
@pytest.mark.parametrize("share_encoder", [True, False])
def test_every_growth_of_every_encoder_is_exact(env, kind, share_encoder):
    overrides = {"network.encoder.kind": kind, "network.share_encoder": share_encoder}
    config = make_config(env, **SMALL, **overrides, **{"algorithm.recurrent": env == "Probe/Remember-v0"})
    observed, rng = inspect_environment(config).spaces, np.random.default_rng(0)
    state = trained_like(newborn(config, observed, rng), rng)
    growths = [c for c in architecture_changes(state.genome.architecture, config.network.bounds) if c.after > c.before]
    parts = {c.what for c in growths}
    if "Pixel" in env:
        assert {"encoder.0.channels", "encoder.0.kernel", "encoder.layers"} <= parts
    if "Liar" in env:
        assert {"encoder.honest.0.nodes", "encoder.noise/loud.layers"} <= parts
    for change in growths:
        genome = state.genome.model_copy(update={"architecture": change.result})
        child = transfer(state, genome, observed, rng)
        assert output_shift(state, child, observed, probe_observations(observed, rng)) < 1e-5, change.what
        assert child.optimizer_steps == state.optimizer_steps


def test_a_kernel_grows_and_shrinks_around_its_center_with_its_moments():
    config = make_config("Probe/BrightPixel-v0", **SMALL)
    observed, rng = inspect_environment(config).spaces, np.random.default_rng(0)
    state = trained_like(newborn(config, observed, rng), rng)
    name = "encoder.blocks.0.inner.weight"

    def child(of, side):
        changes = architecture_changes(of.genome.architecture, config.network.bounds)
        change = next(c for c in changes if c.what == "encoder.0.kernel" and c.after == side)
        return transfer(of, of.genome.model_copy(update={"architecture": change.result}), observed, rng)

    grown = child(state, 5)
    for part in ("weights", "exp_avg", "exp_avg_sq"):
        new, old = getattr(grown, part)[name], getattr(state, part)[name]
        torch.testing.assert_close(new[:, :, 1:4, 1:4], old, rtol=0, atol=0)
        assert new.abs().sum() == pytest.approx(float(old.abs().sum()))
    back = child(grown, 3)
    torch.testing.assert_close(back.weights[name], state.weights[name], rtol=0, atol=0)


@pytest.mark.parametrize("part", ["channels", "units"])
def test_removal_keeps_the_most_important_units(part):
    env = "Probe/BrightPixel-v0" if part == "channels" else "Probe/Remember-v0"
    recurrent = {"algorithm.recurrent": part == "units", "network.encoder.hidden_state_size": 32}
    config = make_config(env, **{**SMALL, "network.encoder.channel_size": [16, 8]}, **recurrent)
    observed, rng = inspect_environment(config).spaces, np.random.default_rng(0)
    state = trained_like(newborn(config, observed, rng), rng)
    weights = dict(state.weights)
    into = "encoder.blocks.0.inner.weight" if part == "channels" else "encoder.blocks.0.cell.weight_ih"
    rows = 0 if part == "channels" else 1
    size = weights[into].shape[rows]
    dull = torch.tensor(sorted(rng.permutation(size)[: size // 2].tolist()))
    for name, weight in weights.items():
        if name.startswith("encoder.blocks.0"):
            weights[name] = weight.clone().index_fill_(rows, dull, 0.0)
    state = dataclasses.replace(state, weights=weights)
    changes = architecture_changes(state.genome.architecture, config.network.bounds)
    change = next(c for c in changes if c.what.endswith(f"0.{part}") and c.after == size // 2)
    child = transfer(state, state.genome.model_copy(update={"architecture": change.result}), observed, rng)
    kept = torch.tensor([i for i in range(size) if i not in dull.tolist()])
    torch.testing.assert_close(child.weights[into], state.weights[into].index_select(rows, kept), rtol=0, atol=0)
    torch.testing.assert_close(child.exp_avg[into], state.exp_avg[into].index_select(rows, kept), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("env", "overrides", "message"),
    [
        ("OddActions", {"network.squash_output": True}, "(?s)squash_output: action space .* unbounded below: .1."),
        ("Policy", {"network.encoder.kind": "cnn"}, "cnn needs an image, a Box of three axes"),
        ("BrightPixel", {"network.encoder.kernel_size": [3, 9]}, "network.encoder.kernel_size: expected 3 to 7"),
        ("BrightPixel", {"network.encoder.channel_size": [4, 8]}, "network.encoder.channel_size: expected 8 to 128"),
        ("Policy", {"algorithm.recurrent": True, "network.encoder.num_layers": 4}, "num_layers: expected 1 to 3"),
    ],
)
def test_a_network_that_does_not_fit_the_environment_is_refused_before_anything_runs(env, overrides, message):
    with pytest.raises(ConfigError, match=message):
        inspect_environment(make_config(f"Probe/{env}-v0", **overrides))


def test_one_action_is_fine_and_one_broken_member_does_not_stop_the_others():
    assert train_on_policy(make_config("Probe/ValueOnly-v0")).status == "budget_spent"
    faulty = {"env.kwargs": {"what": "shape", "odds": 0.003}, "population.min_survivors": 1}
    commits = train_on_policy(make_config("Probe/Wrong-v0", **{**faulty, "training.max_steps": 768})).commits
    reasons = [member.failure and member.failure.reason for member in commits[1].members]
    assert "environment_error" in reasons
    assert None in reasons


@pytest.mark.parametrize(
    ("env", "overrides"),
    [
        ("Probe/BrightPixel-v0", {}),
        ("Probe/Liar-v0", {}),
        ("CartPole-v1", {"algorithm.recurrent": True}),
        ("Pendulum-v1", {"network.squash_output": True, "algorithm.normalize_observations": True}),
        ("Taxi-v4", {"algorithm.normalize_returns": True}),
    ],
)
def test_whole_runs_repeat_themselves_and_depend_on_the_seed(env, overrides):
    config = make_config(env, **{**overrides, "evaluation.max_steps": 30})
    assert train_on_policy(config).head == train_on_policy(config).head

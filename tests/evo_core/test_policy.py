"""The exported policy equals its agent; files contain their spaces; a wrong policy is detected."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from evo_core.agent.agent import Agent
from evo_core.agent.checkpoint import CheckpointError, load_agent, to_bytes, to_portable_bytes
from evo_core.evolution.population import create_population
from evo_core.export.agreement import gives_masks, largest_difference, play_steps
from evo_core.export.policy import Policy
from evo_core.spaces.serialization import describe_space, read_space
from evo_core.spaces.spaces import Spaces
from evo_core.training import inherit
from tests.conftest import make_config
from tests.evo_core.agents import KINDS, MORE, make_agent
from tests.probes import Random

SEEDS = (1, 2, 3, 4)


def module(policy):
    return lambda arrays: [output.numpy() for output in policy(*map(torch.from_numpy, arrays))]


@pytest.mark.parametrize("kind", [*KINDS, *MORE])
def test_a_policy_does_what_its_agent_does_over_1000_steps(kind):
    config, agent = make_agent(kind)
    steps = play_steps(agent, config, SEEDS, 256)
    policy = Policy(agent, masks=gives_masks(steps))
    assert largest_difference(policy, module(policy), steps) <= 1e-5
    if kind != "clipped doubles":  # which observes the same all the time
        assert len({logits.tobytes() for step in steps for logits in step.logits}) > 1
    assert policy.masks == ("mask" in kind)
    assert bool(policy.memory_size) == ("lstm" in kind or "gru" in kind)


def test_policies_take_what_environments_give():
    for kind, dtype in (("images", "uint8"), ("dictionary", "int64"), ("switches", "int8"), ("squashed", "float32")):
        assert Policy(make_agent(kind)[1]).inputs[0].dtype == dtype
    _, agent = make_agent("dictionary")
    assert [port.path for port in Policy(agent).inputs] == [("honest",), ("liar",), ("noise", "loud")]


def test_a_policy_gives_what_act_gives_to_the_environment():
    for kind in ("indices from a start", "choices from a start", "switches", "clipped doubles", "squashed"):
        _, agent = make_agent(kind)
        space = agent.spaces.observation
        space.seed(3)
        shown = [space.sample() for _ in range(20)]
        expected = np.array(list(agent.act(shown)[0]))
        action = Policy(agent)(torch.from_numpy(np.array(shown)))[0].numpy()
        assert action.dtype == (np.int64 if kind == "indices from a start" else agent.spaces.action.dtype)
        assert np.allclose(action, expected, atol=1e-6), kind


def test_names_that_a_leaf_has_already_get_an_underscore():
    _, agent = make_agent("two lstm layers")
    policy = Policy(agent)
    assert [port.name for port in (*policy.inputs, *policy.outputs)] == [
        "observation",
        "memory",
        "action",
        "logits",
        "next_memory",
    ]
    leaf = replace(agent.network.layout.leaves[0], path=("memory",))
    inputs, _ = policy._ports((leaf,), agent.spaces.action)
    assert [(port.name, port.role) for port in inputs] == [("memory", "observation"), ("memory_", "memory")]


@pytest.mark.parametrize("kind", ["lstm with masks", "clipped doubles", "masked choices"])
def test_a_different_policy_is_detected(kind):
    config, agent = make_agent(kind)
    steps = play_steps(agent, config, SEEDS, 20)
    policy = Policy(agent, masks=gives_masks(steps))
    with torch.no_grad():
        policy.actor.output.bias[1] += 1e-3
    assert largest_difference(policy, module(policy), steps) > 1e-5


def test_a_different_action_is_detected():
    config, agent = make_agent("masked choices")
    steps = play_steps(agent, config, SEEDS, 3)
    policy = Policy(agent, masks=True)

    def run(arrays):
        action, logits = module(policy)(arrays)
        return [(action + 1) % 2, logits]

    assert largest_difference(policy, run, steps) == float("inf")


def test_an_output_of_another_type_is_refused():
    config, agent = make_agent("squashed")
    policy = Policy(agent)
    with pytest.raises(ValueError, match=r"action: expected float32 \(4, 2\), got float64 \(4, 2\)"):
        largest_difference(policy, lambda _: [np.zeros((4, 2))], play_steps(agent, config, SEEDS, 1))


SPACES = [
    spaces.Box(-np.inf, np.inf, (3,), np.float32),
    spaces.Box(np.array([[-1, -np.inf], [0, -2]]), np.array([[1, np.inf], [np.inf, 2]]), dtype=np.float64),
    spaces.Box(0, 255, (84, 84, 3), np.uint8),
    spaces.Box(-1.5, 2.5, (), np.float32),
    spaces.Discrete(5, start=-2),
    spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 0], [-1, 2]]),
    spaces.MultiBinary([2, 3]),
    spaces.Dict({"z": spaces.Discrete(2), "a": spaces.Tuple((spaces.Box(0, 1, (2,)), spaces.MultiBinary(2)))}),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_a_space_comes_back_from_its_description(space):
    again = read_space(describe_space(space))
    assert again == space and again.dtype == space.dtype
    if isinstance(space, spaces.Dict):
        assert list(again.spaces) == list(space.spaces)


def test_the_bounds_of_an_image_are_two_numbers():
    assert len(str(describe_space(SPACES[2]))) < 120


def test_an_exported_agent_loads_alone_and_is_the_same_one():
    _, agent = make_agent("lstm with masks")
    content = to_portable_bytes(agent, {"member": "g0001/m00"})
    again = load_agent(content)
    assert to_bytes(again.state()) == to_bytes(agent.state())
    assert again.spaces == agent.spaces
    assert to_bytes(load_agent(content, agent.spaces).state()) == to_bytes(agent.state())


def test_a_checkpoint_of_a_run_does_not_load_without_spaces():
    _, agent = make_agent("squashed")
    with pytest.raises(CheckpointError, match="load a run's checkpoint with inspect_environment"):
        load_agent(to_bytes(agent.state()))
    with pytest.raises(CheckpointError):
        load_agent(b"garbage")


def test_a_half_precision_action_may_differ_in_its_last_bit_and_no_more(monkeypatch):
    halves = Spaces(spaces.Box(-1, 1, (2,), np.float32), spaces.Box(-1, 1, (1,), np.float16))
    monkeypatch.setattr(Random, "spaces", halves)
    config = make_config("Probe/Random-v0")
    founder = create_population(config, halves.observation).offspring[0]
    agent = Agent(inherit(config, founder, None, halves)[0], halves)
    policy, steps = Policy(agent), play_steps(agent, config, SEEDS, 5)
    for bits, same in ((np.float16(5e-4), True), (np.float16(2e-3), False)):
        run = [step.action + bits for step in steps]
        assert (largest_difference(policy, lambda _, run=run: [run.pop(0)], steps) <= 1e-5) == same

"""What a member found as a configuration and as a schedule: exactly its network, its hyperparameters, its line."""

import numpy as np
import pytest
from gymnasium import spaces

from evo_core.config.parsing import ConfigError, parse_config
from evo_core.envs.inspection import inspect_environment
from evo_core.evolution.mutation import mutate
from evo_core.evolution.population import create_population
from evo_core.evolution.schedule_replay import replay, replay_genomes
from evo_core.export.found_config import found_config, network_sizes
from evo_core.export.schedule_file import make_schedule, read_schedule
from evo_core.genome.genome import algorithm_of, initial_genome
from evo_core.lineage.tree import Lineage
from evo_core.local import train_on_policy
from evo_core.records.canonical import canonical_json
from evo_core.records.chain import Confirmation, config_hash
from tests.conftest import make_config
from tests.evo_core.agents import KINDS, MORE
from tests.lineages import learns_by_lr_and_gamma, make_commits, make_lineage_config
from tests.spreading import undisturbed

SPACE = spaces.Box(-1.0, 1.0, (4,), np.float32)


@pytest.fixture(scope="module")
def line():
    """The winner's line in a run with every kind of mutation, and the run's configuration."""
    config = make_lineage_config(8, 12)
    commits = make_commits(config, learns_by_lr_and_gamma)
    return config, Lineage(commits).line(commits[-1].elite.uid)


@pytest.mark.parametrize("evolve", [True, False])
def test_every_member_of_a_run_is_the_first_founder_of_what_it_found(evolve):
    config = make_lineage_config(8, 12, **{"mutation.new_layer_prob": 0.8})
    lineage = Lineage(make_commits(config, learns_by_lr_and_gamma, seed=1))
    kinds = set()
    for uid, member in lineage.members.items():
        genome = member.offspring.genome
        found = found_config(config, lineage.line(uid), evolve=evolve).config
        founder = create_population(found, SPACE).offspring[0]
        assert founder.genome.architecture == genome.architecture
        assert founder.genome.activation == genome.activation
        wanted, rollout = algorithm_of(genome, config), min(genome.hyperparameters.get("learn_step", 128), 256)
        fitting = wanted.model_copy(update={"batch_size": min(wanted.batch_size, rollout)})
        assert algorithm_of(founder.genome, found) == fitting
        kinds |= {layer.kind for layer in genome.architecture.critic_head}
    assert kinds == {"dense", "residual"}


def test_with_evolution_the_search_goes_on_and_without_it_nothing_mutates(line):
    config, winners = line
    further = found_config(config, winners, evolve=True).config
    assert further.search.keys() == config.search.keys() and further.training == config.training
    alone = found_config(config, winners, evolve=False)
    assert (alone.config.population.size, alone.config.search) == (1, {})
    assert alone.config.training.max_steps == 12 * 256
    assert any("the schedule: along its line values changed" in sentence for sentence in alone.left_out)
    assert sum(len(commit.members) for commit in make_commits(alone.config, lambda *_: 1.0)) == 12


def test_a_configuration_found_is_run_and_its_only_line_keeps_the_winners_genome():
    config = make_config()
    result = undisturbed(config)
    winners = Lineage(result.commits).line(result.elite.uid)
    alone = found_config(config, winners, evolve=False).config
    again = parse_config(alone.model_dump(mode="json"))
    ran = train_on_policy(again)
    trained = [member for commit in ran.commits for member in commit.members]
    assert {member.offspring.mutation.kind for member in trained} == {"none"}
    assert all(member.fitness is not None for member in trained)
    assert {member.offspring.genome.architecture for member in trained} == {winners[-1].offspring.genome.architecture}
    assert ran.agent().genome.architecture == winners[-1].offspring.genome.architecture


@pytest.mark.parametrize("kind", [*KINDS, "dictionary", "images", "two lstm layers", "tuple"])
def test_networks_of_every_encoder_are_given_back_exactly(kind):
    env, overrides = {**KINDS, **MORE}[kind]
    config = make_config(env, **overrides)
    space = inspect_environment(config).spaces.observation
    genome, rng, seen = initial_genome(config, space), np.random.default_rng(0), set()
    for _ in range(60):
        genome, _ = mutate(genome, config, rng)
        network = {**config.network.model_dump(mode="json"), "architecture": network_sizes(genome)}
        given = parse_config({**config.model_dump(mode="json"), "network": network})
        assert initial_genome(given, space).architecture == genome.architecture
        seen.add(canonical_json(genome.architecture))
    assert len(seen) > 5


def test_a_configuration_without_given_sizes_has_the_hash_that_it_had(line):
    config, winners = line
    assert "architecture" not in config.model_dump(mode="json")["network"]
    assert config_hash(found_config(config, winners, evolve=True).config) != config_hash(config)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"latent_dim": 4096}, r"network\.architecture\.latent_dim: expected 8 to 64 .* got 4096"),
        ({"actor_head": []}, r"network\.architecture\.actor_head: expected 1 to 3 .* got 0"),
        ({"critic_head": [{"kind": "dense", "nodes": 65}]}, r"critic_head\.0\.nodes: expected 8 to 64 .* got 65"),
        ({"actor_head": [{"kind": "dense"}]}, r"network\.architecture\.actor_head\.0\.nodes: field required"),
        ({"encoder": {"kind": "nosuch"}}, r"network\.architecture\.encoder\.kind: 'nosuch' is not a kind of encoder"),
        (
            {"encoder": {"kind": "cnn", "convolutions": [{"kind": "plain", "channels": 8, "kernel": 3, "stride": 1}]}},
            r"network\.architecture\.encoder: expected mlp for this environment and network.encoder, got cnn",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, said):
    config = make_config()
    sizes = network_sizes(initial_genome(config, SPACE))
    wrong = make_config(**{"network.architecture": {**sizes, **change}})
    with pytest.raises(ConfigError, match=said):
        inspect_environment(wrong)


def test_a_schedule_holds_the_whole_line_and_is_read_back(line):
    config, winners = line
    confirmed = Confirmation(uid=winners[-1].uid, mean=1.0, ci95=(0.0, 2.0), episodes=4, steps=9)
    schedule = make_schedule("run", config, winners, confirmed)
    assert read_schedule(schedule.model_dump_json().encode(), "s.json") == schedule
    assert schedule.genomes == tuple(member.offspring.genome for member in winners)
    assert [stage.begin for stage in schedule.stages] == [256 * n for n in range(12)]
    assert [stage.end for stage in schedule.stages] == [256 * (n + 1) for n in range(12)]
    for stage, member in zip(schedule.stages, winners, strict=True):
        assert stage.algorithm == algorithm_of(member.offspring.genome, config).model_dump(mode="json")


def test_a_schedule_read_from_a_file_trains_the_same_agent_as_the_line(tmp_path):
    config = make_config()
    result = undisturbed(config)
    winners = Lineage(result.commits).line(result.elite.uid)
    read = read_schedule(make_schedule("run", config, winners).model_dump_json().encode(), "s.json")
    for kind in ("schedule", "fixed"):
        expected = replay(config, winners, kind, 7, result.spaces)
        assert replay_genomes(read.config, read.member, read.genomes, kind, 7, result.spaces) == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", r"s\.json: Invalid JSON"),
        (b"{}", r"s\.json: run_id: Field required; expected a file of `evolve export --format config`"),
    ],
)
def test_files_that_are_no_schedule_are_refused(content, said):
    with pytest.raises(ConfigError, match=said):
        read_schedule(content, "s.json")


def test_schedules_of_another_format_or_without_a_stage_are_refused(line):
    config, winners = line
    schedule = make_schedule("run", config, winners)
    for change, said in (({"format": 2}, "expected format 1, got 2"), ({"stages": ()}, "at least one generation")):
        with pytest.raises(ConfigError, match=said):
            read_schedule(schedule.model_copy(update=change).model_dump_json().encode(), "s.json")

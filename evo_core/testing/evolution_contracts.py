"""The contracts of a plugin's mutation and of its selector."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box, Discrete
from pydantic import JsonValue

from evo_core.agent.agent import initial_state
from evo_core.agent.transfer import output_shift, transfer
from evo_core.config.parsing import parse_config
from evo_core.config.run_config import RunConfig
from evo_core.evolution.mutation_plugins import mutate_by_plugin
from evo_core.evolution.population import create_population, next_generation
from evo_core.genome.genome import Genome, initial_genome
from evo_core.records.canonical import canonical_json
from evo_core.records.chain import BlobRef, Evaluation, Generation, Member, Mutation, Offspring, Training, record_hash
from evo_core.spaces.spaces import Spaces
from evo_core.training import probe_observations, record_lost_member

SPACES = Spaces(Box(-1.0, 1.0, (4,), np.float32), Discrete(2))
SEARCH: dict[str, Any] = {
    "lr": {"min": 1e-4, "max": 1e-2, "scale": "log"},
    "gamma": {"min": 0.9, "max": 0.999, "scale": "log1m"},
    "batch_size": {"min": 32, "max": 512, "scale": "log"},
}
GENERATIONS = 20
SEEDS = 10


class MutationContract:
    """What every mutation must do. Set `plugin` to its class and `options` to its arguments.

    `overrides` of the configuration by dotted name: what it needs to apply.
    """

    plugin: ClassVar[type]
    options: ClassVar[Mapping[str, JsonValue]] = {}
    overrides: ClassVar[Mapping[str, object]] = {}

    def test_the_same_generator_gives_the_same_child(self) -> None:
        """It draws from its generator alone."""
        config = self._config()
        for seed in range(SEEDS):
            (one, said), (other, again) = (_line(self._name(), config, seed)[-1] for _ in range(2))
            assert one == other and said == again, "it drew from something else than the given generator"

    def test_its_parent_stays_as_it_is(self) -> None:
        """Records are frozen, but their lists and mappings are not."""
        config = self._config()
        genome = initial_genome(config, SPACES.observation)
        before = canonical_json(genome)
        self.plugin(**self.options).mutate(genome, config, np.random.default_rng(0))
        assert canonical_json(genome) == before, "it changed the genome that it was given; return a new one"

    def test_whole_lines_stay_within_the_bounds(self) -> None:
        """Every child is a genome of its run: `mutate_by_plugin` raises otherwise."""
        for seed in range(SEEDS):
            _line(self._name(), self._config(), seed)

    def test_what_it_changes_is_recorded(self) -> None:
        """It changes something at least once, and then the record says what."""
        found = [entry for seed in range(SEEDS) for entry in _line(self._name(), self._config(), seed)]
        recorded = [mutation for _, mutation in found if mutation.kind != "none"]
        assert recorded, "it never changed anything; give its contract what it needs by `overrides`"
        for mutation in recorded:
            assert mutation.kind == self._name() and mutation.what
            assert Mutation.model_validate_json(canonical_json(mutation)) == mutation

    def test_weights_follow(self) -> None:
        """A child's network inherits its parent's weights."""
        config = self._config()
        parent = initial_genome(config, SPACES.observation)
        state = initial_state(parent, SPACES, 1.0, np.random.default_rng(0))
        for seed in range(SEEDS):
            child, _ = mutate_by_plugin(self._name(), parent, config, np.random.default_rng(seed))
            inherited = transfer(state, child, SPACES, np.random.default_rng(1))
            assert np.isfinite(
                output_shift(state, inherited, SPACES, probe_observations(SPACES, np.random.default_rng(2)))
            )

    def _name(self) -> str:
        return f"{self.plugin.__module__}:{self.plugin.__qualname__}"

    def _config(self) -> RunConfig:
        weights, options = {self._name(): 1.0}, {self._name(): dict(self.options)}
        return _config({**self.overrides, "mutation.plugins": weights, "mutation.options": options})


class SelectorContract:
    """What every selector must do. Set `plugin` to its class and `options` to its arguments."""

    plugin: ClassVar[type]
    options: ClassVar[Mapping[str, JsonValue]] = {}

    def test_the_same_generator_chooses_the_same_parents(self) -> None:
        """It draws from its generator alone, and remembers nothing."""
        for seed in range(SEEDS):
            assert self._chain(seed) == self._chain(seed), "it drew from something else than the given generator"

    def test_it_chooses_as_many_parents_as_there_are_places(self) -> None:
        """Of one member too, of members that are all alike, and with scores of any sign."""
        for scores in ([1.0], [0.0] * 5, [-3.0, -1.0, -2.0], [1e9, -1e9, 3.0], list(np.linspace(-1, 1, 30))):
            members = _members(self._config(len(scores)), scores)
            for count in (0, 1, 2, 7):
                table, rng = np.array(scores), np.random.default_rng(count)
                chosen = list(self.plugin(**self.options).select(members, table, count, rng))
                assert len(chosen) == count and all(0 <= each < len(scores) for each in chosen)
                assert table.tolist() == scores, "it changed the scores that it was given"

    def test_members_that_failed_are_no_parents(self) -> None:
        """They are not even shown to it."""
        config = self._config(4)
        commit = create_population(config, SPACES.observation)
        members = _members(config, [1.0, 2.0, 3.0, 4.0], commit)
        members[2] = record_lost_member(members[2].offspring, None, "lost")
        draw = next_generation(config, commit, members).draw
        assert draw is not None and 2 not in draw.parents

    def _name(self) -> str:
        return f"{self.plugin.__module__}:{self.plugin.__qualname__}"

    def _config(self, size: int) -> RunConfig:
        chosen = {"selection.method": self._name(), "selection.options": dict(self.options)}
        return _config({**chosen, "population.size": size, "selection.elitism": size > 1})

    def _chain(self, seed: int) -> list[str]:
        """Return the hashes of a run whose members score at random."""
        config, rng = self._config(5), np.random.default_rng(seed)
        commits = [create_population(config, SPACES.observation)]
        for _ in range(3):
            members = _members(config, rng.normal(size=5).tolist(), commits[-1])
            commits.append(next_generation(config, commits[-1], members))
        return [record_hash(commit) for commit in commits]


def _config(overrides: Mapping[str, object]) -> RunConfig:
    base = {"env": {"id": "none"}, "search": SEARCH, "training": {"max_steps": 10**8}}
    return parse_config(base, overrides)


def _line(name: str, config: RunConfig, seed: int) -> list[tuple[Genome, Mutation]]:
    """Mutate again and again; return every genome with how it came about."""
    rng, found = np.random.default_rng(seed), []
    genome = initial_genome(config, SPACES.observation)
    for _ in range(GENERATIONS):
        genome, mutation = mutate_by_plugin(name, genome, config, rng)
        found.append((genome, mutation))
    return found


def _members(config: RunConfig, scores: Sequence[float], commit: Generation | None = None) -> list[Member]:
    """Make the members of a generation, who scored so on each of three episodes."""
    offspring = (commit or create_population(config, SPACES.observation)).offspring
    return [_member(child, score) for child, score in zip(offspring, scores, strict=True)]


def _member(offspring: Offspring, score: float) -> Member:
    blob = BlobRef(sha256=f"{offspring.index:064x}", size=1)
    evaluation = Evaluation(fitness=score, fitness_sem=0.0, episodes=3, steps=3, returns=(score,) * 3)
    return Member(
        offspring=offspring, training=Training(uid=offspring.uid, steps=100, blob=blob), evaluation=evaluation
    )

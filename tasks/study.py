"""The lineage as an Optuna study: one finished trial per (generation, member).

The study is a view of the store. It is brought up to date by adding what is missing, so live recording, catching up
after an outage and rebuilding are the same thing.
"""

import json
from datetime import datetime
from pathlib import Path

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import make_url

from evo_core.architecture import Layers
from evo_core.config import RunConfig, evolvable_hyperparameters
from evo_core.genes import Gene
from evo_core.genome import Genome
from evo_core.networks.stack import ACTIVATIONS
from evo_core.records import Generation, Member, record_hash
from tasks.run_store import RunStore


class ForeignStudy(RuntimeError):
    """A study of this run's id that records another run."""


class StudyRecorder:
    """Brings a run's study up to date with its store."""

    def __init__(self, run: RunStore, config: RunConfig, study_url: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._run, self._config = run, config
        self._distributions = distributions(config)
        _make_directory(study_url)
        self._study = optuna.create_study(
            study_name=run.run_id, storage=study_url, direction="maximize", load_if_exists=True
        )
        self._claim(record_hash(run.commit(0)))
        self._recorded = {trial.user_attrs.get("uid") for trial in self._study.get_trials(deepcopy=False)}
        self._next = 1

    def catch_up(self, head: Generation) -> int:
        """Add every trial that is missing up to a COMMIT; return how many were added."""
        added = 0
        while self._next <= head.generation:
            commit = head if self._next == head.generation else self._run.commit(self._next)
            added += sum(self._add(member) for member in commit.members)
            self._next += 1
        return added

    def _claim(self, founders: str) -> None:
        """Mark the study as this run's, by the hash of COMMIT 0; ForeignStudy when it is another's of the same id."""
        owner = self._study.user_attrs.get("founders")
        if owner is None:
            self._study.set_user_attr("founders", founders)
        elif owner != founders:
            raise ForeignStudy(
                f"the study {self._run.run_id} in this database belongs to another run of that id; name another "
                "database by --study, or delete that study"
            )

    def _add(self, member: Member) -> bool:
        if member.uid in self._recorded:
            return False
        self._study.add_trial(self._trial(member))
        self._recorded.add(member.uid)
        return True

    def _trial(self, member: Member) -> FrozenTrial:
        trial = create_trial(
            state=TrialState.COMPLETE if member.evaluation else TrialState.FAIL,
            value=member.fitness,
            params=parameters(member.offspring.genome),
            distributions=self._distributions,
            user_attrs=attributes(member),
        )
        trial.datetime_start, trial.datetime_complete = self._times(member)
        trial.user_attrs["times_known"] = trial.datetime_start != trial.datetime_complete
        return trial

    def _times(self, member: Member) -> tuple[datetime, datetime]:
        address = (member.offspring.generation, member.offspring.index)
        timings = [timing for phase in ("train", "evaluate") if (timing := self._run.timing(*address, phase))]
        if not timings:  # unknown: the database wants a time, `times_known` says that it is none
            now = datetime.now()
            return now, now
        local = [moment.astimezone().replace(tzinfo=None) for moment in (timings[0].start, timings[-1].end)]
        return local[0], local[1]


def distributions(config: RunConfig) -> dict[str, BaseDistribution]:
    """Describe a genome's parameters; the same for every trial of a run."""
    bounds = config.network.bounds
    depth = IntDistribution(*bounds.layers)
    nodes = IntDistribution(bounds.nodes[0] * bounds.layers[0], bounds.nodes[1] * bounds.layers[1])
    parts = {f"{part}.{what}": d for part in _PARTS for what, d in (("layers", depth), ("nodes", nodes))}
    return {
        **{name: _distribution(name, gene) for name, gene in config.search.items()},
        **parts,
        "latent_dim": IntDistribution(*bounds.latent_dim),
        "activation": CategoricalDistribution(list(ACTIVATIONS)),
    }


def parameters(genome: Genome) -> dict[str, float | int | str]:
    """Express a genome as Optuna parameters: its genes, and the depth and number of nodes of each part."""
    parts: dict[str, Layers] = {
        "encoder": genome.architecture.encoder.layers,
        "actor_head": genome.architecture.actor_head,
        "critic_head": genome.architecture.critic_head,
    }
    sizes = {f"{part}.layers": len(layers) for part, layers in parts.items()}
    sizes |= {f"{part}.nodes": sum(layer.nodes for layer in layers) for part, layers in parts.items()}
    return {
        **genome.hyperparameters,
        **sizes,
        "latent_dim": genome.architecture.latent_dim,
        "activation": genome.activation,
    }


def attributes(member: Member) -> dict[str, object]:
    """Describe a member: who it is, where it comes from, and what it made."""
    offspring, training, evaluation = member.offspring, member.training, member.evaluation
    return {
        "uid": member.uid,
        "generation": offspring.generation,
        "member": offspring.index,
        "parent": offspring.parent,
        "mutation": offspring.mutation.kind,
        "mutation_what": offspring.mutation.what,
        "mutation_from": offspring.mutation.before,
        "mutation_to": offspring.mutation.after,
        "genome": json.loads(offspring.genome.model_dump_json()),
        "train_steps": training.steps,
        "lineage_steps": offspring.lineage_steps + training.steps,
        "output_shift": training.output_shift,
        "fitness_sem": evaluation.fitness_sem if evaluation else None,
        "episodes": evaluation.episodes if evaluation else 0,
        "eval_steps": evaluation.steps if evaluation else 0,
        "checkpoint": training.blob.sha256 if training.blob else None,
        "failure": member.failure.reason if member.failure else None,
    }


def _make_directory(study_url: str) -> None:
    url = make_url(study_url)
    if url.drivername.startswith("sqlite") and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)


_PARTS = ("encoder", "actor_head", "critic_head")


def _distribution(name: str, gene: Gene) -> BaseDistribution:
    log = gene.scale == "log"
    if evolvable_hyperparameters()[name] is int:
        return IntDistribution(int(gene.min), int(gene.max), log=log)
    return FloatDistribution(gene.min, gene.max, log=log)

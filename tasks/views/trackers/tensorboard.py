"""TensorBoard tracker: an event directory per slot, and one for the population.

The x axis of a member is the training of its weights, that of the population the training of all members, both in
environment steps. TensorBoard keeps 32 bits of every number.
"""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from evo_core.evaluation.run_end import Ending
from evo_core.records.chain import Generation
from tasks.views.trackers import tracker as base
from tasks.views.trackers.measures import (
    Measures,
    generation_measures,
    lineage_row,
    member_measures,
    member_steps,
)
from tasks.views.trackers.tracker import member_name
from tasks.yaml_text import dump_yaml

POPULATION = "population"


class Tracker(base.Tracker):
    """TensorBoard tracker. A generation that a killed process wrote only in part is purged by TensorBoard."""

    def begin(self, run: base.TrackedRun) -> int:
        """Open every series after the last generation that all of them hold; return that generation."""
        self._writers: dict[str, SummaryWriter] = {}
        self._run = run
        names = [POPULATION, *(member_name(index) for index in range(run.config.population.size))]
        held = {name: _steps_by_generation(run.directory / name) for name in names}
        last = min(max(held[POPULATION], default=0), run.complete(held))
        for name in names:
            # the line of a slot may begin again from the archive, after fewer steps than its last one had
            purge = max((step for generation, step in held[name].items() if generation <= last), default=-1) + 1
            self._writers[name] = SummaryWriter(str(run.directory / name), purge_step=purge)
        if not last:
            plain = dump_yaml(run.config.model_dump(mode="json"))
            self._writers[POPULATION].add_text("config", _indented(plain), 0)
        return last

    def log(self, commit: Generation) -> None:
        """Add a point to every series, and the generation's family tree as a table."""
        ends = self._run.ends(commit)
        for member, at in zip(commit.members, ends, strict=True):
            self._add(member_name(member.offspring.index), member_measures(member), member_steps(member), at)
        self._writers[POPULATION].add_text("lineage", _table(commit), commit.train_steps)
        self._add(POPULATION, generation_measures(commit, self._run.config), commit.train_steps, max(ends))

    def finish(self, ending: Ending) -> None:
        """Add the last genome of every slot with its fitness, for the hyperparameter tab, and the delivered agent."""
        latest = {member.offspring.index: member for member in self._run.members()}
        for member in latest.values():
            genome = member.offspring.genome
            values = {
                **genome.hyperparameters,
                "activation": genome.activation,
                "latent_dim": genome.architecture.latent_dim,
            }
            writer = self._writers[member_name(member.offspring.index)]
            for summary in hparams(values, {"fitness": 0.0}):  # names the metric; its value is the last point
                writer._get_file_writer().add_summary(summary)
        confirmed = (
            f"{ending.confirmed.mean} over {ending.confirmed.episodes} fresh episodes"
            if ending.confirmed
            else "not confirmed"
        )
        last = max(member.offspring.generation for member in latest.values())
        text = f"{ending.status.replace('_', ' ')}: {ending.elite.uid}, fitness {ending.elite.fitness}, {confirmed}"
        self._writers[POPULATION].add_text("delivered", text, last)

    def close(self) -> None:
        """Close the event files."""
        for writer in self._writers.values():
            writer.close()

    def _add(self, name: str, measures: Measures, step: int, at: float) -> None:
        writer = self._writers[name]
        for tag, value in measures.items():
            writer.add_scalar(tag, value, step, walltime=at)
        writer.flush()


def _steps_by_generation(directory: Path) -> dict[int, int]:
    """Return the step of every generation that a series holds; a point's generation is written last."""
    if not directory.exists():
        return {}
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()
    if "generation" not in events.Tags()["scalars"]:
        return {}
    return {round(point.value): point.step for point in events.Scalars("generation")}


def _table(commit: Generation) -> str:
    """Format a generation's family tree as a Markdown table."""
    rows = [lineage_row(member) for member in commit.members]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _indented(text: str) -> str:
    """Format text as a Markdown code block."""
    return "".join(f"    {line}\n" for line in text.splitlines())

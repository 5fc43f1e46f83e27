"""Runs side by side: the best fitness so far over training steps, and what was confirmed, by configuration and seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evo_core.config.run_config import RunConfig
from evo_core.evaluation.intervals import mean_interval
from flows.report.run_data import RunView
from flows.settings import BadInput
from tasks.views.phrases import describe_interval, describe_number

UNRANKED = "–"


@dataclass(frozen=True, slots=True)
class Side:
    """One run of a comparison. `steps`: training steps of its population at the end of each generation, [G]; `best`:
    the best fitness of an elite until then, [G].
    """

    view: RunView
    steps: np.ndarray
    best: np.ndarray

    def best_at(self, steps: np.ndarray) -> np.ndarray:
        """Return the best fitness at these steps, none of which may be before its first generation."""
        return np.asarray(self.best[np.searchsorted(self.steps, steps, side="right") - 1])


@dataclass(frozen=True, slots=True)
class Group:
    """Runs of one configuration, which differ in their seeds. `name` is a letter, or the run's own name where every
    group has one run.
    """

    name: str
    sides: tuple[Side, ...]

    def grid(self) -> np.ndarray:
        """Return the steps at which all runs of the group have a best fitness and one of them changes."""
        first = max(side.steps[0] for side in self.sides)
        last = min(side.steps[-1] for side in self.sides)
        steps = np.unique(np.concatenate([side.steps for side in self.sides]))
        return np.asarray(steps[(steps >= first) & (steps <= last)])

    def band(self) -> tuple[np.ndarray, np.ndarray, list[tuple[float, float] | None]]:
        """Return the steps of the grid, the mean of the runs' best fitness there, and its 95 % interval over seeds.

        Intervals are None for fewer than three runs.
        """
        grid = self.grid()
        values = np.stack([side.best_at(grid) for side in self.sides])
        return grid, values.mean(axis=0), [mean_interval(column) for column in values.T]


def compare_runs(views: Sequence[RunView]) -> list[Group]:
    """Group runs by configuration, in the order given; raise BadInput for runs of different environments."""
    if twice := next((view.run_id for n, view in enumerate(views) if view.run_id in [v.run_id for v in views[:n]]), ""):
        raise BadInput(f"{twice} is named twice; name every run once")
    environments = {view.config.env.id: view.run_id for view in views}
    if len(environments) > 1:
        (one, first), (other, second) = list(environments.items())[:2]
        raise BadInput(
            f"expected runs of one environment, whose fitness can be compared; {first} is of {one}, {second} of {other}"
        )
    measures = {view.config.evaluation.objective: view.run_id for view in views}
    if len(measures) > 1:
        (about, first), (another, second) = list(measures.items())[:2]
        raise BadInput(
            f"expected runs of one fitness, which can be compared; that of {first} is {about.oriented_title}, that of "
            f"{second} {another.oriented_title}"
        )
    groups: list[tuple[RunConfig, list[Side]]] = []
    for view in views:
        key = _without_seed(view.config)
        found = next((sides for config, sides in groups if config == key), None)
        if found is None:
            groups.append((key, found := []))
        found.append(_side(view))
    alone = all(len(sides) == 1 for _, sides in groups)
    return [
        Group(sides[0].view.run_id if alone else _letter(number), tuple(sides))
        for number, (_, sides) in enumerate(groups)
    ]


def run_table(groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of a table of all runs."""
    columns = ["run", "configuration", "seed", "status", "best so far", "confirmed (95 % CI)", "steps", "generations"]
    rows = []
    for group in groups:
        for side in group.sides:
            view, last = side.view, side.view.lineage.commits[-1]
            confirmed = view.confirmed
            rows.append(
                [
                    view.run_id,
                    group.name,
                    str(view.config.seed),
                    view.status,
                    describe_number(float(side.best[-1])),
                    _with_interval(confirmed.mean, confirmed.ci95) if confirmed else UNRANKED,
                    f"{last.train_steps:,}",
                    str(last.generation),
                ]
            )
    return columns, rows


def group_table(groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of a table of the configurations: means over their seeds, and what differs."""
    columns = [
        "configuration",
        "runs",
        "at steps",
        "best so far (95 % CI over seeds)",
        "confirmed (95 % CI over seeds)",
    ]
    rows = []
    for group in groups:
        grid, means, intervals = group.band()
        scores = [side.view.confirmed.mean for side in group.sides if side.view.confirmed is not None]
        at = [f"{int(grid[-1]):,}", _with_interval(means[-1], intervals[-1])] if len(grid) else [UNRANKED, UNRANKED]
        mean = _with_interval(float(np.mean(scores)), mean_interval(np.array(scores))) if scores else UNRANKED
        rows.append([group.name, str(len(group.sides)), *at, mean])
    return columns, rows


def differing_fields(groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of a table of the fields in which the configurations differ."""
    flat = [_flat(_without_seed(group.sides[0].view.config).model_dump(mode="json")) for group in groups]
    names = [
        name for name in sorted({name for one in flat for name in one}) if len({one.get(name) for one in flat}) > 1
    ]
    return ["field", *(group.name for group in groups)], [
        [name, *(one.get(name, UNRANKED) for one in flat)] for name in names
    ]


def _side(view: RunView) -> Side:
    sign = view.config.evaluation.objective.sign
    found = [(commit.train_steps, one.fitness) for commit in view.lineage.commits if (one := commit.fittest(sign))]
    return Side(view, np.array([steps for steps, _ in found]), np.array([best for _, best in found]))


def _without_seed(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"seed": 0}).with_instances(None)


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"A{number}"


def _with_interval(mean: float, interval: tuple[float, float] | None) -> str:
    return describe_number(mean) + (f" ({describe_interval(interval, mean)})" if interval else "")


def _flat(value: object, prefix: str = "") -> dict[str, str]:
    if not isinstance(value, dict) or not value:
        return {prefix.rstrip("."): str(value)}
    return {name: text for key, item in value.items() for name, text in _flat(item, f"{prefix}{key}.").items()}

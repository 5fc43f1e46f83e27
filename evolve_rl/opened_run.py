"""A run of a store, finished or still running: its members, curves, figures, agent and result."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evo_core.config.parsing import did_you_mean
from evo_core.config.run_config import RunConfig
from evo_core.lineage.tree import Lineage
from evo_core.records.chain import Confirmation, EliteRef
from flows.cli.session import read_settings
from flows.outcome import Delivery, delivery
from flows.report.member_table import Row, as_frame, curve_rows, member_rows
from flows.report.run_data import RunView, view_run
from flows.report.sentences import explain
from flows.runs import open_ref
from flows.settings import BadInput, Settings
from tasks.runs.ref import RunRef

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects as go

    from evo_core.agent.agent import Agent
    from evo_core.export.schedule_file import Schedule


def open_run(store: str | Path, run_id: str, **settings: object) -> "Run":
    """Open a run of a store (a directory, file:///… or s3://bucket/prefix), which may still be running.

    `settings` are operational ones, such as env_path and env_packages of an environment of your own. Raises BadInput,
    with suggestions, if there is no such run.
    """
    chosen = read_settings(check_settings({**settings, "store": str(store)}))
    return Run(open_ref(run_id, settings=chosen))


def check_settings(given: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that have a value, as plain values; BadInput for an unknown name or kind of value."""
    for name in given:
        if name not in Settings.model_fields:
            raise BadInput(f"{name}: not an operational setting; {did_you_mean(name, Settings.model_fields)}")
    return {name: _plain(name, value) for name, value in given.items() if value is not None}


def _plain(name: str, value: object) -> str | int | float | bool:
    """Return a setting as a value of JSON; numbers of NumPy become Python's."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Path):
        return str(value)
    if not isinstance(value, str | int | float | bool):
        raise BadInput(f"{name}: expected text or a number, got {value!r}")
    return value


class Run:
    """A run as it stood when it was opened; `refresh()` reads it again.

    Tables are pandas DataFrames if pandas is installed, else lists of dicts with the same columns.
    """

    def __init__(self, ref: RunRef) -> None:
        self._ref = ref

    @property
    def run_id(self) -> str:
        """Name of the run."""
        return self._ref.run_id

    @property
    def store(self) -> str:
        """Address of its store."""
        return self._ref.store_url

    @property
    def config(self) -> RunConfig:
        """Its configuration, with the budget as extended."""
        return self._ref.config

    @property
    def status(self) -> str:
        """One of target reached, budget spent, unfinished."""
        return self._delivery.status

    @property
    def winner(self) -> EliteRef:
        """The delivered agent; of an unfinished run, its elite so far."""
        return self._delivery.elite

    @property
    def confirmed(self) -> Confirmation | None:
        """Score of the delivered agent on fresh seeds; None where it was not played."""
        return self._delivery.confirmed

    @property
    def tree(self) -> Lineage:
        """The family tree: COMMITs, members, lines, gains."""
        return self._view.lineage

    def members(self) -> "pandas.DataFrame | list[Row]":
        """Return a row for every member.

        Generation, member, parent, mutation, every gene and size, fitness and its standard error, steps, times,
        checkpoint, and whether it belongs to the winning line.
        """
        return as_frame(member_rows(self._view))

    def curve(self, uid: str | None = None) -> "pandas.DataFrame | list[Row]":
        """Return the learning curve of a member, by default the winner's, stitched from those of its ancestors.

        A row per update: `lineage_steps` (environment steps that these weights were trained for), `episode_return`, the
        losses, and `fitness` at the end of each generation. BadInput for an unknown member.
        """
        return as_frame(curve_rows(self._view, self._known(uid)))

    def lineage(self, uid: str | None = None) -> "pandas.DataFrame | list[Row]":
        """Return the rows of `members` for a member's line of descent, by default the winner's: its founder first."""
        line = self.tree.line(self._known(uid))
        return as_frame(member_rows(self._view, [member.uid for member in line]))

    def story(self, uid: str | None = None) -> str:
        """Describe the origin of a member, by default the winner, and the effects of its mutations in sentences."""
        known = self._known(uid)
        return " ".join(explain(self.tree, known, self._view.failure_details([known]).get(known)))

    def agent(self, uid: str | None = None, device: str | None = None) -> "Agent":
        """Load a member's agent, by default the delivered one. A checkpoint that was released is computed again."""
        from flows.member_lookup import load

        return load(self._ref, uid, device).agent

    @cached_property
    def figures(self) -> "Figures":
        """Figures of the report by name, such as figures["family_tree"]; each is drawn at first use."""
        return Figures(self._view)

    def report(self, directory: str | Path | None = None, *, pictures: bool = False) -> Path:
        """Write the report, one HTML page, into a directory (reports/RUN); return its file.

        With `pictures`, every figure as PNG too, which needs the extra png and Chrome or Chromium.
        """
        from flows.cli.report import write_pictures, write_report
        from flows.report.html_page import make_figures

        place, drawn = Path(directory or Path("reports") / self.run_id), make_figures(self._view)
        page = write_report(self._view, drawn, place)
        if pictures and (missing := write_pictures(drawn, place)[1]):
            raise BadInput(f"pictures: {missing}")
        return page

    def schedule(self, uid: str | None = None) -> "Schedule":
        """Return what a member's weights, by default the winner's, were trained with, generation by generation."""
        from evo_core.export.schedule_file import make_schedule

        known = self._known(uid)
        confirmed = self.confirmed if self.confirmed and self.confirmed.uid == known else None
        return make_schedule(self.run_id, self.config, self.tree.line(known), confirmed)

    def found_config(self, uid: str | None = None, *, evolve: bool = False) -> RunConfig:
        """Return a configuration with a member's hyperparameters and exactly its network, by default the winner's.

        It trains that one alone, or with `evolve` a population that evolves from it.
        """
        from evo_core.export.found_config import found_config

        return found_config(self.config, self.tree.line(self._known(uid)), evolve=evolve).config

    def export_config(self, directory: str | Path, uid: str | None = None) -> list[Path]:
        """Write what a member found into a directory, as `evolve export --format config` does; return the files."""
        from flows.cli.export_config import write_found

        place = Path(directory)
        files = write_found(self._ref, self._view, self._known(uid), place)
        return [place / name for name in (*(file.name for file in files), "README.md")]

    def refresh(self) -> "Run":
        """Return the run as it stands now."""
        ref = self._ref
        store = ref.open()
        return Run(_with_config(ref, store.config()))

    def __repr__(self) -> str:
        """Return the run in one line."""
        head = self._ref.open().head()
        if head is None or head.elite is None:
            return f"Run({self.run_id}: no generation finished yet)"
        score = f"confirmed {self.confirmed.mean:g}" if self.confirmed else f"fitness {self.winner.fitness:g}"
        return f"Run({self.run_id}: {self.status}, {self.winner.uid} {score}; {head.generation} generations)"

    def _repr_html_(self) -> str:
        """Return a table of the run and its result, for notebooks."""
        from flows.report.html_page import facts, parameters_found

        try:
            view = self._view
        except BadInput as error:
            return f"<p>{escape(str(error))}</p>"
        about = _table(["", ""], [[name, value] for name, value in facts(view)])
        changed = [[name, before, after] for name, before, after in parameters_found(view) if before != after]
        found = _table(["parameter", "its founder had", "the winner has"], changed)
        story = " ".join(map(escape, explain(view.lineage, view.winner)))
        return f"<h4>{escape(self.run_id)}</h4>{about}<p>{story}</p>{found if changed else ''}"

    @cached_property
    def _view(self) -> RunView:
        return view_run(self._ref)

    @cached_property
    def _delivery(self) -> Delivery:
        return delivery(self._ref)

    def _known(self, uid: str | None) -> str:
        try:
            return self.tree[uid or self._view.winner].uid
        except LookupError as error:
            raise BadInput(str(error.args[0])) from None


class Figures(Mapping[str, "go.Figure"]):
    """The figures of a run's report by name, as plotly figures with their titles."""

    def __init__(self, view: RunView) -> None:
        self._view = view

    @cached_property
    def _drawn(self) -> dict[str, Any]:
        from flows.report.html_page import make_figures

        return {figure.name: figure for figure in make_figures(self._view)}

    def __getitem__(self, name: str) -> "go.Figure":
        """Return a figure; KeyError that lists the names."""
        from flows.report.style import titled

        if name not in self._drawn:
            raise KeyError(f"{name}: {did_you_mean(name, self._drawn)}")
        figure = self._drawn[name]
        return titled(figure, figure.plot.layout.height + 40)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._drawn)

    def __len__(self) -> int:
        """Return the number of figures."""
        return len(self._drawn)

    def reading(self, name: str) -> str:
        """Return the sentence on how to read a figure."""
        self[name]
        return str(self._drawn[name].reading)


def _with_config(ref: RunRef, config: RunConfig) -> RunRef:
    from dataclasses import replace

    return replace(ref, config=config.with_instances(ref.config.env.max_instances))


def _table(columns: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th style='text-align:left'>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{escape(value)}</td>" for value in row) + "</tr>" for row in rows
    )
    return f"<table>{f'<tr>{head}</tr>' if any(columns) else ''}{body}</table>"

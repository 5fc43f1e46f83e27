"""What the pipeline adds to training, in units of U: the time that `import torch, prefect, distributed` takes.

    python -m benchmarks.overhead [--repeats 3]

Every repeat measures U first, then runs of a tiny CartPole population through `evolve run`, so that the speed of the
machine cancels out. A generation's overhead is its wall clock less the work of its members divided by the workers; the
start ends with the first training step, the end begins with the last COMMIT and includes a confirmation of 100
episodes. Memory is the highest proportional set size. Commands that are refused or only look are timed last.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import psutil

EVOLVE = str(Path(sys.executable).parent / "evolve")
UNIT = [sys.executable, "-c", "import torch, prefect, distributed"]
GENERATIONS, WORKERS = 4, 2
SETTINGS = {
    "env.id": "CartPole-v1",
    "env.num_envs": 4,
    "algorithm.learn_step": 256,
    "algorithm.batch_size": 128,
    "algorithm.update_epochs": 2,
    "training.evo_steps": 512,
    "evaluation.episodes": 2,
    "evaluation.confirm_episodes": 100,
}
COMMANDS = (
    *("--help", "run --help", "configs", "status", "status RUN", "lineage RUN", "verify RUN", "gc RUN --dry-run"),
    *("run --wrong 3", "run --config cartpole --algorithm.lr high", "run --config broken.yaml"),
    *("run --config cartpole --env.id Nowhere-v0", "run --config cartpole --env.kwargs {wrong:1}"),
    *("resume nowhere", "evaluate nowhere", "verify nowhere", "deploy --wrong", "serve --port none"),
)
SAMPLE_S = 0.5


@dataclass(frozen=True)
class Run:
    """A finished run: when it was started and ended, its directory, and the peak memory of its processes by pid."""

    began: float
    ended: float
    place: Path
    peaks: dict[int, float]

    @property
    def commits(self) -> list[float]:
        """When each COMMIT was written, by the file system's clock."""
        return [path.stat().st_mtime for path in sorted(self.place.glob("gen/*/COMMIT.json"))]

    @property
    def phases(self) -> list[list[dict[str, str]]]:
        """Timings of the members of each generation."""
        records = [json.loads(path.read_text())["record"] for path in sorted(self.place.glob("gen/*/timings.json"))]
        return [[*record["train"].values(), *record["evaluate"].values()] for record in records]

    @property
    def start_s(self) -> float:
        """Seconds from the command to the first training step."""
        return min(moment(phase["start"]) for phase in self.phases[0]) - self.began

    @property
    def end_s(self) -> float:
        """Seconds from the last COMMIT to the end of the process."""
        return self.ended - self.commits[-1]

    @property
    def generation_s(self) -> float:
        """Median overhead of the generations after the first, which waits for workers."""
        gaps = [after - before for before, after in pairwise(self.commits)][1:]
        work = [sum(moment(p["end"]) - moment(p["start"]) for p in phases) for phases in self.phases[1:]]
        return statistics.median(gap - done / WORKERS for gap, done in zip(gaps, work, strict=True))

    @property
    def memory_mb(self) -> tuple[float, float]:
        """Peak memory of the pipeline beside its workers, and of the largest worker."""
        workers = {int(phase["process"]) for phases in self.phases for phase in phases}
        beside = sum(peak for pid, peak in self.peaks.items() if pid not in workers)
        return beside, max(self.peaks.get(pid, 0.0) for pid in workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    rows: dict[str, list[str]] = defaultdict(list)
    values: dict[str, list[float]] = defaultdict(list)
    for repeat in range(parser.parse_args().repeats):
        for name, value, text in measure():
            values[name].append(value)
            rows[name].append(text)
        print(f"repeat {repeat}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    print("| measured | median | repeats |\n|---|---|---|")
    for name, texts in rows.items():
        print(f"| {name} | {statistics.median(values[name]):.3g} | {', '.join(texts)} |")


def measure() -> Iterator[tuple[str, float, str]]:
    """Yield name, value and text of everything that one repeat measures."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "broken.yaml").write_text("env: {id: CartPole-v1\ntraining: [")
        unit = statistics.median(seconds(UNIT, place) for _ in range(3))
        yield "U, s", unit, f"{unit:.2f}"
        fresh, again, large = (evolve(place, name, size) for name, size in (("one", 6), ("two", 6), ("large", 64)))
        for name, taken in (
            ("command to first training step, fresh home, U", fresh.start_s),
            ("command to first training step, U", again.start_s),
            ("generation of 6, overhead, U", again.generation_s),
            ("last COMMIT to exit, U", again.end_s),
        ):
            yield name, taken / unit, f"{taken / unit:.2f}"
        member = large.generation_s / 64
        yield "member of 64, overhead, s", member, f"{member:.3f}"
        names = (
            "pipeline beside workers, population 6, MB",
            "worker, MB",
            "pipeline beside workers, population 64, MB",
        )
        for name, megabytes in zip(names, (*again.memory_mb, large.memory_mb[0]), strict=True):
            yield name, megabytes, f"{megabytes:.0f}"
        for command in COMMANDS:
            words = command.replace("RUN", "two").split()
            taken = statistics.median(seconds([EVOLVE, *words], place) for _ in range(3))
            yield f"`evolve {command}`, U", taken / unit, f"{taken / unit:.2f}"


def seconds(command: list[str], place: Path) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=place, env=environment(place), capture_output=True)
    return time.perf_counter() - began


def environment(place: Path) -> dict[str, str]:
    """Return the environment of commands, with a home of Prefect's and a cache of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EVOLVE_", "PREFECT_"))}
    return kept | {"PREFECT_HOME": str(place / "prefect"), "XDG_CACHE_HOME": str(place / "cache")}


def evolve(place: Path, run_id: str, size: int) -> Run:
    """Run a population, and watch the memory of its processes."""
    flags = {**SETTINGS, "population.size": size, "training.max_steps": GENERATIONS * size * 512}
    command = [EVOLVE, "run", "--json", "--run-id", run_id, "--workers", str(WORKERS)]
    command += [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    peaks: dict[int, float] = defaultdict(float)
    began = time.time()
    with (place / f"{run_id}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=place, env=environment(place), stdout=log, stderr=log)
        while process.poll() is None:
            for one in family(process.pid):
                try:
                    peaks[one.pid] = max(peaks[one.pid], one.memory_full_info().pss / 1e6)
                except psutil.Error:  # it has just ended
                    continue
            try:
                process.wait(SAMPLE_S)
            except subprocess.TimeoutExpired:
                continue
    ended = time.time()
    if process.returncode:
        sys.exit((place / f"{run_id}.log").read_text())
    return Run(began, ended, place / "runs" / run_id, peaks)


def family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    main()

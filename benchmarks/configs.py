"""How many training steps the ready configurations take to their target, on five seeds.

    python benchmarks/configs.py [--seeds 5] [NAME ...]        writes benchmarks/configs.md, keeping other sections

Every seed is a whole run by the command line; steps count the whole population's training, evaluation apart. A seed
that does not reach its target within the budget is shown as such, and counts as infinite in the median.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from flows.cli.flags import read_yaml

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "deployments" / "configs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=sorted(path.stem for path in CONFIGS.glob("*.yaml")))
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    table = ROOT / "benchmarks" / "configs.md"
    known = {part.partition(":")[0]: f"## {part}" for part in table.read_text().split("\n## ")[1:]}
    sections = known | {name: section(name, arguments.seeds) for name in arguments.names}
    head = (
        "# Steps to target of the ready configurations\n\n"
        f"Made by `python benchmarks/configs.py` on {os.cpu_count()} cores "
        f"({torch.backends.cpu.get_cpu_capability()}), torch {torch.__version__}. Steps are training steps of the "
        "whole population until the target was reached in selection and confirmed on fresh episodes (100 unless the "
        "configuration says otherwise).\n"
    )
    table.write_text("\n".join([head, *(f"{text.strip()}\n" for _, text in sorted(sections.items()))]))


def section(name: str, seeds: int) -> str:
    config = read_yaml(CONFIGS / f"{name}.yaml")
    rows = [row(name, seed) for seed in range(1, seeds + 1)]
    steps = [r["train_steps"] if r["status"] == "target_reached" else math.inf for r in rows]
    lines = [
        f"## {name}: {config['env']['id']}, target {config['training']['target']}\n",
        "| seed | outcome | training steps | evaluation steps | seconds | mean of fresh episodes (95 % CI) |",
        "|---|---|---|---|---|---|",
    ]
    for seed, r in enumerate(rows, 1):
        confirmed = r["confirmed"] or {"mean": float("nan"), "ci95": (float("nan"), float("nan"))}
        low, high = confirmed["ci95"]
        steps_made = f"{r['train_steps']:,} | {r['eval_steps']:,} | {r['wall_s']:.0f}"
        score = f"{confirmed['mean']:.1f} ({low:.1f} to {high:.1f})"
        lines.append(f"| {seed} | {r['status'].replace('_', ' ')} | {steps_made} | {score} |")
    median = statistics.median(steps)
    shown = f"{median:,.0f}" if math.isfinite(median) else "not reached"
    reached = sum(map(math.isfinite, steps))
    lines.append(f"\nMedian steps to target: **{shown}** ({reached} of {seeds} seeds reached it).\n")
    print("\n".join(lines), flush=True)
    return "\n".join(lines)


def row(name: str, seed: int) -> dict[str, object]:
    command = [str(Path(sys.executable).parent / "evolve"), "run", "--json"]
    command += ["--config", str(CONFIGS / f"{name}.yaml"), "--seed", str(seed)]
    with tempfile.TemporaryDirectory() as directory:
        result = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, text=True)
    if result.returncode not in (0, 3):
        sys.exit(f"{name}, seed {seed}: exit code {result.returncode}")
    return json.loads(result.stdout)


if __name__ == "__main__":
    main()

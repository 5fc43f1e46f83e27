"""A tracker that writes a line per generation."""

import json
import os
from pathlib import Path

from evo_core.records.chain import Generation


class Lines:
    """Append the best fitness of every generation to the file that EVOLVE_EXAMPLE_LINES names."""

    variables = ("EVOLVE_EXAMPLE_LINES",)

    def log(self, commit: Generation) -> None:
        """Append one line."""
        fitness = commit.elite.fitness if commit.elite else None
        line = json.dumps({"generation": commit.generation, "steps": commit.train_steps, "best": fitness})
        with Path(os.environ.get("EVOLVE_EXAMPLE_LINES", "lines.jsonl")).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

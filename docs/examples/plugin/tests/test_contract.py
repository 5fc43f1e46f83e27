"""The plugins keep the contracts of their kinds."""

import json

from evolve_example.encoder import Fourier
from evolve_example.tracker import Lines

from evolve_rl.testing import EncoderContract, TrackerContract


class TestFourier(EncoderContract):
    plugin = Fourier
    options = {"size": 8, "scale": 2.0}
    shapes = ((4,), (17,))


class TestLines(TrackerContract):
    plugin = Lines

    def prepare(self, directory, monkeypatch):
        monkeypatch.setenv("EVOLVE_EXAMPLE_LINES", str(directory / "lines.jsonl"))

    def read(self, directory):
        return [json.loads(line)["generation"] for line in (directory / "lines.jsonl").read_text().splitlines()]

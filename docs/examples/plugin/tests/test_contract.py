"""The plugins keep the contracts of their kinds."""

import json

from evolve_example.encoder import Fourier
from evolve_example.fitness import steady
from evolve_example.mutation import Resample
from evolve_example.selector import Lexicase
from evolve_example.tracker import Lines
from evolve_example.vectors import GymSync

from evolve_rl.testing import (
    EncoderContract,
    FitnessContract,
    MutationContract,
    SelectorContract,
    TrackerContract,
    VectorBackendContract,
)


class TestFourier(EncoderContract):
    plugin = Fourier
    options = {"size": 8, "scale": 2.0}
    shapes = ((4,), (17,))


class TestResample(MutationContract):
    plugin = Resample


class TestLexicase(SelectorContract):
    plugin = Lexicase
    options = {"epsilon": 0.1}


class TestSteady(FitnessContract):
    plugin = staticmethod(steady)


class TestGymSync(VectorBackendContract):
    plugin = GymSync


class TestLines(TrackerContract):
    plugin = Lines

    def prepare(self, directory, monkeypatch):
        monkeypatch.setenv("EVOLVE_EXAMPLE_LINES", str(directory / "lines.jsonl"))

    def read(self, directory):
        return [json.loads(line)["generation"] for line in (directory / "lines.jsonl").read_text().splitlines()]

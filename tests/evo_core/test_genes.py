"""Genes: values stay within ranges, and long random walks visit them evenly on their scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo_core.config.genes import Gene

GENES = {
    "lr": (Gene(min=1e-4, max=1e-2, scale="log"), False),
    "gamma": (Gene(min=0.9, max=0.9999, scale="log1m"), False),
    "ent_coef": (Gene(min=0.0, max=0.05), False),
    "batch_size": (Gene(min=32, max=1024, scale="log"), True),
    "learn_step": (Gene(min=512, max=8192, scale="log"), True),
    "update_epochs": (Gene(min=1, max=12), True),
}

scales = st.sampled_from(["linear", "log", "log1m"])


@st.composite
def genes(draw):
    scale = draw(scales)
    low, high = {"linear": (-1e6, 1e6), "log": (1e-9, 1e9), "log1m": (-10.0, 0.999999)}[scale]
    first = draw(st.floats(low, high))
    second = draw(st.floats(low, high).filter(lambda x: abs(x - first) > 1e-6 * max(abs(x), abs(first), 1e-9)))
    return Gene(min=min(first, second), max=max(first, second), scale=scale, step=draw(st.floats(0.01, 0.5)))


@given(genes(), st.integers(0, 2**32), st.floats(0, 1))
def test_a_mutated_gene_stays_in_its_range(gene, seed, start):
    rng, value = np.random.default_rng(seed), gene.value(start)
    for _ in range(10):
        value = gene.mutate(value, rng, integer=False)
        assert gene.min <= value <= gene.max


@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from(["linear", "log"]), st.integers(0, 2**32))
def test_an_integer_gene_stays_in_its_range_and_moves_at_least_by_one(low, width, scale, seed):
    gene, rng = Gene(min=low, max=low + width, scale=scale), np.random.default_rng(seed)
    value = gene.sample(rng, integer=True)
    for _ in range(10):
        moved = gene.mutate(value, rng, integer=True)
        assert isinstance(moved, int)
        assert low <= moved <= low + width
        assert moved != value
        value = moved


@given(genes(), st.floats(0, 1))
def test_position_inverts_value(gene, position):
    assert gene.position(gene.value(position)) == pytest.approx(position, abs=1e-3)


@given(genes(), st.integers(0, 2**32))
def test_the_same_seed_moves_a_gene_alike(gene, seed):
    first, second = (gene.mutate(gene.value(0.5), np.random.default_rng(seed), integer=False) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", GENES)
def test_a_long_random_walk_has_no_drift_in_its_own_scale(name):
    gene, integer = GENES[name]
    rng = np.random.default_rng(0)
    value, positions = gene.sample(rng, integer=integer), []
    for _ in range(40_000):
        value = gene.mutate(value, rng, integer=integer)
        positions.append(gene.position(value))
    quarters = np.histogram(positions, bins=4, range=(0, 1))[0] / len(positions)
    assert np.mean(positions) == pytest.approx(0.5, abs=0.04)
    assert quarters == pytest.approx(np.full(4, 0.25), abs=0.08)


def test_multiplying_by_a_fifth_up_or_down_would_fail_the_drift_test():
    rng, gene = np.random.default_rng(0), GENES["lr"][0]
    value, positions = 1e-3, []
    for _ in range(40_000):
        value = min(max(value * rng.choice([0.8, 1.2]), gene.min), gene.max)
        positions.append(gene.position(value))
    assert abs(np.mean(positions) - 0.5) > 0.04


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min": 2, "max": 1}, "expected min < max"),
        ({"min": 1, "max": 1}, "expected min < max"),
        ({"min": 0, "max": 1, "scale": "log"}, "log scale needs min > 0"),
        ({"min": 0.9, "max": 1.0, "scale": "log1m"}, "log1m scale needs max < 1"),
        ({"min": 0, "max": float("nan")}, "finite number"),
        ({"min": 0, "max": float("inf")}, "finite number"),
    ],
)
def test_a_range_that_cannot_work_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Gene(**fields)

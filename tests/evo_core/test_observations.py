"""Leaves: every supported space as named arrays, and errors for observations that do not fit."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from evo_core.networks.inputs import as_image, as_vector
from evo_core.spaces.observations import InvalidObservation, Leaf, ObservationLayout

CAMERA = spaces.Box(0, 255, (8, 6, 3), np.uint8)
NESTED = spaces.Dict({"arm": spaces.Tuple((spaces.Discrete(3), spaces.Box(-1, 1, (2,)))), "camera": CAMERA})


def vector(space, values):
    leaf = Leaf((), space)
    target = np.zeros((1, *leaf.shape), leaf.dtype)
    leaf.put(target, 0, values)
    return as_vector(leaf, torch.from_numpy(target))[0].tolist()


def test_nested_spaces_become_leaves_named_by_their_path():
    layout = ObservationLayout(NESTED)
    assert [leaf.name for leaf in layout.leaves] == ["arm/0", "arm/1", "camera"]
    rows = layout.stack([NESTED.sample() for _ in range(5)])
    assert {name: (r.shape, r.dtype.name) for name, r in rows.items()} == {
        "arm/0": ((5,), "int64"),
        "arm/1": ((5, 2), "float32"),
        "camera": ((5, 8, 6, 3), "uint8"),
    }


@pytest.mark.parametrize(
    ("space", "given", "expected"),
    [
        (spaces.Discrete(3, start=-1), 0, [0, 1, 0]),
        (spaces.MultiDiscrete([2, 3], start=[5, -1]), np.array([6, 1]), [0, 1, 0, 0, 1]),
        (spaces.MultiDiscrete([[2], [2]]), np.array([[1], [0]]), [0, 1, 1, 0]),
        (spaces.MultiBinary([2, 2]), np.array([[1, 0], [0, 1]], np.int8), [1, 0, 0, 1]),
        (spaces.Box(0, 255, (2,), np.uint8), np.array([0, 255], np.uint8), [0, 1]),
        (spaces.Box(0, 1, (2,), np.bool_), np.array([True, False]), [1, 0]),
        (spaces.Box(-9, 9, (1, 2)), np.array([[3.0, -2.0]]), [3, -2]),
        (spaces.Box(0, 10**9, (), np.int64), 7, [7]),
    ],
)
def test_every_leaf_becomes_a_vector(space, given, expected):
    assert vector(space, given) == expected


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((8, 6, 3), np.uint8, (3, 8, 6)),
        ((3, 8, 6), np.uint8, (3, 8, 6)),
        ((5, 5, 5), np.float32, (5, 5, 5)),
        ((4, 8, 6, 3), np.uint8, (12, 8, 6)),
        ((4, 3, 8, 6), np.uint8, (12, 8, 6)),
        ((8, 8), np.uint8, (1, 8, 8)),
        ((8, 8), np.float32, None),
        ((7,), np.uint8, None),
    ],
)
def test_images_are_recognized_and_their_channels_found(shape, dtype, expected):
    leaf = Leaf((), spaces.Box(0, 255 if dtype == np.uint8 else 1, shape, dtype))
    assert (leaf.image_shape if leaf.image else None) == expected


def test_an_image_is_moved_and_scaled_to_the_unit_interval_and_stays_bytes_until_then():
    leaf = ObservationLayout(spaces.Dict({"camera": CAMERA})).leaves[0]
    image = np.zeros((1, 8, 6, 3), np.uint8)
    image[0, 2, 5, 1] = 255
    moved = as_image(leaf, torch.from_numpy(image))
    assert moved.shape == (1, 3, 8, 6)
    assert torch.nonzero(moved).tolist() == [[0, 1, 2, 5]]
    assert moved.max() == 1.0


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        ({"arm": (0, np.zeros(2)), "camera": np.zeros((8, 6), np.uint8)}, r"'camera': expected shape \(8, 6, 3\)"),
        ({"arm": (0, np.zeros(2)), "camera": np.zeros((8, 6, 3))}, "'camera': expected uint8, got float64"),
        ({"arm": (0.5, np.zeros(2)), "camera": np.zeros((8, 6, 3), np.uint8)}, "'arm/0': expected int64, got float64"),
        ({"arm": (0, "word"), "camera": np.zeros((8, 6, 3), np.uint8)}, r"'arm/1': expected shape \(2,\), got \(\)"),
        ({"arm": (0,), "camera": np.zeros((8, 6, 3), np.uint8)}, "'arm/1': missing in dict"),
        (None, "'arm/0': missing in NoneType"),
    ],
)
def test_an_observation_that_does_not_fit_is_named_by_its_leaf(observation, message):
    layout = ObservationLayout(NESTED)
    with pytest.raises(InvalidObservation, match=message):
        layout.put(layout.empty(1), 0, observation)


def test_values_outside_a_discrete_leaf_or_not_finite_are_named_by_their_leaf():
    layout = ObservationLayout(NESTED)
    rows = layout.stack([NESTED.sample()])
    rows["arm/0"][0] = 3
    with pytest.raises(InvalidObservation, match=r"'arm/0': outside Discrete\(3\)"):
        layout.check(rows)
    rows["arm/0"][0], rows["arm/1"][0, 1] = 0, np.nan
    with pytest.raises(InvalidObservation, match="'arm/1': not finite"):
        layout.check(rows)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Dict({"words": spaces.Text(4)}), "leaf 'words'.; supported: Box, Discrete, MultiDiscrete"),
        (spaces.Sequence(spaces.Discrete(2)), "not supported; supported: Box"),
        (spaces.Graph(spaces.Discrete(2), None), "not supported"),
        (spaces.OneOf((spaces.Discrete(2), spaces.Discrete(3))), "not supported"),
        (spaces.Dict({"a": spaces.Box(0, 1, (0, 3))}), "has no elements .leaf 'a'.; remove it"),
        (spaces.Tuple(()), "is empty"),
        (spaces.Dict({"a/b": spaces.Discrete(2), "a": spaces.Dict({"b": spaces.Discrete(2)})}), "share a name"),
    ],
)
def test_unsupported_spaces_are_refused_with_the_supported_ones(space, message):
    with pytest.raises(ValueError, match=message):
        ObservationLayout(space)

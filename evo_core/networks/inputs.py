"""Observations as the inputs of networks: leaves on a device, as vectors and images of floats."""

from collections.abc import Mapping

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from evo_core.spaces.observations import Leaf

Tensors = dict[str, Tensor]
"""Observations on a device, by the name of their leaf; each [..., *leaf.shape]."""


def as_vector(leaf: Leaf, values: Tensor) -> Tensor:
    """Convert rows [N, *shape] to floats [N, vector_size]: indices one-hot, bytes scaled to [0, 1]."""
    match leaf.space:
        case spaces.Discrete():
            return _one_hot(values - int(leaf.space.start), int(leaf.space.n))
        case spaces.MultiDiscrete():
            start = torch.as_tensor(leaf.space.start, device=values.device)
            indices = (values - start).flatten(1).unbind(1)
            sizes = leaf.space.nvec.reshape(-1).tolist()
            return torch.cat([_one_hot(i, n) for i, n in zip(indices, sizes, strict=True)], 1)
    flat = values if values.ndim == 2 else values.reshape(values.shape[0], -1)
    return _scaled(leaf, flat) if flat.dtype != torch.float32 else flat


def as_image(leaf: Leaf, values: Tensor) -> Tensor:
    """Convert rows of an image to floats [N, C, H, W], scaled to [0, 1] if its bounds are known."""
    assert leaf.image is not None
    moved = values.permute(0, *(axis + 1 for axis in leaf.image)).reshape(-1, *leaf.image_shape)
    return _scaled(leaf, moved)


def select_rows(batch: Mapping[str, Tensor], index: Tensor) -> Tensors:
    """Select rows of every leaf."""
    return {name: values.index_select(0, index) for name, values in batch.items()}


def _scaled(leaf: Leaf, values: Tensor) -> Tensor:
    space, floats = leaf.space, values.to(torch.float32)
    if not isinstance(space, spaces.Box) or space.dtype == np.bool_:
        return floats
    low, high = float(space.low.min()), float(space.high.max())
    if not np.isfinite([low, high]).all() or low == high or (low, high) == (0.0, 1.0):
        return floats
    return (floats - low) / (high - low)


def _one_hot(indices: Tensor, size: int) -> Tensor:
    return nn.functional.one_hot(indices, size).to(torch.float32)

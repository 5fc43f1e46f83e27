"""Correctly rounded square roots.

torch hands `sqrt` on the CPU to MKL, whose vector square root starts from the processor's own approximation: on AMD
processors, and everywhere under MKL_CBWR=COMPATIBLE, a fifth of all float32 results are off by one bit, and which ones
depends on the maker. `tensor ** 0.5` is the same function. NumPy and CUDA round correctly, as IEEE 754 asks.
"""

import numpy as np
import torch
from torch import Tensor


def sqrt(values: Tensor) -> Tensor:
    """Return the correctly rounded square roots of a tensor without gradient, in its shape."""
    if values.device.type != "cpu":
        return values.sqrt()
    return torch.from_numpy(np.asarray(np.sqrt(values.detach().numpy())))

"""Device-dependent operations: moving rows to a device, and drawing random numbers on it."""

import numpy as np
import torch
from torch import Tensor

PINNED_FROM = 2**16
"""Bytes from which rows go through page-locked memory. Smaller copies return at once anyway: CUDA stages them."""


def uses_pinned_memory(device: torch.device, size: int) -> bool:
    """Return True if `size` bytes are copied to the device asynchronously, from page-locked memory."""
    return device.type == "cuda" and size >= PINNED_FROM


def to_device(rows: np.ndarray, device: torch.device) -> Tensor:
    """Copy rows to a device; on the CPU the tensor shares their memory.

    The copy from page-locked memory is a tensor of its own, so `rows` may change at once, and torch keeps its memory
    until the device has read it.
    """
    tensor = torch.from_numpy(rows)
    if device.type == "cpu":
        return tensor
    if uses_pinned_memory(device, tensor.nbytes):
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def draws_on_device(device: torch.device) -> bool:
    """Return True if action noise and minibatch order are drawn on the device.

    True on CUDA, which saves a copy per rollout and one per epoch. On the CPU NumPy draws: its streams are part
    of every chain. A few numbers at a time, as in evaluation, are drawn by NumPy on every device.
    """
    return device.type == "cuda"


def torch_generator(rng: np.random.Generator, device: torch.device | str = "cpu") -> torch.Generator:
    """Derive a torch generator on a device from a NumPy one, whose next number seeds it."""
    return torch.Generator(device).manual_seed(int(rng.integers(2**63)))

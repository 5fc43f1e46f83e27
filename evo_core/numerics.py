"""What the bits of a result depend on beside configuration and seed, and one thread for all that is computed."""

from collections.abc import Iterator
from contextlib import contextmanager

import gymnasium
import numpy
import torch


def numerics(device: torch.device | str) -> dict[str, str]:
    """Name library versions, CPU capability and device kind: the same bits are promised under the same of these."""
    return {
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "gymnasium": gymnasium.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        **_device(torch.device(device)),
    }


def _device(device: torch.device) -> dict[str, str]:
    """Name a device's kind; of a GPU that is here also its model and CUDA's version: its bits may depend on both."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return {"device": device.type}
    return {"device": f"cuda: {torch.cuda.get_device_name(device)}", "cuda": str(torch.version.cuda)}


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: small networks run up to ten times faster, and sums do not depend on the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

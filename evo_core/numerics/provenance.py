"""Everything besides configuration and seed that bits of results depend on, and single-threaded computation."""

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

import gymnasium
import numpy
import torch

from evo_core.config.plugin_fields import plugin_versions
from evo_core.config.run_config import RunConfig
from evo_core.config.sections import EnvConfig
from evo_core.numerics.fingerprint import differing_groups, fingerprint
from evo_core.numerics.instructions import is_portable
from evo_core.numerics.simulators import package_versions

DEVICE = ("device", "cuda")
"""Numerics of the device of a process; a flow may use another device than its workers."""


def numerics(device: torch.device | str, config: RunConfig | EnvConfig | None = None) -> dict[str, str]:
    """Return everything known to change bits of results; where it is equal, results are promised to be equal.

    Versions of Python, its C library, torch, NumPy, Gymnasium and the packages of the environment, of the fitness and
    of plugins; CPU capability, mode (portable or native) and fingerprint of this process; and the device's kind.
    """
    env = config.env if isinstance(config, RunConfig) else config
    functions = config.evaluation.functions if isinstance(config, RunConfig) else ()
    packages = {
        "environment": package_versions(env, functions) if env is not None else "",
        "plugins": plugin_versions(config) if isinstance(config, RunConfig) else "",
    }
    return {**_process(), **{name: found for name, found in packages.items() if found}, **_device(torch.device(device))}


def numerics_differences(recorded: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """Return the differences of this process from recorded numerics; unknown entries count as equal."""
    if recorded.get("mode", here.get("mode")) != here.get("mode"):
        # the different mode explains differences of capability and fingerprint
        mode = recorded["mode"]
        said = [f"{mode} numerics, here they are {here.get('mode')}: `--numerics {mode}` makes them the same"]
        ignored = {"mode", "cpu", "fingerprint"}
    else:
        said, ignored = [], {"fingerprint"}
        groups = differing_groups(recorded.get("fingerprint", ""), here.get("fingerprint", ""))
        if groups:
            said = [f"other results of the same functions ({', '.join(groups)}), as processors of other makers give"]
    return [
        *(
            f"{name} {value}, here is {here.get(name)}"
            for name, value in recorded.items()
            if value != here.get(name) and name not in ignored
        ),
        *said,
    ]


@lru_cache(maxsize=1)
def _process() -> Mapping[str, str]:
    """Describe this process, once."""
    with one_thread():
        return {
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "gymnasium": gymnasium.__version__,
            "python": platform.python_version(),
            "libc": " ".join(platform.libc_ver()).strip() or platform.system(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "mode": "portable" if is_portable() else "native",
            "fingerprint": fingerprint(),
        }


def _device(device: torch.device) -> dict[str, str]:
    """Return a device's kind; for a GPU also its model and CUDA's version, on which results may depend."""
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

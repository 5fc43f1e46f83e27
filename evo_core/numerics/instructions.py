"""Portable numerics: the same CPU instructions on x86-64 processors of all vendors.

Libraries choose their code by the processor, when a process starts. These environment variables make all of them choose
what every x86-64 processor has.
"""

import platform
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

FIXED = {
    "MKL_CBWR": "COMPATIBLE",  # MKL, inside torch, dispatches on the vendor; its AVX2 code differs between vendors
    "ATEN_CPU_CAPABILITY": "default",  # torch's own vector code
    "ONEDNN_MAX_CPU_ISA": "SSE41",  # convolutions
    "OPENBLAS_CORETYPE": "Nehalem",  # NumPy's matrix products
}
NUMPY = "NPY_DISABLE_CPU_FEATURES"
GLIBC = "GLIBC_TUNABLES"
HWCAPS = "glibc.cpu.hwcaps="
NO_FMA = "-FMA,-FMA4"
"""glibc's exp, pow, sin, … have variants with fused multiply-add, whose last bits differ; physics calls them."""


def portable_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a process must start with, beside those of `environment`."""
    disabled = environment.get(NUMPY, "").split()
    variables = {**FIXED, NUMPY: " ".join(dict.fromkeys([*disabled, *_numpy_features()]))}
    if _is_glibc():
        variables[GLIBC] = _without_fma(environment.get(GLIBC, ""))
    return {name: value for name, value in variables.items() if value}


def is_portable(environment: Mapping[str, str] | None = None) -> bool:
    """Return True if a process of this environment computes portably; None: the one that this process started with."""
    started = _started_with() if environment is None else environment
    return (
        all(started.get(name, "").lower() == value.lower() for name, value in FIXED.items())
        and not _numpy_features()
        and (not _is_glibc() or NO_FMA in started.get(GLIBC, ""))
    )


def _numpy_features() -> list[str]:
    """List the optional instruction sets that NumPy uses on this processor; disabling others makes it warn."""
    core = import_module("numpy._core._multiarray_umath")  # a tenth of a second, without torch
    return [name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name)]


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"


def _without_fma(tunables: str) -> str:
    """Add to glibc's tunables that its functions use no fused multiply-add."""
    if NO_FMA in tunables:
        return tunables
    parts = [part for part in tunables.split(":") if part]
    capabilities = [part.removeprefix(HWCAPS) for part in parts if part.startswith(HWCAPS)]
    others = [part for part in parts if not part.startswith(HWCAPS)]
    return ":".join([*others, HWCAPS + ",".join([*capabilities, NO_FMA])])


def _started_with() -> Mapping[str, str]:
    """Return the environment as it was when this process started: what was set later has no effect. Empty off Linux."""
    try:
        entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    pairs = (entry.decode(errors="replace").partition("=") for entry in entries)
    return {name: value for name, _, value in pairs}

"""Contracts of plugins as tests; see `evo_core.testing`, which has all of them but the tracker's."""

from evo_core.installation import prefer_own_packages, require_own_packages

prefer_own_packages()
require_own_packages()

from evo_core.testing import (  # noqa: E402  the search path had to be put right
    EncoderContract,
    FitnessContract,
    MutationContract,
    SelectorContract,
    VectorBackendContract,
)
from tasks.views.trackers.tracker_contract import TrackerContract  # noqa: E402

__all__ = [
    "EncoderContract",
    "FitnessContract",
    "MutationContract",
    "SelectorContract",
    "TrackerContract",
    "VectorBackendContract",
]

"""Slots: how many members learn at once on a machine, and on which GPUs. Does not detect GPUs itself."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable of CUDA: the devices visible to a process, as indices or UUIDs (GPU-…, MIG-…)."""

RESOURCE = "GPU"
"""Dask resource that each worker on a GPU declares, and that members request if it is declared."""

GPU_TAG = "gpu"
"""Prefect tag of members that learn on a GPU, with a concurrency limit over all runs."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The environment variables of one worker process, and the Dask resources that it declares."""

    environment: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)


def visible_gpus(visible: str | None, count: int) -> tuple[str, ...]:
    """List the devices that workers may use, as CUDA_VISIBLE_DEVICES names them.

    `visible` is that variable of this process (None: not set), `count` how many devices torch finds. Names that CUDA
    does not know hide those behind them, so the first `count` are the ones that work. Of several MIG devices a process
    sees only the first, so these are taken as they are listed.
    """
    if visible is None:
        return tuple(map(str, range(count)))
    names = tuple(name.strip() for name in visible.split(",") if name.strip())
    if count and any(name.startswith("MIG-") for name in names):
        return names
    return names[:count]


def place(workers: int | None, members: int, cores: int, gpus: Sequence[str]) -> tuple[Slot, ...]:
    """Choose the slots of a machine: `workers`, by default one per GPU, else per core; at most one per member.

    More workers than GPUs share them in turn: 8 workers on 4 GPUs make two slots on each.
    """
    count = min(workers or len(gpus) or cores, members)
    if not gpus:
        return (Slot(),) * count
    return tuple(Slot({VISIBLE: gpus[i % len(gpus)]}, {RESOURCE: 1}) for i in range(count))


def least_used(slots: Sequence[Slot], taken: Iterable[Slot]) -> Slot:
    """Return the slot of one more worker: the first of the slots with the fewest workers relative to the plan."""
    uses, planned = Counter(map(_name, taken)), Counter(map(_name, slots))
    return min(slots, key=lambda slot: uses[_name(slot)] - planned[_name(slot)])


def limit_gpu_slots(count: int, tag: str = GPU_TAG) -> None:
    """Limit the members that learn on GPUs at a time to `count`, over all runs of the Prefect server.

    Creates or updates Prefect's tag limit.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(f"tag:{tag}", count)


def _name(slot: Slot) -> str:
    return slot.environment.get(VISIBLE, "")

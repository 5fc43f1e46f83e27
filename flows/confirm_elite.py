"""Confirmation of an elite on fresh seeds, with its episodes distributed over the engine."""

from collections.abc import Sequence

from distributed.scheduler import KilledWorker
from prefect import flow
from prefect.futures import PrefectFuture

from evo_core.evaluation.confirmation import chunk_count, confirmation
from evo_core.records.chain import Confirmation, EliteRef, FailureDetail
from flows.observers.numerics_check import compare_numerics
from flows.observers.observer import observer
from flows.observers.warning_relay import subscribe_to_warnings
from flows.runs import begun_ref
from tasks.logs.run_failures import fail_with_sentence
from tasks.member_tasks import Played, confirm_chunk
from tasks.runs.ref import RunRef
from tasks.views.phrases import describe_detail


@flow(name="evolve-confirmation", flow_run_name="confirm {elite.uid}", persist_result=False)
@fail_with_sentence
def confirm_elite(run_id: str, elite: EliteRef, beside: EliteRef | None = None) -> Confirmation | None:
    """Play an elite on fresh seeds and store the score; a stored score is taken as it is.

    The episodes of an elite `beside` it, which will have to be confirmed next, are played at the same time.
    """
    ref = begun_ref(run_id)
    store, wanted = ref.open(), [one for one in (elite, beside) if one is not None]
    records = {one.uid: store.confirmation(one) for one in wanted}
    missing = [one for one in wanted if records[one.uid] is None]
    if missing:
        subscribe_to_warnings(ref)
    count = chunk_count(ref.config)
    played = {one.uid: [confirm_chunk.submit(ref, one, chunk) for chunk in range(count)] for one in missing}
    for one in missing:
        record = _score(ref, one, played[one.uid])
        if record is not None:
            store.put_confirmation(one, record)
        records[one.uid] = record
    for record in records.values():
        if record is not None:
            observer().confirmed(record)
    return records[elite.uid]


def _score(ref: RunRef, elite: EliteRef, chunks: Sequence[PrefectFuture[Played]]) -> Confirmation | None:
    """Wait for the episodes of an elite; None with a warning if they cannot be played."""
    detail: FailureDetail | None = None
    record: Confirmation | None = None
    try:
        parts = [chunk.result() for chunk in chunks]
        for part in parts:
            compare_numerics(ref, elite.uid, part.timing, part.numerics)
        detail = next((part.detail for part in parts if part.detail is not None), None)
        record = confirmation(ref.config, elite, [part.chunk for part in parts])
    except KilledWorker:
        observer().warned(f"{elite.uid}: its confirmation ended its worker repeatedly")
    if record is None:
        said = f": {describe_detail(detail)}" if detail is not None else ""
        observer().warned(f"{elite.uid} cannot be confirmed: its environment broke{said}")
    return record

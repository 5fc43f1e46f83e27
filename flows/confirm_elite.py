"""Confirmation of an elite on fresh seeds, with its episodes distributed over the engine."""

from distributed.scheduler import KilledWorker
from prefect import flow

from evo_core.evaluation.confirmation import chunk_count, confirmation
from evo_core.records.chain import Confirmation, EliteRef, FailureDetail
from flows.observers.numerics_check import compare_numerics
from flows.observers.observer import observer
from flows.observers.warning_relay import subscribe_to_warnings
from flows.runs import begun_ref
from tasks.logs.run_failures import fail_with_sentence
from tasks.member_tasks import confirm_chunk
from tasks.views.phrases import describe_detail


@flow(name="evolve-confirmation", flow_run_name="confirm {elite.uid}", persist_result=False)
@fail_with_sentence
def confirm_elite(run_id: str, elite: EliteRef) -> Confirmation | None:
    """Play an elite on fresh seeds and store the score; a stored score is taken as it is."""
    ref = begun_ref(run_id)
    store = ref.open()
    record = store.confirmation(elite.generation)
    if record is None:
        subscribe_to_warnings(ref)
        chunks = [confirm_chunk.submit(ref, elite, chunk) for chunk in range(chunk_count(ref.config))]
        detail: FailureDetail | None = None
        try:
            played = [chunk.result() for chunk in chunks]
            for part in played:
                compare_numerics(ref, elite.uid, part.timing, part.numerics)
            detail = next((part.detail for part in played if part.detail is not None), None)
            record = confirmation(elite, [part.chunk for part in played])
        except KilledWorker:
            observer().warned(f"{elite.uid}: its confirmation ended its worker repeatedly")
        if record is None:
            said = f": {describe_detail(detail)}" if detail is not None else ""
            observer().warned(f"{elite.uid} cannot be confirmed: its environment broke{said}")
            return None
        store.put_confirmation(elite.generation, record)
    observer().confirmed(record)
    return record

"""evolve verify: check that every object of a run is present and intact, repair it, or recompute a member.

Checking compares bytes and repeats selections; only computing something again imports torch.
"""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from evo_core.config.parsing import ConfigError
from evo_core.plugins.kinds import MUTATION, SELECTOR
from evo_core.records.chain import LOST, Member
from evo_core.spaces.spaces import Spaces
from flows.cli.arguments import Json, Run, Store
from flows.cli.output import emit
from flows.cli.session import read_settings
from flows.member_lookup import find_member
from flows.next_steps import evolve_command, store_flag
from flows.runs import open_ref
from flows.settings import BadInput
from tasks.runs import layout
from tasks.runs.findings import Finding, Verification
from tasks.runs.ref import RunRef
from tasks.runs.run_store import RunStore
from tasks.runs.verification import verify
from tasks.store import CorruptError, open_store

if TYPE_CHECKING:
    from tasks.runs.recomputation import Recomputer

REPAIR_ROUNDS = 4


def verify_run(
    run_id: Run,
    /,
    *,
    recompute: Annotated[
        str | None, Parameter(help="Run one member again, such as g0003/m05, and compare the result.")
    ] = None,
    repair: Annotated[
        bool, Parameter(negative="", help="Recompute damaged objects; replace one if its hash matches.")
    ] = False,
    store: Store = None,
    json: Json = False,
) -> int:
    """Check every object of a run: hashes, links, selections; exit code 1 when something is missing or damaged."""
    if recompute is not None:
        return _check_member(run_id, recompute, store, json=json)
    settings = read_settings({"store": store})
    settings.export()
    try:
        ref: RunRef | None = open_ref(run_id)
    except (CorruptError, BadInput):  # its configuration is damaged or missing: check everything else
        ref = None
    run = ref.open() if ref is not None else RunStore(open_store(settings.store_url), run_id)
    if ref is None and run.last(layout.commit) is None and not run.exists(layout.RUN):
        open_ref(run_id)  # there is no such run: says which there are
    if ref is not None:
        ref.require_plugins(MUTATION, SELECTOR)  # which are applied again
    spaces = _spaces(ref) if ref is not None else None
    result, outcomes = verify(run, spaces), []
    if repair and result.findings:
        if ref is None or spaces is None:
            why = "its configuration is damaged, restore that first" if ref is None else "its environment is not here"
            raise BadInput(f"--repair: {run_id} cannot be computed again: {why}. {result.findings[0].problem}")
        ref.environment()  # its encoders must be here too
        from tasks.runs.repair import Repair, repair_all

        for _ in range(REPAIR_ROUNDS):  # some repairs depend on others
            outcomes = repair_all(Repair(run, result, _recomputer(ref, run, spaces)))
            result = verify(run, spaces)
            if not result.findings or not any(whole for _, _, whole in outcomes):
                break
    if json:
        emit(_as_json(run_id, result, outcomes))
    else:
        _print(run_id, result, outcomes, repaired=repair)
    return 1 if result.findings else 0


def _check_member(run_id: str, uid: str, store: str | None, *, json: bool) -> int:
    """Recompute one member and compare; exit code 1 when its checkpoint or fitness differs."""
    settings = read_settings({"store": store})
    settings.export()
    ref = open_ref(run_id)
    run = ref.open()
    stored = find_member(run, uid, "--recompute")
    offspring = stored.offspring
    if stored.failure is not None and stored.failure.reason in LOST:
        raise BadInput(f"--recompute {uid}: every attempt was lost ({stored.failure.reason}): nothing to compare with")
    _, again = _recomputer(ref, run, ref.environment().spaces).member(offspring)
    before, after = (m.training.blob.sha256 if m.training.blob else None for m in (stored, again))
    same = stored in (again, _as_before_returns(again))
    if json:
        emit({"run_id": run_id, "uid": uid, "same": same, "stored": before, "recomputed": after})
        return 0 if same else 1
    print(f"{uid}: {'the same checkpoint and record' if same else 'ANOTHER result'}")
    print(f"  stored      {before}, fitness {stored.fitness}\n  recomputed  {after}, fitness {again.fitness}")
    for difference in run.other_numerics(run.commit(offspring.generation)) if not same else ():
        print(f"  {difference}")
    return 0 if same else 1


def _as_before_returns(member: Member) -> Member:
    """Return a member as versions recorded it that did not keep the returns of single episodes."""
    if member.evaluation is None:
        return member
    return member.model_copy(update={"evaluation": member.evaluation.model_copy(update={"returns": None})})


def _spaces(ref: RunRef) -> Spaces | None:
    try:
        return ref.environment(plugins=False).spaces
    except ConfigError:  # everything but the founders can be checked without the environment
        return None


def _recomputer(ref: RunRef, run: RunStore, spaces: Spaces) -> "Recomputer":
    from tasks.runs.recomputation import Recomputer

    return Recomputer(run, ref.config, spaces, ref.resolve_device())


def _as_json(run_id: str, result: Verification, outcomes: list[tuple[Finding, str, bool]]) -> dict[str, object]:
    return {
        "run_id": run_id,
        "whole": not result.findings,
        "generations": max(result.intact, default=0),
        "checked": result.checked,
        "released": len(result.gone),
        "absent": [{"what": f.what, "key": f.name, "problem": f.problem} for f in result.absent],
        "findings": [{"what": f.what, "key": f.name, "problem": f.problem} for f in result.findings],
        "repairs": [{"key": f.name, "repaired": whole, "how": how} for f, how, whole in outcomes],
    }


def _print(run_id: str, result: Verification, outcomes: list[tuple[Finding, str, bool]], *, repaired: bool) -> None:
    console = Console()
    for finding, how, whole in outcomes:
        console.print(
            f"{'repaired' if whole else 'NOT repaired'}  {finding.name}: {how}", highlight=False, soft_wrap=True
        )
    for finding in result.findings:
        console.print(f"{finding.what:<13} {finding.problem}", highlight=False, soft_wrap=True, markup=False)
    for view in result.absent:
        console.print(f"{'absent view':<13} {view.problem}", highlight=False, soft_wrap=True, markup=False)
    state = "intact" if not result.findings else f"{len(result.findings)} objects are missing or damaged"
    console.print(
        f"{run_id}: {state}; {result.checked} objects checked, {len(result.gone)} checkpoints released, "
        f"{max(result.intact, default=0)} generations",
        highlight=False,
        soft_wrap=True,
    )
    if result.findings and not repaired:
        command = evolve_command("verify", run_id, "--repair", **store_flag())
        console.print(f"put back what can be computed again: {command}", highlight=False, markup=False, soft_wrap=True)

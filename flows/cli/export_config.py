"""evolve export --format config: what was found, as configurations, settings for other libraries, and the schedule."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from evo_core.config.parsing import ConfigError
from flows.cli.output import emit, make_console
from flows.cli.report import make_directory
from flows.cli.session import read_settings
from flows.member_lookup import chosen_by, find_member
from flows.report.run_data import RunView, view_run_once
from flows.runs import open_ref
from flows.settings import BadInput
from tasks.runs.ref import RunRef

if TYPE_CHECKING:
    from flows.report.found_files import FoundFile

README = "README.md"


def export_config(
    run_id: str, member: str | None, output: Path | None, store: str | None, *, json: bool, deliver: str | None = None
) -> int:
    """Write the files of a member, by default of the delivered agent, into a directory that is made."""
    read_settings({"store": store}).export()
    ref = open_ref(run_id)
    view = view_run_once(ref)
    chosen = member if deliver is None else chosen_by(ref, deliver, member)
    uid = find_member(view.store, chosen or view.winner, "--member").uid
    directory = output or Path(f"{run_id}-{uid.replace('/', '-')}-config")
    files = write_found(ref, view, uid, directory)
    if json:
        left_out = {file.name: list(file.left_out) for file in files}
        emit({"run_id": run_id, "member": uid, "directory": str(directory), "left_out": left_out})
        return 0
    table = Table("file", "what it is", "what does not carry over")
    for file in files:
        table.add_row(file.name, file.what, "\n".join(f"- {sentence}" for sentence in file.left_out))
    console = make_console()
    console.print(f"{directory}: what {uid} of {run_id} found", highlight=False, soft_wrap=True)
    console.print(table, highlight=False)
    return 0


def write_found(ref: RunRef, view: RunView, uid: str, directory: Path) -> "Sequence[FoundFile]":
    """Write the files and a README into a directory that is made; return the files.

    The run's environment is made, for its spaces. BadInput when the directory is a file, or holds files of these names
    that an export of ours did not write.
    """
    from flows.report.found_files import describe_files, own_files, peer_files

    if directory.exists() and not directory.is_dir():
        raise BadInput(f"--output {directory}: expected a directory to write, this is a file")
    files = [*own_files(view, uid), *peer_files(view, uid, ref.environment().spaces)]
    _require_own(directory, [*(file.name for file in files), README])
    make_directory(directory)
    for file in files:
        (directory / file.name).write_text(file.content, encoding="utf-8")
    (directory / README).write_text(describe_files(view, uid, files), encoding="utf-8")
    return files


def _require_own(directory: Path, names: Sequence[str]) -> None:
    """Raise BadInput for files that would be overwritten, unless the directory is one of an earlier export."""
    from evo_core.export.schedule_file import read_schedule

    if not (taken := [name for name in names if (directory / name).exists()]):
        return
    schedule = directory / "schedule.json"
    try:
        read_schedule(schedule.read_bytes(), str(schedule))
    except (OSError, ConfigError):
        raise BadInput(
            f"--output {directory}: {taken[0]} is there already, and no earlier export wrote it; "
            "choose another directory"
        ) from None

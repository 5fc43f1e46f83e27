"""Arguments of the commands that work on one member: which one, how many episodes, where a file goes."""

from flows.cli.session import read_settings
from flows.member_lookup import Chosen, load
from flows.runs import open_ref
from flows.settings import BadInput


def choose(
    run_id: str, uid: str | None, store: str | None, device: str | None = None, deliver: str | None = None
) -> Chosen:
    """Find a run in a store and load a member as `load` does; raise BadInput if there is no such run."""
    settings = read_settings({"store": store})
    settings.export()
    return load(open_ref(run_id), uid, device, deliver)


def require_episodes(episodes: int, seed: int | None) -> None:
    """Raise BadInput unless episodes can be played with these numbers."""
    if episodes < 1:
        raise BadInput(f"--episodes: expected at least 1, got {episodes}")
    if seed is not None and seed < 0:
        raise BadInput(f"--seed: expected a whole number from 0, got {seed}")

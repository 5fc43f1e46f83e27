"""Follow-up commands suggested in messages, quoted for the shell."""

import shlex

from flows.settings import Settings


def evolve_command(*words: object, **flags: object) -> str:
    """Return an `evolve` command, quoted for a shell; flags with value None are omitted."""
    given = ((f"--{name.replace('_', '-')}", value) for name, value in flags.items() if value is not None)
    return shlex.join(["evolve", *map(str, words), *(str(part) for flag in given for part in flag)])


def changed_settings(settings: Settings, *names: str) -> dict[str, object]:
    """Return the settings of these names that are not the default, as flags of a command."""
    values = {name: getattr(settings, name) for name in names}
    return {name: value for name, value in values.items() if value != Settings.model_fields[name].default}


def store_flag() -> dict[str, object]:
    """Return `--store` as the environment has it, which every command that was given one exports."""
    return changed_settings(Settings(), "store")

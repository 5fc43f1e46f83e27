"""Notes of a conversion: dropped and changed values, each with the reason."""

from dataclasses import dataclass, field

from evo_core.importers.agilerl.manifest import Given


@dataclass(frozen=True, slots=True)
class Dropped:
    """A field of AgileRL's that has no counterpart here."""

    field: str
    value: object
    why: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A field whose value or meaning differs here. `field` is AgileRL's; None where nothing was given."""

    field: str | None
    value: object
    becomes: str
    to: object
    why: str


@dataclass(slots=True)
class Notes:
    """Notes for the user of a conversion."""

    dropped: list[Dropped] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def drop(self, given: Given, why: str) -> None:
        """Note that a field is left out."""
        self.dropped.append(Dropped(given.path, given.value, why))

    def change(self, given: Given | None, becomes: str, before: object, after: object, why: str) -> None:
        """Note that a value changes, if it does."""
        if before != after:
            self.changed.append(Changed(given.path if given else None, before, becomes, after, why))

    def explain(self, given: Given, becomes: str, to: object, why: str) -> None:
        """Note that a field means something else here, whatever its value."""
        self.changed.append(Changed(given.path, given.value, becomes, to, why))

    def imply(self, becomes: str, to: object, why: str) -> None:
        """Note values that are written although they were not given."""
        self.changed.append(Changed(None, None, becomes, to, why))

    def lines(self) -> list[str]:
        """Return all notes, one line each."""
        return [
            *(f"dropped {note.field}: {note.value!r} ({note.why})" for note in self.dropped),
            *(f"changed {_source(note)}{note.becomes}: {note.to!r} ({note.why})" for note in self.changed),
            *(f"unchecked {reason}" for reason in self.unchecked),
        ]


def _source(note: Changed) -> str:
    return f"{note.field}: {note.value!r} -> " if note.field else ""

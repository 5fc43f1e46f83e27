"""Errors of stores, each with advice."""


class StoreError(RuntimeError):
    """Base of all failures of a store."""


class MissingError(StoreError):
    """A key that should exist does not."""


class CorruptError(StoreError):
    """Content does not match its hash or its record."""


class DeniedError(StoreError):
    """The store refuses the credentials, or their permissions do not suffice."""


class UnavailableError(StoreError):
    """The store cannot be reached, or failed; retrying later may help."""


class UnsafeError(StoreError):
    """The store lets a key be created twice, so that two writers could both succeed."""


class GoneError(StoreError):
    """The run is no longer where it was created: its store was moved, unmounted, deleted or replaced."""


class ExistsError(StoreError):
    """A key cannot be created, because it exists. Raised by backends; a Store adopts the key or reports a conflict."""


class ConflictError(StoreError):
    """A key exists with other content. Nothing was overwritten."""

    def __init__(self, key: str, existing: str, given: str) -> None:
        super().__init__(
            f"{key} exists with other content: sha256 {existing} in the store, {given} given. Nothing was overwritten. "
            "Another writer or another version of the program made it: use a new run id, or `evolve resume` with the "
            "version that began the run; `evolve verify` tells whether the stored one is damaged"
        )
        self.key, self.existing, self.given = key, existing, given

    def __reduce__(self) -> tuple[type["ConflictError"], tuple[str, str, str]]:
        return ConflictError, (self.key, self.existing, self.given)  # makes it picklable

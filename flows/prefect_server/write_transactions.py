"""Let write transactions of a Prefect server on SQLite wait for one another.

Prefect begins most of them deferred: such a transaction reads first, and when another one has written meanwhile, SQLite
refuses its write at once, whatever the busy timeout. The server then answers 503, and the client repeats the request
after about two seconds, which happened in most generations. A transaction that begins immediate waits for its turn,
usually a few milliseconds. Reads run outside of transactions and do not wait.
"""

from contextlib import AbstractAsyncContextManager

from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

_begin = AioSqliteConfiguration.begin_transaction


def _begin_immediate(
    self: AioSqliteConfiguration, session: AsyncSession, with_for_update: bool = False
) -> AbstractAsyncContextManager[AsyncSessionTransaction]:
    return _begin(self, session, with_for_update=True)


def begin_writes_immediately() -> None:
    """Begin every transaction of this server's process immediate, if its database is SQLite's."""
    AioSqliteConfiguration.begin_transaction = _begin_immediate  # type: ignore[method-assign,assignment]

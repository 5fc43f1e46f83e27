"""Keep a migrated, empty database of this Prefect version, so that a fresh home does not wait for its migrations.

Creating Prefect's SQLite database takes some seconds of migrations; a copy of it takes milliseconds.
"""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

from platformdirs import user_cache_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EMPTY = ("flow_run", "task_run", "deployment", "configuration")
"""Tables that have no rows in a template: a person's data, and the server's secrets."""


def template_path(version: str) -> Path:
    """Return the path of the template of a Prefect version, which may not exist yet."""
    return user_cache_path("evolve-rl") / f"prefect-{version}.db"


def create_database(database: Path, template: Path) -> bool:
    """Copy the template to where a database does not exist yet; return whether that was possible."""
    copy = database.with_name(f"{database.name}.{os.getpid()}")
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(template, copy)
        os.link(copy, database)  # not a rename, which would replace a database that another server has just created
    except OSError:  # there is no template, or no hard links: migrations create the database
        return False
    finally:
        copy.unlink(missing_ok=True)
    return True


def keep_template(database: Path, template: Path) -> None:
    """Copy a database to the template, if it is as migrations leave it: without rows in the tables EMPTY."""
    template.parent.mkdir(parents=True, exist_ok=True)
    copy = template.with_name(f"{template.name}.{os.getpid()}")
    try:
        with contextlib.closing(sqlite3.connect(database)) as source, contextlib.closing(sqlite3.connect(copy)) as made:
            source.backup(made)
            rows = [made.execute(f"SELECT count(*) FROM {table}").fetchone() for table in EMPTY]
            made.execute("PRAGMA journal_mode = DELETE")  # one file, without a write-ahead log beside it
        if not any(count for (count,) in rows):
            copy.replace(template)
    finally:
        copy.unlink(missing_ok=True)


class TemplateMiddleware:
    """Copies the template before the server starts; keeps one after its start if there was none."""

    def __init__(self, app: ASGIApp, database: Path, template: Path) -> None:
        self.app, self.database, self.template = app, database, template
        self.migrated = not database.exists() and not create_database(database, template)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward everything; keep a template once the server has started."""

        async def forward(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete" and self.migrated:
                with contextlib.suppress(OSError, sqlite3.Error):  # a full disk: the next server migrates too
                    keep_template(self.database, self.template)
            await send(message)

        await self.app(scope, receive, forward if scope["type"] == "lifespan" else send)


def with_template(app: ASGIApp) -> ASGIApp:
    """Add the middleware to Prefect's server, if its database is SQLite's, in a file."""
    import prefect
    from prefect.settings import get_current_settings
    from sqlalchemy import make_url

    secret = get_current_settings().server.database.connection_url
    address = secret.get_secret_value() if secret else ""
    url = make_url(address) if address else None
    if url is None or url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return app
    return TemplateMiddleware(app, Path(str(url.database)), template_path(prefect.__version__))

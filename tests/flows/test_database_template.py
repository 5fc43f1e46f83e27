"""A fresh home gets a copy of a migrated database instead of waiting for its migrations."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from flows.prefect_server.database_template import EMPTY, create_database, keep_template


def execute(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """Execute statements in a database; return the rows of the last one."""
    with closing(sqlite3.connect(path)) as database:
        answers = [database.execute(statement).fetchall() for statement in statements]
        database.commit()
    return answers[-1]


@pytest.fixture
def migrated(tmp_path):
    """A database with the tables that a template needs."""
    path = tmp_path / "migrated.db"
    execute(path, *(f"CREATE TABLE {table} (id)" for table in EMPTY))
    return path


def test_a_template_makes_a_database_where_there_is_none(tmp_path, migrated):
    template, database = tmp_path / "cache" / "template.db", tmp_path / "home" / "prefect.db"
    keep_template(migrated, template)
    assert create_database(database, template)
    assert execute(database, f"SELECT count(*) FROM {EMPTY[0]}") == [(0,)]
    assert [path.name for path in database.parent.iterdir()] == [database.name]


def test_an_existing_database_is_never_replaced(tmp_path, migrated):
    template, database = tmp_path / "template.db", tmp_path / "prefect.db"
    keep_template(migrated, template)
    database.write_bytes(b"mine")
    assert not create_database(database, template)
    assert database.read_bytes() == b"mine"


def test_without_a_template_nothing_is_made(tmp_path):
    assert not create_database(tmp_path / "home" / "prefect.db", tmp_path / "template.db")
    assert not (tmp_path / "home" / "prefect.db").exists()


@pytest.mark.parametrize("table", EMPTY)
def test_a_database_with_a_persons_data_or_secrets_becomes_no_template(tmp_path, migrated, table):
    execute(migrated, f"INSERT INTO {table} VALUES (1)")
    keep_template(migrated, tmp_path / "template.db")
    assert [path.name for path in tmp_path.iterdir()] == [migrated.name]


@pytest.mark.slow
def test_a_server_keeps_a_template_for_those_that_start_in_a_fresh_home(tmp_path):
    def serve(home: str) -> Path:
        """Start a server in a home until it answers; return its database."""
        code = "from flows.prefect_server.embedded import prefect_api\nwith prefect_api(): pass"
        environment = {name: value for name, value in os.environ.items() if name not in ("PREFECT_API_URL", "CI")}
        environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PREFECT_HOME": str(tmp_path / home)}
        subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True)
        return tmp_path / home / "prefect.db"

    version = execute(serve("first"), "SELECT version_num FROM alembic_version")
    (template,) = (tmp_path / "cache").rglob("*.db")
    assert execute(template, "SELECT version_num FROM alembic_version") == version
    execute(template, "CREATE TABLE mark (id)")  # only a copy has it
    assert execute(serve("second"), "SELECT count(*) FROM mark") == [(0,)]

"""Credentials in addresses are hidden, and the rest of an address stays usable."""

import pytest

from tasks.logs.redaction import without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////runs/study.db", "sqlite:////runs/study.db"),
        ("postgresql://me@host:5432/optuna?sslmode=require", "postgresql://me@host:5432/optuna?sslmode=require"),
        ("postgresql+psycopg2://me:hunter2@host/optuna", "postgresql+psycopg2://me:***@host/optuna"),
        ("mysql://me:p@ss:/word@host/db?charset=utf8", "mysql://me:***@host/db?charset=utf8"),
        ("postgresql://host/db?user=me&password=hunter2", "postgresql://host/db?user=me&password=***"),
        ("postgresql://me@h/db?sslPassword=x&sslmode=require", "postgresql://me@h/db?sslPassword=***&sslmode=require"),
    ],
)
def test_a_database_url_is_shown_without_its_passwords_and_with_everything_else(url, shown):
    assert without_password(url) == shown

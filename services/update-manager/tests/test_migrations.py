"""Migrations on a real PostgreSQL: from nothing, a second time, each step back and forth, against a held lock."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from update_manager.adapters.db.migrate import configuration, migrate
from update_manager.adapters.db.session import sqlalchemy_url
from update_manager.adapters.db.tables import Base


@pytest.fixture
def empty_url(postgres_server: str) -> Iterator[str]:
    """A new database with nothing in it."""
    name = f"migrations_{secrets.token_hex(6)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield postgres_server.rsplit("/", 1)[0] + f"/{name}"
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def differences(url: str) -> list[Any]:
    """What the tables in code and the tables in the database do not agree on."""
    engine = create_engine(sqlalchemy_url(url))
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        found = list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))
    engine.dispose()
    return found


def everything(url: str) -> dict[str, list[Any]]:
    """All rows of all tables."""
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
        return {name: connection.execute(f'SELECT * FROM "{name}" ORDER BY 1, 2').fetchall()
                for (name,) in tables if name != "alembic_version"}  # fmt: skip


def schema(url: str) -> list[Any]:
    """Columns, indexes, constraints, triggers and functions, as PostgreSQL describes them."""
    queries = (
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
        "WHERE table_schema = 'public' ORDER BY 1, 2",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
        "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
        "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1",
    )
    with psycopg.connect(url) as connection:
        return [connection.execute(query).fetchall() for query in queries]


def test_an_empty_database_becomes_what_the_code_says(empty_url: str) -> None:
    migrate(empty_url, "DEFAULT")
    assert differences(empty_url) == []
    rows = everything(empty_url)
    assert [row[1] for row in rows["tenant"]] == ["DEFAULT"]
    assert rows["operator"] == [], "nobody can sign in before a password was set"
    assert len(rows["software_module_type"]) == 4 and len(rows["distribution_set_type"]) == 4


def test_running_it_again_changes_nothing(empty_url: str) -> None:
    migrate(empty_url, "DEFAULT")
    before = everything(empty_url), schema(empty_url)
    migrate(empty_url, "DEFAULT")
    assert (everything(empty_url), schema(empty_url)) == before


def test_each_step_can_be_walked_back_and_forth_without_losing_what_was_there(empty_url: str) -> None:
    migrate(empty_url, "DEFAULT")
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO target (tenant_id, controller_id, name, security_token, update_status, request_attributes, "
            "queue_mode, created_by, last_modified_by) SELECT id, 'one', 'one', 't', 'unknown', true, false, 'x', 'x' "
            "FROM tenant"
        )
    newest = schema(empty_url)
    config = configuration(empty_url)
    steps = list(ScriptDirectory.from_config(config).walk_revisions())
    assert len(steps) >= 2 and len(ScriptDirectory.from_config(config).get_heads()) == 1
    kept = everything(empty_url)["target"]
    for _ in steps[:-1]:
        before = schema(empty_url)
        command.downgrade(config, "-1")
        assert schema(empty_url) != before
        command.upgrade(config, "+1")
        assert schema(empty_url) == before
        command.downgrade(config, "-1")
        assert len(everything(empty_url)["target"]) == 1
    command.upgrade(config, "head")
    assert schema(empty_url) == newest and differences(empty_url) == []
    assert everything(empty_url)["target"] == kept
    command.downgrade(config, "base")
    assert everything(empty_url) == {}, "the first step takes everything away, in the end"
    command.upgrade(config, "head")
    assert schema(empty_url) == newest


def test_a_step_gives_up_its_lock_after_five_seconds_and_leaves_everything_as_it_was(empty_url: str) -> None:
    migrate(empty_url, "DEFAULT")
    before = schema(empty_url)
    with psycopg.connect(empty_url) as busy:
        busy.execute("LOCK TABLE action IN ACCESS SHARE MODE")
        begun = time.monotonic()
        with pytest.raises(OperationalError, match="lock timeout"):
            command.downgrade(configuration(empty_url), "-1")
        assert 4 < time.monotonic() - begun < 9
    assert schema(empty_url) == before
    command.downgrade(configuration(empty_url), "-1")

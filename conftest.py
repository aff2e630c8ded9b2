"""Fixtures for the whole house: a real PostgreSQL and a real Redis, started once per test process."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from updraft_local.embedded import EmbeddedPostgres, EmbeddedRedis
from updraft_local.ports import free_port


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL server (its maintenance database); DATABASE_URL names another one to use."""
    if given := os.environ.get("DATABASE_URL"):
        yield given
        return
    # Not below pytest's own folder: the next pytest on this machine closes that to the user PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="updraft-postgres-") as folder:
        server = EmbeddedPostgres(Path(folder), free_port(), "for-tests-only", durable=False)
        server.start()
        yield server.url
        server.stop()


@pytest.fixture(scope="session")
def database_url(postgres_server: str) -> str:
    """A new, empty database."""
    name = f"updraft_test_{os.getpid()}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}"')
    return postgres_server.rsplit("/", 1)[0] + f"/{name}"


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis-compatible server; REDIS_URL names another one to use."""
    if given := os.environ.get("REDIS_URL"):
        yield given
        return
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"), free_port(), "for-tests-only", durable=False)
    server.start()
    yield server.url
    server.stop()

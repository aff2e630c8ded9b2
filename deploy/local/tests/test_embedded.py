"""The embedded servers keep their data, survive kill -9, and explain themselves when they cannot start."""

import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from updraft_local.embedded import EmbeddedPostgres, EmbeddedRedis, ServerFailed, wait_for
from updraft_local.ports import PortTaken, free_port, require_free


def test_postgres_keeps_what_was_committed_before_kill_9(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", free_port(), "secret")
    server.start()
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    server.kill()
    server.start()
    with psycopg.connect(server.url) as connection:
        row = connection.execute("SELECT n FROM kept").fetchone()
    server.stop()
    assert row == (7,)

    stranger = EmbeddedPostgres(tmp_path / "pg", free_port(), "another")
    with pytest.raises(ServerFailed, match="another password"):
        stranger.start()
    stranger.stop()

    (tmp_path / "pg" / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(ServerFailed, match="was made by PostgreSQL 9"):
        server.start()


def test_redis_asks_for_its_password_and_keeps_streams(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path, free_port(), "secret")
    server.start()
    client = redis.Redis.from_url(server.url)
    client.xadd("updraft:test", {"n": "1"})
    client.close()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=server.port).ping()
    server.stop()
    server.start()
    client = redis.Redis.from_url(server.url)
    assert client.xlen("updraft:test") == 1
    client.close()
    server.stop()


def test_a_taken_port_is_named_with_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port}/tcp is taken.*make run HTTP_PORT=PORT"):
            require_free(port, "HTTP_PORT")


@pytest.mark.parametrize("words", ["No space left on device", "HINT:  Check free disk space."])
def test_a_server_that_dies_of_a_full_disk_says_what_to_do(tmp_path: Path, words: str) -> None:
    log = tmp_path / "postgres.log"
    log.write_text(f"FATAL: could not write\n{words}\n")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with pytest.raises(ServerFailed, match=r"PostgreSQL could not start: the disk is full .*make room"):
        wait_for("PostgreSQL", dead, lambda: False, log)


def test_free_ports_lie_below_those_of_outgoing_connections_and_are_given_once() -> None:
    given = [free_port(kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM) for _ in range(200)]
    assert len(set(given)) == 400
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(1024 <= port < lowest for port in given)

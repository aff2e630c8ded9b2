"""What stands in the way of `make run` and `make demo` is named, with the way out, at once; nothing is left running."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from updraft_local import firmware
from updraft_local.embedded import EmbeddedPostgres, ServerFailed
from updraft_local.external import ServerUnusable, require_database, require_redis
from updraft_local.ports import free_port
from updraft_local.processes import Process, python
from updraft_local.run import CannotRun, exclusive
from updraft_local.suite_secrets import Secrets, Unreadable
from updraft_local.testing import processes

PORTS = ("--http-port", "0", "--api-port", "0", "--lwm2m-port", "0", "--blocks-port", "0")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> firmware.Firmware:
    """Key and images, made once."""
    return firmware.prepare(tmp_path_factory.mktemp("firmware"))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image under somebody else's key, and with noise."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "noise.bin").write_bytes(b"noise" * 1000)
    (folder / "foreign.bin").write_bytes(firmware.prepare(folder / "bench").new.read_bytes())
    return folder


class Refused:
    """The end of a command that could not run."""

    def __init__(self, module: str, bench: firmware.Firmware, *arguments: str, **environment: str) -> None:
        command = ["-m", f"updraft_local.{module}", "--firmware", str(bench.private_key.parent), *arguments]
        clean = {name: text for name, text in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, *command],
            env={**clean, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.seconds = time.monotonic() - began
        self.code, self.said, self.printed = done.returncode, done.stderr, done.stdout
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        assert not [words for _, words in processes() if arguments and arguments[-1] in words and "/" in arguments[-1]]


def run(bench: firmware.Firmware, data: Path, *arguments: str, **environment: str) -> str:
    """The message of a `make run` that must not start."""
    ended = Refused("run", bench, *PORTS, *arguments, "--data", str(data), **environment)
    assert ended.code != 0
    assert ended.seconds < 20
    assert not (data / "processes.json").exists()
    return ended.said


@pytest.mark.parametrize(("setting", "kind"), [("http", 1), ("blocks", 2)])
def test_a_taken_port_is_named_before_anything_is_started(
    setting: str, kind: int, bench: firmware.Firmware, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        said = run(bench, tmp_path / "data", f"--{setting}-port", str(port))
    assert f"port {port}/{'tcp' if kind == 1 else 'udp'} is taken" in said
    assert f"make run {setting.upper()}_PORT=PORT" in said
    assert not (tmp_path / "data" / "postgres").exists()


def test_ports_that_are_none_or_the_same_are_refused(bench: firmware.Firmware, tmp_path: Path) -> None:
    assert "HTTP_PORT=99999 is no port" in run(bench, tmp_path, "--http-port", "99999")
    port = str(free_port())
    said = run(bench, tmp_path, "--http-port", port, "--api-port", port)
    assert f"HTTP_PORT and API_PORT are both {port}" in said
    assert "DEVICES=-1" in run(bench, tmp_path, "--devices", "-1")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:secret-word@127.0.0.1:1/x", ["127.0.0.1:1/x", "refused", "unset DATABASE_URL"]),
        ("postgresql://u:secret-word@no-such-host.invalid/x", ["no-such-host.invalid", "unset DATABASE_URL"]),
        ("mysql://u:secret-word@127.0.0.1/x", ["begins with mysql://", "it looks like postgresql://"]),
        ("nonsense", ["begins with nothing://", "postgresql://user:password@host:5432/name"]),
        ("postgresql://u:secret-word@127.0.0.1:port/x", ["is no URL"]),
    ],
)
def test_a_wrong_database_url_is_explained(url: str, words: list[str]) -> None:
    with pytest.raises(ServerUnusable) as refused:
        require_database(url)
    assert [word for word in words if word not in str(refused.value)] == [], refused.value
    assert "secret-word" not in str(refused.value)


def test_a_wrong_password_or_database_is_explained(
    bench: firmware.Firmware, tmp_path: Path, postgres_server: str, redis_url: str
) -> None:
    host = postgres_server.rpartition("@")[2].partition("/")[0]
    said = run(bench, tmp_path / "data", DATABASE_URL=f"postgresql://updraft:secret-word@{host}/postgres")
    assert "password authentication failed" in said and "secret-word" not in said
    with pytest.raises(ServerUnusable, match="does not exist"):
        require_database(postgres_server.rpartition("/")[0] + "/absent")
    place = redis_url.rpartition("@")[2]
    for url, word in (
        (f"redis://:secret-word@{place}", "unset REDIS_URL"),
        ("redis://127.0.0.1:1/0", "refused"),
        ("http://127.0.0.1/", "begins with http://"),
    ):
        with pytest.raises(ServerUnusable, match=word) as refused:
            require_redis(url)
        assert "secret-word" not in str(refused.value)
    said = run(bench, tmp_path / "data", DATABASE_URL=postgres_server, REDIS_URL="redis://127.0.0.1:1/0")
    assert "REDIS_URL: Redis at 127.0.0.1:1/0 cannot be used" in said


def test_a_folder_that_cannot_hold_data_is_named(bench: firmware.Firmware, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be a data folder: Not a directory" in run(bench, tmp_path / "file" / "data")
    with pytest.raises(CannotRun, match="cannot be a data folder"):
        exclusive(tmp_path / "file")


def test_a_folder_of_another_user_is_named_with_its_owner(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "lock").touch(mode=0o600)
    # In a process of its own that becomes nobody after it has read its code; as nobody already, nothing is to be done.
    code = (
        "import os, sys, updraft_local.run as run, encodings.idna\n"
        "os.getuid() or os.setuid(65534)\n"
        f"sys.argv = ['run', '--data', {str(folder)!r}]\n"
        "run.main()"
    )
    if os.getuid():
        folder.chmod(0o000)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    folder.chmod(0o700)
    assert done.returncode == 1, done.stderr
    assert "may not be used by" in done.stderr and "it belongs to" in done.stderr and "make run DATA=" in done.stderr
    assert "Traceback" not in done.stderr


def test_lost_and_damaged_secrets_are_told_apart(bench: firmware.Firmware, tmp_path: Path) -> None:
    (tmp_path / "postgres" / "data").mkdir(parents=True)
    said = run(bench, tmp_path)
    assert "secrets.json is gone" in said and "put it back" in said
    assert not (tmp_path / "secrets.json").exists()
    for text in ("", "{", "[]", json.dumps({"postgres": "x"}), json.dumps({"a": 1})):
        (tmp_path / "secrets.json").write_text(text)
        with pytest.raises(Unreadable, match=r"secrets.json is damaged: put a good copy back, or move"):
            Secrets.load(tmp_path)
    assert "secrets.json is damaged" in run(bench, tmp_path)


def test_data_of_another_postgres_is_not_touched(bench: firmware.Firmware, tmp_path: Path) -> None:
    data = tmp_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9\n")
    secrets = dict.fromkeys(("postgres", "redis", "gateway", "operator"), "x")
    (tmp_path / "secrets.json").write_text(json.dumps(secrets))
    said = run(bench, tmp_path)
    assert "was made by PostgreSQL 9, this is" in said and "move the folder away" in said
    assert (data / "PG_VERSION").read_text() == "9\n"


def test_a_database_of_a_newer_release_is_left_as_it_is(
    bench: firmware.Firmware, tmp_path: Path, postgres_server: str, redis_url: str
) -> None:
    name = f"newer_{os.getpid()}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(f"CREATE DATABASE {name}")
    database_url = f"{postgres_server.rpartition('/')[0]}/{name}"
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        connection.execute("INSERT INTO alembic_version VALUES ('of-next-year')")
    said = run(bench, tmp_path / "data", DATABASE_URL=database_url, REDIS_URL=redis_url)
    assert "made by a newer release" in said and "of-next-year" in said and "restore a backup" in said


def test_a_lock_whose_process_id_is_somebody_elses_by_now_is_no_obstacle(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", free_port(), "secret", durable=False)
    server.start()
    lock = tmp_path / "pg" / "data" / "postmaster.pid"
    held = lock.read_text()
    second = EmbeddedPostgres(tmp_path / "pg", free_port(), "secret", durable=False)
    with pytest.raises(ServerFailed, match=r"another PostgreSQL \(process \d+\) uses .*kill -INT"):
        second.start()
    server.kill()
    # Its process id was given to somebody of the same user; PostgreSQL alone would refuse to start.
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd="/")
    try:
        for text in (held.replace(held.split()[0], str(stranger.pid), 1), "", "nonsense"):
            lock.write_text(text)
            server.start()
            server.stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_initdb_cut_short_is_begun_anew(tmp_path: Path) -> None:
    half = tmp_path / "pg" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("99\n")
    server = EmbeddedPostgres(tmp_path / "pg", free_port(), "secret", durable=False)
    server.start()
    server.stop()
    assert not half.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--devices", "0"), ["DEVICES must be at least 1"]),
        (("--image", "/no/such/image.bin"), ["No such file", "/no/such/image.bin"]),
        (("--image", "{folder}/noise.bin"), ["noise.bin", "make demo IMAGE=... KEY=public.pem"]),
        (("--image", "{folder}/foreign.bin"), ["foreign.bin", "KEY=public.pem"]),
        (("--image", "{folder}/foreign.bin", "--key", "{folder}/noise.bin"), ["noise.bin"]),
    ],
)
def test_a_demo_that_cannot_work_says_so_before_it_starts_anything(
    arguments: tuple[str, ...], words: list[str], bench: firmware.Firmware, foreign: Path
) -> None:
    told = [argument.format(folder=foreign) for argument in arguments]
    ended = Refused("demo", bench, *told)
    assert ended.code == 1
    assert ended.seconds < 10
    assert [word for word in words if word not in ended.said] == [], ended.said
    summary = json.loads(ended.printed.splitlines()[-1])
    assert summary["ok"] is False and summary["error"] and summary["updated"] == 0


def test_a_log_on_a_full_disk_costs_the_log_and_not_the_process(tmp_path: Path) -> None:
    said: list[str] = []
    process = Process("api", python("-c", "print('one'); print('two')"), {}, Path("/dev/full"), said.append)
    process.start()
    assert process.child is not None
    assert process.child.wait(20) == 0
    deadline = time.monotonic() + 5
    while len(said) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert said == ["api      | one", "api      | two"]

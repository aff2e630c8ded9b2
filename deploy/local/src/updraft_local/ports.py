"""Which ports are free, and a message a person can act on when one is not."""

import errno
import secrets
import socket
from typing import Final

# Connections going out take theirs from the range above (Linux: from 32768), at any moment between look and use.
_FIRST: Final = 16384
_COUNT: Final = 16384
_given: set[int] = set()


class PortTaken(RuntimeError):
    """A service cannot listen where it should: somebody else does, or it may not."""


def free_port(kind: int = socket.SOCK_STREAM, host: str = "127.0.0.1") -> int:
    """A port nobody listens on right now; `kind` is `socket.SOCK_STREAM` or `socket.SOCK_DGRAM`.

    No process is given the same one twice, so what was asked for and not yet taken stays free.
    """
    for _ in range(_COUNT):
        port = _FIRST + secrets.randbelow(_COUNT)
        if port in _given:
            continue
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
        _given.add(port)
        return port
    raise PortTaken(f"no free port was found from {_FIRST} to {_FIRST + _COUNT - 1}")


def require_free(port: int, setting: str, kind: int = socket.SOCK_STREAM, host: str = "127.0.0.1") -> int:
    """Return `port`, or raise PortTaken with what to do about it."""
    protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
    if not 0 < port < 65536:
        raise PortTaken(f"{setting}={port} is no port: a port is a number from 1 to 65535")
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            # As servers do: a connection that lingers from the last run is no other server.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EACCES:
                raise PortTaken(
                    f"port {port}/{protocol} may not be used by this user; "
                    f"choose one above 1023: make run {setting}=PORT"
                ) from error
            raise PortTaken(
                f"port {port}/{protocol} is taken ({error.strerror}); stop what listens there, "
                f"or choose another one: make run {setting}=PORT"
            ) from error
    return port

"""Whether faces answer: `python -m servicekit.probe URL...`, for health checks of containers and for people.

`http://host:port/path` has to answer GET with 200. `coap://host:port` has to answer a CoAP ping: an empty Confirmable
message is rejected with a Reset (RFC 7252 section 4.3), four bytes each way and nothing a device would notice.
"""

import argparse
import http.client
import secrets
import socket
import sys
from urllib.parse import urlsplit

ANSWER_SECONDS = 3.0
PING_SECONDS = 1.0
_CON, _RST = 0x40, 0x70  # version 1, no token
_EMPTY = 0
COAP_PORT = 5683


def http_problem(host: str, port: int, target: str, within_seconds: float = ANSWER_SECONDS) -> str | None:
    """What is wrong with an HTTP face, or None."""
    connection = http.client.HTTPConnection(host, port, timeout=within_seconds)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        if answer.status == 200:
            return None
        return f"answers {answer.status}: {answer.read(300).decode(errors='replace')}"
    except (OSError, http.client.HTTPException) as error:
        return f"does not answer: {error}"
    finally:
        connection.close()


def coap_problem(host: str, port: int, within_seconds: float = ANSWER_SECONDS) -> str | None:
    """What is wrong with a CoAP face, or None; a lost datagram is sent again."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as face:
            face.connect((host, port))
            face.settimeout(PING_SECONDS)
            for _ in range(max(1, round(within_seconds / PING_SECONDS))):
                number = secrets.token_bytes(2)
                face.send(bytes((_CON, _EMPTY)) + number)
                try:
                    if face.recv(64) == bytes((_RST, _EMPTY)) + number:
                        return None
                except TimeoutError:
                    continue
    except OSError as error:
        return f"does not answer: {error}"
    return "does not answer a CoAP ping"


def problem(url: str) -> str | None:
    """What is wrong with the face at `url`, or None; raises ValueError for a URL that is none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "coap") or not parts.hostname:
        raise ValueError(f"{url}: write http://host:port/path or coap://host:port")
    if parts.scheme == "coap":
        return coap_problem(parts.hostname, parts.port or COAP_PORT)
    return http_problem(parts.hostname, parts.port or 80, parts.path or "/")


def main(arguments: list[str] | None = None) -> int:
    """0 when every face answers, 1 when one does not (standard output says which), 2 for a URL that is none."""
    parser = argparse.ArgumentParser(prog="python -m servicekit.probe", description="Do these faces answer?")
    parser.add_argument("url", nargs="+", help="http://host:port/path (GET, 200) or coap://host:port (CoAP ping)")
    urls = parser.parse_args(arguments).url
    try:
        found = [f"{url} {wrong}" for url in urls if (wrong := problem(url))]
    except ValueError as error:
        parser.error(str(error))
    sys.stdout.write("".join(f"{line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())

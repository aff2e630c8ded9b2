"""Makes .env for docker-compose.yml: .env.example with fresh secrets in it, readable by its owner only.

Standard library and any Python from 3.9, so that a machine with docker and python needs nothing else.
"""

import argparse
import os
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / ".env.example"
# Used inside URLs, so nothing that would have to be escaped there.
MACHINE_SECRETS = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "GATEWAY_TOKEN")
TYPED_SECRETS = ("OPERATOR_PASSWORD",)
PROXY_URI = "LWM2M_GATEWAY_PROXY_URI"


def machine_secret() -> str:
    """192 bits in letters, digits, - and _."""
    return secrets.token_urlsafe(24)


def typed_secret() -> str:
    """80 bits that a person can type."""
    return "-".join(secrets.token_hex(2) for _ in range(5))


def filled(example: str, proxy_uri: "str | None" = None) -> str:
    """The example with a fresh secret after each empty `NAME=`; raises ValueError when a name it fills is missing."""
    values = {name: machine_secret() for name in MACHINE_SECRETS} | {name: typed_secret() for name in TYPED_SECRETS}
    if proxy_uri is not None:
        values[PROXY_URI] = proxy_uri
    lines = []
    for line in example.splitlines():
        name = line.partition("=")[0]
        lines.append(f"{name}={values.pop(name)}" if name in values else line)
    if values:
        raise ValueError(f"{', '.join(values)} not found in the example")
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    """Write a new file with mode 0600; raises FileExistsError rather than replace one."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)


def main(arguments: "list[str] | None" = None) -> int:
    """0 when the file was made, 1 when it was there or cannot be written."""
    parser = argparse.ArgumentParser(description="Make .env with fresh secrets for docker-compose.yml.")
    parser.add_argument("--output", type=Path, default=ROOT / ".env", help="file to make (default: .env here)")
    parser.add_argument(
        "--proxy-uri",
        metavar="coap://ADDRESS:PORT",
        help="where devices fetch firmware: this host's address as devices see it",
    )
    given = parser.parse_args(arguments)
    if given.proxy_uri is not None and not given.proxy_uri.startswith(("coap://", "coaps://")):
        parser.error(f"--proxy-uri {given.proxy_uri}: write coap://ADDRESS:PORT")
    try:
        write(given.output, filled(EXAMPLE.read_text(encoding="utf-8"), given.proxy_uri))
    except FileExistsError:
        sys.stderr.write(
            f"{given.output} is there already and stays as it is: its secrets open the data that was made with them. "
            "Move it away to get new ones.\n"
        )
        return 1
    except OSError as error:
        sys.stderr.write(f"{given.output} cannot be written: {error.strerror}\n")
        return 1
    sys.stdout.write(
        f"made {given.output}, readable by you alone. The operator's name and password are OPERATOR_NAME and "
        "OPERATOR_PASSWORD in it.\n"
    )
    if given.proxy_uri is None:
        sys.stdout.write(f"Before real devices come, set {PROXY_URI} in it to this host's address.\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

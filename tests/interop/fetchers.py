"""CoAP clients by others, each as one function: a request, the body of its answer and what it said about it."""

import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from strangers import ROOT, Missing, program, wakaama_modules

CLIENT_SECONDS = 40
BLOCK_BYTES = "512"
HERE = Path(__file__).parent
CALIFORNIUM = ROOT / ".cache" / "interop" / "californium"


@dataclass(frozen=True)
class Asked:
    """`uri` is what is wanted; `proxy` is HOST:PORT of who is asked for it, by Proxy-Uri or by Proxy-Scheme."""

    uri: str
    proxy: str = ""
    by_scheme: bool = False
    method: str = "get"
    body: Path | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Said:
    """Body of a success; all a client wrote about its request."""

    body: bytes
    text: str


Fetcher = Callable[[Asked, Path], Said]


def _run(command: list[str], target: Path, body: Path | None = None) -> Said:
    with body.open("rb") if body else open("/dev/null", "rb") as given:
        done = subprocess.run(
            command, stdin=given, capture_output=True, text=True, errors="replace", timeout=CLIENT_SECONDS, check=False
        )
    text = done.stdout + done.stderr
    assert done.returncode == 0, f"{' '.join(command)}\nended with {done.returncode} and said:\n{text}"
    return Said(target.read_bytes() if target.exists() else b"", text)


def libcoap(name: str) -> Fetcher:
    """`coap-client` of Debian, built with one TLS library or another, or with none.

    It cannot name a target of another scheme by Proxy-Scheme: it would look for the proxy at the target's port.
    """

    def fetch(asked: Asked, folder: Path) -> Said:
        target = folder / secrets.token_hex(8)
        command = [program(name), "-B", str(CLIENT_SECONDS - 5), "-o", str(target), "-b", BLOCK_BYTES]
        if asked.proxy:
            command += ["-P", f"coap://{asked.proxy}"]
        command += ["-m", asked.method, *asked.options]
        if asked.body is not None:
            command += ["-t", "application/octet-stream", "-f", str(asked.body)]
        return _run([*command, asked.uri], target)

    return fetch


def californium(asked: Asked, folder: Path) -> Said:
    """Eclipse Californium's client."""
    if not (CALIFORNIUM / "ready").is_file():
        raise Missing("Californium's client")
    target = folder / secrets.token_hex(8)
    way = ["direct"]
    if asked.proxy:
        host, _, port = asked.proxy.partition(":")
        way = ["proxy-scheme" if asked.by_scheme else "proxy-uri", host, port]
    classes = f"{CALIFORNIUM / 'classes'}:{CALIFORNIUM / 'jars'}/*"
    command = [program("java"), "-XX:TieredStopAtLevel=1", "-cp", classes, "Fetch", str(target), asked.method.upper()]
    return _run([*command, asked.uri, *way, *([str(asked.body)] if asked.body else [])], target)


def npm_coap(asked: Asked, folder: Path) -> Said:
    """The npm package coap, in Node.js."""
    target = folder / secrets.token_hex(8)
    script = ["env", f"NODE_PATH={wakaama_modules()}", program("node"), str(HERE / "npm-coap" / "fetch.js")]
    where = [f"coap://{asked.proxy}", asked.uri] if asked.proxy else [asked.uri]
    return _run([*script, str(target), asked.method, *where], target, asked.body)


def aiocoap_client(asked: Asked, folder: Path) -> Said:
    """aiocoap's command line client, which names a proxy's target by Proxy-Scheme only; by Proxy-Uri, its library."""
    target = folder / secrets.token_hex(8)
    if asked.proxy and not asked.by_scheme:
        command = [sys.executable, str(HERE / "aiocoap_by_proxy_uri.py"), f"coap://{asked.proxy}"]
    else:
        command = [sys.executable, "-W", "ignore", "-m", "aiocoap.cli.client", "-m", asked.method]
        command += ["--proxy", f"coap://{asked.proxy}"] if asked.proxy else []
        if asked.body is not None:
            command += ["--payload", f"@{asked.body}", "--content-format", "application/octet-stream"]
    with target.open("wb") as out:
        done = subprocess.run(
            [*command, asked.uri], stdout=out, stderr=subprocess.PIPE, timeout=CLIENT_SECONDS, check=False
        )
    text = done.stderr.decode(errors="replace")
    assert done.returncode == 0, f"{' '.join(command)}\nended with {done.returncode} and said:\n{text}"
    return Said(target.read_bytes(), text)


FETCHERS: dict[str, Fetcher] = {
    "coap-client-notls": libcoap("coap-client-notls"),
    "coap-client-gnutls": libcoap("coap-client-gnutls"),
    "coap-client-openssl": libcoap("coap-client-openssl"),
    "californium": californium,
    "npm coap": npm_coap,
    "aiocoap-client": aiocoap_client,
}

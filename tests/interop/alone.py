"""The proxy on its own: Redis for tickets, an HTTP server that knows nothing of Updraft, and nobody else."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from updraft_local.alone import LoneProxy

REVERSE_PREFIX = "images"


class _Files(SimpleHTTPRequestHandler):
    """Python's own file server, with entity tags, and a place to put things."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        web, path = self._web, Path(self.translate_path(self.path))
        tag = f'"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"' if path.is_file() else None
        told = self.headers.get("If-None-Match")
        web.asked.append(("GET", self.path, told))
        if tag is not None and told is not None and tag in told:
            self.send_response(304)
            self.send_header("ETag", tag)
            self.send_header("Cache-Control", f"max-age={web.max_age}")
            self.end_headers()
            return
        self._tag = tag
        super().do_GET()

    def end_headers(self) -> None:
        """Add what Python's server does not send."""
        if (tag := getattr(self, "_tag", None)) is not None:
            self.send_header("ETag", tag)
            self.send_header("Cache-Control", f"max-age={self._web.max_age}")
            self._tag = None
        super().end_headers()

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        self._web.taken.append((self.command, self.path, self.headers.get("Content-Type"), body))
        self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.do_PUT()

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    @property
    def _web(self) -> "Web":
        assert isinstance(self.server, Web)
        return self.server


class Web(ThreadingHTTPServer):
    """Serves a folder. `asked`: method, path and If-None-Match of each GET; `taken`: what was put or posted."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Files, directory=str(folder)))
        self.asked: list[tuple[str, str, str | None]] = []
        self.taken: list[tuple[str, str, str | None, bytes]] = []
        self.max_age = 60

    @property
    def url(self) -> str:
        """Base URL without a slash at its end."""
        return f"http://127.0.0.1:{self.server_port}"


@dataclass(frozen=True)
class Alone:
    """A running proxy; `files` is what its upstream serves."""

    proxy: LoneProxy
    web: Web
    files: Path

    @property
    def uri(self) -> str:
        """The proxy's CoAP URI without a path."""
        return self.proxy.uri

    @property
    def address(self) -> str:
        """HOST:PORT of it."""
        return self.uri.removeprefix("coap://")

    def ticket(self, name: str) -> str:
        """The Package URI of a new ticket for a file."""
        token = self.proxy.ticket(f"{self.web.url}/{name}", (self.files / name).read_bytes(), "stranger")
        return f"{self.uri}/f/{token}/fw.bin"


@contextmanager
def alone(folder: Path, files: Path, **settings: str) -> Iterator[Alone]:
    """Start it all; `settings` are the proxy's, without their prefix."""
    web = Web(files)
    told = {"ALLOWED_UPSTREAMS": f"{web.url}/", "REVERSE": f"/{REVERSE_PREFIX}={web.url}/", **settings}
    proxy = LoneProxy(folder, told)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        proxy.start()
        yield Alone(proxy, web, files)
        proxy.process.require_alive()
    finally:
        proxy.stop()
        web.shutdown()
        web.server_close()

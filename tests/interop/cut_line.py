"""A line to an HTTP server that breaks once: in the middle of the first download, after so many bytes."""

import http.client
import socketserver
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CHUNK_BYTES = 16 * 1024
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Download:
    """One GET of an artifact: its Range header and the status it got."""

    range: str | None
    status: int


class CutLine:
    """Passes requests on to 127.0.0.1:`upstream`, as they are; `after` body bytes of an artifact it hangs up, once."""

    def __init__(self, upstream: int, after: int) -> None:
        self.downloads: list[Download] = []
        self._upstream, self._after = upstream, after
        line = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                line._pass_on(self)

            def do_POST(self) -> None:
                line._pass_on(self)

            def do_PUT(self) -> None:
                line._pass_on(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    def __enter__(self) -> "CutLine":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        socketserver.TCPServer.server_close(self._server)

    def _pass_on(self, asked: BaseHTTPRequestHandler) -> None:
        length = int(asked.headers.get("Content-Length") or 0)
        connection = http.client.HTTPConnection("127.0.0.1", self._upstream, timeout=TIMEOUT_SECONDS)
        try:
            # Host goes along as it came, so that links lead over this line.
            connection.request(asked.command, asked.path, asked.rfile.read(length), dict(asked.headers.items()))
            answer = connection.getresponse()
            asked.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("date", "server", "transfer-encoding", "connection"):
                    asked.send_header(name, value)
            asked.end_headers()
            room: float = float("inf")
            if "/artifacts/" in asked.path:
                room = self._after if not self.downloads else room
                self.downloads.append(Download(asked.headers.get("Range"), answer.status))
            while room > 0 and (chunk := answer.read(int(min(CHUNK_BYTES, room)))):
                asked.wfile.write(chunk)
                room -= len(chunk)
            asked.close_connection = True
        finally:
            connection.close()

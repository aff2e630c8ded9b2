"""Servers to compare, each a process: `servers.py ROLE PORT BODY`. They print `ready` and serve until they are stopped.

fast     the proxy's own socket and fast path, with the body in memory: what a block costs
aiocoap  a resource that slices Block2 itself, as its documentation shows: what one would write first
echo     a datagram back, as large as a block, without a look at it: what Python's sockets allow
"""

import asyncio
import hashlib
import sys
from pathlib import Path

import aiocoap
from aiocoap import resource

from coap_http_proxy.blobs import blob_of
from coap_http_proxy.fast_path import FastPath
from coap_http_proxy.progress import Progress
from datagrams import Transport, udp_socket

TOKEN = "benchmark-00"


async def fast(port: int, body: bytes) -> None:
    """Transport and FastPath, as the proxy wires them; nothing goes the slow way."""
    path = FastPath()
    path.admit(TOKEN, blob_of(body), Progress(len(body)))
    Transport(udp_socket("127.0.0.1", port), path.answer, lambda datagram, peer: None).start()


class Sliced(resource.Resource):  # type: ignore[misc]
    """Any block of the body, without state."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body, self._etag = body, hashlib.sha256(body).digest()[:8]

    async def needs_blockwise_assembly(self, request: aiocoap.Message) -> bool:
        """No: the slice is taken here."""
        return False

    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        """2.05 with the block asked for."""
        number, _, exponent = request.opt.block2 or (0, False, 6)
        at, step = number << (exponent + 4), 16 << exponent
        answer = aiocoap.Message(code=aiocoap.CONTENT, payload=self._body[at : at + step])
        answer.opt.etag, answer.opt.content_format, answer.opt.size2 = self._etag, 42, len(self._body)
        answer.opt.block2 = (number, at + step < len(self._body), exponent)
        return answer


async def sliced(port: int, body: bytes) -> None:
    """aiocoap's server."""
    site = resource.Site()
    site.add_resource(["f", TOKEN, "a"], Sliced(body))
    await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port), transports=["udp6"])


async def echo(port: int, body: bytes) -> None:
    """The same socket, and no work."""
    padding = bytes(1024)
    Transport(udp_socket("127.0.0.1", port), lambda datagram: datagram + padding, lambda datagram, peer: None).start()


async def main() -> None:
    """Serve a role until killed."""
    role, port, body = sys.argv[1:]
    await {"fast": fast, "aiocoap": sliced, "echo": echo}[role](int(port), Path(body).read_bytes())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())

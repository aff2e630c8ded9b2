"""aiocoap as a peer: `aiocoap_server.py PORT BODY` serves a file at /blob, any block without state. Prints `ready`."""

import asyncio
import hashlib
import sys
from pathlib import Path

import aiocoap
from aiocoap import resource


class Sliced(resource.Resource):  # type: ignore[misc]
    """A body that slices itself: without that, aiocoap keeps a copy per client and refuses to resume."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body, self._etag = body, hashlib.sha256(body).digest()[:8]

    async def needs_blockwise_assembly(self, request: aiocoap.Message) -> bool:
        """No: the slice is taken here."""
        return False

    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        """2.05 with the block asked for, or all of a small body."""
        asked = request.opt.block2
        answer = aiocoap.Message(code=aiocoap.CONTENT)
        answer.opt.etag, answer.opt.content_format = self._etag, 42
        if asked is None and len(self._body) <= 1024:
            answer.payload = self._body
            return answer
        number, _, exponent = asked or (0, False, 6)
        at, step = number << (exponent + 4), 16 << exponent
        answer.payload = self._body[at : at + step]
        answer.opt.block2, answer.opt.size2 = (number, at + step < len(self._body), exponent), len(self._body)
        return answer


async def main() -> None:
    """Serve until killed."""
    port, body = sys.argv[1:]
    site = resource.Site()
    site.add_resource(["blob"], Sliced(Path(body).read_bytes()))
    await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", int(port)), transports=["udp6"])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())

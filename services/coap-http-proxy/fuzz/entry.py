"""A target of the fuzzer: the proxy's datagram entry, the whole proxy in this process but for its socket.

A real Redis (REDIS_URL), and an HTTP upstream that does what the input's first byte says. Started by run.py.
"""

import asyncio
import os
import sys
from itertools import cycle
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["coap_http_proxy", "coap_wire"]):
    from coap_http_proxy.door import NEIGHBOUR, STRANGER, Door
    from coap_http_proxy.settings import ProxySettings
    from coap_http_proxy.testing import HttpUpstream, mint

import redis.asyncio as redis
from corpus import TROUBLES, seeds, unpacked
from pydantic import SecretStr

from updraft_local.ports import free_port

IMAGE = bytes(range(256)) * 40


async def opened(redis_url: str, blocks: Path) -> tuple[Door, HttpUpstream, str]:
    """A proxy to knock at, its upstream, and the token of a ticket."""
    upstream = HttpUpstream({"/a": IMAGE, "/b": b"{}"})
    await upstream.__aenter__()
    settings = ProxySettings(
        redis_url=SecretStr(redis_url),
        port=free_port(),
        coap_port=free_port(2),
        cache_directory=blocks,
        allowed_upstreams=upstream.url("/"),
        ack_delay_seconds=0.05,
    )
    door = Door(settings)
    await door.__aenter__()
    client = redis.Redis.from_url(redis_url)
    token = await mint(client, upstream.url("/a"), IMAGE)
    await client.aclose()
    door.tokens.add(token.encode())
    return door, upstream, token


def main() -> None:
    """Write the seeds into the corpus folder given as the last argument, then let the fuzzer work; never returns."""
    corpus = Path(sys.argv[-1])
    runner = asyncio.Runner()
    door, upstream, token = runner.run(opened(os.environ["REDIS_URL"], corpus.parent / "blocks"))
    for number, seed in enumerate(seeds(token, upstream.url("/"))):
        (corpus / f"seed-{number:03}").write_bytes(seed)

    ports = cycle(range(1024, 65536))

    async def knock(mode: int, datagrams: list[bytes]) -> None:
        upstream.misbehave = TROUBLES[mode >> 1 & 7]
        # From a port of its own, or nearly all would be taken for copies of what came before.
        peer = (STRANGER if mode & 1 else NEIGHBOUR)._replace(port=next(ports))
        for datagram in datagrams:
            await door.knock(datagram, peer)
        upstream.requests.clear()

    atheris.Setup(sys.argv, lambda data: runner.run(knock(*unpacked(data))))
    atheris.Fuzz()


if __name__ == "__main__":
    main()

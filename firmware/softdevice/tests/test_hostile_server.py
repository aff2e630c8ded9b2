"""Nonsense from the server and from strangers: the device stays up, answers small, and is still updated after."""

import asyncio
import logging
import socket

import pytest
from device_world import NEW, Make, download, registered
from scripted_server import ScriptedServer

from coap_wire import Block, Code, Message, Type, encode, encode_block
from coap_wire.options import BLOCK1, CONTENT_FORMAT, URI_PATH
from coap_wire.testing import hostile_datagrams
from lwm2m.firmware import STATE
from softdevice.profiles import PROFILES


def spoils(device_of: ScriptedServer) -> list[bytes]:
    """Good requests to be spoilt."""

    def request(code: int, *path: bytes, payload: bytes = b"", block: int | None = None) -> bytes:
        options = [*((URI_PATH, part) for part in path), (CONTENT_FORMAT, b"" if block is None else b"\x2a")]
        if block is not None:
            options.append((BLOCK1, encode_block(Block(block, True, 4))))
        return encode(Message(Type.CON, code, 7, b"tk", tuple(options), payload))

    uri = device_of.uri("f/absent/x.bin").encode()
    return [
        request(Code.GET, b"3", b"0"),
        request(Code.GET, b"5", b"0", b"3"),
        request(Code.PUT, b"5", b"0", b"1", payload=uri),
        request(Code.POST, b"5", b"0", b"2"),
        request(Code.PUT, b"1", b"0", b"1", payload=b"60"),
        request(Code.POST, b"5", b"0", b"10"),
        request(Code.PUT, b"5", b"0", b"13", payload=b"60"),
        *(request(Code.PUT, b"5", b"0", b"0", payload=NEW[at : at + 256], block=at // 256) for at in (0, 256, 512)),
    ]


@pytest.mark.parametrize("client", ["updraft", "anjay"])
async def test_a_device_survives_a_server_gone_mad_and_is_updated_after(
    server: ScriptedServer, make: Make, caplog: pytest.LogCaptureFixture, client: str
) -> None:
    make(profile=PROFILES[client])
    await registered(server)
    assert server._transport is not None
    port = server.device[1]
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stranger.setblocking(False)
    for number, datagram in enumerate(hostile_datagrams(4, 2000, spoils(server))):
        server._transport.sendto(datagram, server.device)
        stranger.sendto(datagram, ("127.0.0.1", port))
        if number % 20 == 19:
            await asyncio.sleep(0.001)
    # It does not answer strangers at all: who is not its server has no business here.
    answered = []
    try:
        while True:
            answered.append(stranger.recv(65535))
    except BlockingIOError:
        stranger.close()
    assert all(len(reply) == 4 for reply in answered), "a stranger gets a Reset at most"
    server.known = True
    assert int(await server.read(STATE)) in (0, 1, 2)
    loud = [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]
    assert loud == [], loud[0].getMessage()
    await server.ask(Code.PUT, STATE.of((5, 0, 1)), b"", ((CONTENT_FORMAT, b""),))
    while not server.registrations.empty():
        server.registrations.get_nowait()
    server.registrations.put_nowait(Message(Type.CON, Code.POST, 1))
    await download(server)

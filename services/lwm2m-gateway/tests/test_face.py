"""The UDP face keeps what aiocoap remembers of its exchanges whole when the network says that a host has gone."""

import asyncio
import socket

import aiocoap
import pytest
from aiocoap import error as coap_error
from aiocoap import resource

from lwm2m_gateway.coap.face import open_face
from updraft_local.ports import free_port


async def test_an_unreachable_host_spoils_no_exchange_with_another() -> None:
    face = await open_face(resource.Site(), "127.0.0.1", free_port(2))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        uri = f"coap://127.0.0.1:{silent.getsockname()[1]}/3/0"
        asked = face.context.request(aiocoap.Message(code=aiocoap.GET, uri=uri))
        async with asyncio.timeout(5):
            while not face._manager._active_exchanges:
                await asyncio.sleep(0.01)
        ((_, timer),) = face._manager._active_exchanges.values()
        # The kernel tells the refusal of the first at the sending of the second: a repetition, which is due now.
        face._udp.transport.sendmsg(b"\x50\x01\x00\x01", [], 0, ("::ffff:127.0.0.1", free_port(), 0, 0))
        timer._callback()
        assert {remote for remote, _ in face._manager._active_exchanges} == set(face._manager._backlogs)
        with pytest.raises(coap_error.NetworkError):
            await asyncio.wait_for(asked.response, 5)
        assert not face._manager._active_exchanges and not face._manager._backlogs
    await face.shutdown()

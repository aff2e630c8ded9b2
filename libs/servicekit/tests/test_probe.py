"""The probe says yes only to faces that answer as their protocol wants."""

import asyncio
import socket
from typing import Any

import pytest

import servicekit
from servicekit import probe


class Peer(asyncio.DatagramProtocol):
    """Answers each datagram with what `reply` makes of it; empty bytes are silence."""

    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert data[:2] == b"\x40\x00" and len(data) == 4
        match self.replies.pop(0):
            case "reset":
                self.transport.sendto(b"\x70\x00" + data[2:], addr)
            case "other message":
                self.transport.sendto(b"\x70\x00\x00\x00" + data[2:], addr)


async def _coap(*replies: str) -> int:
    peer = Peer(*replies)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: peer, ("127.0.0.1", 0))
    url = "coap://127.0.0.1:{}".format(transport.get_extra_info("sockname")[1])
    try:
        return await asyncio.to_thread(probe.main, [url])
    finally:
        transport.close()


async def test_a_coap_face_that_resets_the_ping_is_well() -> None:
    assert await _coap("reset") == 0


async def test_one_lost_datagram_is_no_illness() -> None:
    assert await _coap("silence", "reset") == 0


async def test_a_coap_face_that_answers_something_else_or_nothing_is_not_well() -> None:
    assert await _coap("other message", "silence", "silence") == 1


def test_a_port_nobody_listens_on_is_not_well(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", 0))
        http, coap = tcp.getsockname()[1], udp.getsockname()[1]
    urls = [f"http://127.0.0.1:{http}/healthz", f"coap://127.0.0.1:{coap}"]
    assert probe.main(urls) == 1
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == urls


async def test_http_is_well_with_200_only_and_a_refusal_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    async def good() -> servicekit.Answer:
        return servicekit.json_answer({"status": "ok"})

    async def bad() -> servicekit.Answer:
        return servicekit.json_answer({"status": "error", "checks": {"redis": "TimeoutError"}}, 503)

    server = await servicekit.serve({"/good": good, "/bad": bad}, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        assert await asyncio.to_thread(probe.main, [f"{base}/good"]) == 0
        assert await asyncio.to_thread(probe.main, [f"{base}/good", f"{base}/bad"]) == 1
    assert "503" in (said := capsys.readouterr().out) and "redis" in said


def test_a_url_of_another_kind_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as ended:
        probe.main(["ftp://127.0.0.1/"])
    assert ended.value.code == 2

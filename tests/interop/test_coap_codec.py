"""libcoap and our CoAP codec, datagram by datagram: its client's requests read, ours understood by its server."""

import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from strangers import Stranger, program

from coap_wire import Block, Code, Message, Type, decode, decode_block, encode, encode_block
from coap_wire import options as option
from updraft_local.ports import free_port

SECONDS = 10.0
# coap-client drops segments that do not fit its 100 bytes for a path.
LONG = "x" * 80


def received(answer: Message, *options: str, path: str = "") -> tuple[Message, bytes]:
    """What coap-client sends when called like this, read by us; and the payload it shows of our answer to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours, ThreadPoolExecutor(1) as pool:
        ours.bind(("127.0.0.1", 0))
        ours.settimeout(SECONDS)
        uri = f"coap://127.0.0.1:{ours.getsockname()[1]}/{path}"
        client = program("coap-client-notls", "coap-client")
        called = [client, "-B", "5", *options, uri]
        running = pool.submit(subprocess.run, called, capture_output=True, timeout=SECONDS, check=True)
        datagram, peer = ours.recvfrom(2048)
        request = decode(datagram)
        reply = Message(Type.ACK, answer.code, request.mid, request.token, answer.options, answer.payload)
        ours.sendto(encode(reply), peer)
        return request, running.result(SECONDS).stdout.strip()


@pytest.mark.parametrize("number", [2, 8, 12, 14, 268, 269, 270, 2048, 65_000])
def test_odd_options_of_coap_client_arrive_as_they_were_said(number: int) -> None:
    elective = (option.MAX_AGE, b"\x05"), (2 * number % 60_000 + 1024, b"y" * (number % 300))
    answer = Message(Type.ACK, Code.CONTENT, 0, options=elective, payload=b"ok")
    request, shown = received(answer, "-O", f"{number},value", "-T", "token", path=f"{LONG}/b?q=1&r")
    assert request.option(number) == b"value"
    # libcoap counts tokens up, from the one it is given.
    assert (request.code, request.token) == (Code.GET, b"tokeo")
    assert request.uri_path == (LONG, "b") and request.uri_query == ("q=1", "r")
    assert shown == b"ok"


def test_body_and_blocks_of_coap_client_are_read(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"0123456789abcdef" * 8)
    answer = Message(Type.ACK, Code.BAD_REQUEST, 0, payload=b"enough")
    request, _ = received(answer, "-m", "put", "-b", "64", "-t", "42", "-f", str(tmp_path / "body"))
    assert (request.code, len(request.payload)) == (Code.PUT, 64)
    assert decode_block(request.option(option.BLOCK1) or b"") == Block(0, True, 2)
    assert request.uint(option.CONTENT_FORMAT) == 42 and request.uint(option.SIZE1) == 128


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket connected to a coap-server that takes what is put."""
    port = free_port(socket.SOCK_DGRAM)
    command = [program("coap-server-notls", "coap-server"), "-A", "127.0.0.1", "-p", str(port), "-d", "5"]
    with Stranger(command, tmp_path, {}), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.connect(("127.0.0.1", port))
        ours.settimeout(0.2)
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                ours.send(b"\x40\x00\x00\x01")
                assert decode(ours.recv(2048)).type == Type.RST
                break
            except (TimeoutError, ConnectionRefusedError):
                assert time.monotonic() < deadline, "coap-server did not answer a ping"
                time.sleep(0.05)
        ours.settimeout(SECONDS)
        yield ours


def exchange(server: socket.socket, request: Message) -> Message:
    """The answer to a request."""
    server.send(encode(request))
    while (answer := decode(server.recv(2048))).token != request.token or answer.code == Code.EMPTY:
        pass
    return answer


def test_coap_server_understands_us(ask: socket.socket) -> None:
    body = bytes(range(256)) * 3
    path = ((option.URI_PATH, b"a"), (option.URI_PATH, b"y" * 255))
    put = exchange(ask, Message(Type.CON, Code.PUT, 2, b"12345678", (*path, (option.CONTENT_FORMAT, b"*")), body))
    assert put.code == Code.CREATED
    block = (option.BLOCK2, encode_block(Block(1, False, 4)))
    got = exchange(ask, Message(Type.CON, Code.GET, 3, b"", (*path, block, (2048, b"elective and unknown"))))
    assert (got.code, got.payload) == (Code.CONTENT, body[256:512])
    assert decode_block(got.option(option.BLOCK2) or b"") == Block(1, True, 4)
    assert got.uint(option.CONTENT_FORMAT) == 42
    odd = exchange(ask, Message(Type.CON, Code.GET, 4, b"n", (*path, (2049, b"critical and unknown"))))
    assert odd.code == Code.BAD_OPTION

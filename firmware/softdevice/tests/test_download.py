"""Zephyr's pull, decided block by block: the exact options it sends, and what each answer leads to."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coap_wire import Block, Code, Message, Type, decode, encode, encode_block, encode_options, encode_uint
from coap_wire.options import BLOCK2, ETAG, SIZE2
from lwm2m.firmware import Result
from softdevice.download import (
    ContentChanged,
    Download,
    DownloadFailed,
    Progress,
    TryAgain,
    parse_uri,
)

IMAGE = bytes.fromhex("3db8f396") + bytes(range(256)) * 9
URI = parse_uri("coap://192.0.2.1:5700/f/AbC-123_xyz0/app.bin")


def answer(content: bytes, num: int, szx: int, *, etag: bytes = b"", size: int | None = None) -> Message:
    block = Block(num, (num + 1) << (szx + 4) < len(content), szx)
    options = ((BLOCK2, encode_block(block)), (SIZE2, encode_uint(len(content) if size is None else size)))
    tagged = ((ETAG, etag), *options) if etag else options
    return Message(Type.ACK, Code.CONTENT, 1, b"t", tagged, content[block.offset : block.offset + block.size])


def begin(**changed: object) -> Download:
    return Download(URI, block_size=512, limit=100_000, **changed)  # type: ignore[arg-type]


def run(download: Download, content: bytes, szx: int = 5, etag: bytes = b"") -> bytes:
    out = bytearray()
    while True:
        piece = download.receive(answer(content, download.offset >> (szx + 4), szx, etag=etag))
        out += piece.data
        download.advance(piece)
        if piece.last:
            return bytes(out)


def test_request_carries_exactly_what_zephyr_sends() -> None:
    download = begin()
    # Uri-Path f, AbC-123_xyz0, app.bin; Block2 0/0/512; Size2 0. Nothing else.
    path = b"\xb1f" + b"\x0cAbC-123_xyz0" + b"\x07app.bin"
    assert encode_options(download.options()) == path + bytes.fromhex("c105" + "50")
    download.advance(download.receive(answer(IMAGE, 0, 5)))
    assert encode_options(download.options()) == path + bytes.fromhex("c115" + "50")


@given(st.integers(0, 6), st.integers(1, 3000))
def test_blocks_cover_the_file_once(szx: int, length: int) -> None:
    content = (IMAGE * 2)[: max(length, 5)]
    download = Download(URI, block_size=16 << szx, limit=100_000)
    assert run(download, content, szx) == content


def test_smaller_blocks_chosen_by_the_server_are_followed() -> None:
    download = begin()
    assert run(download, IMAGE, szx=3) == IMAGE


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", Result.INVALID_URI),
        ("f/token/app.bin", Result.INVALID_URI),
        ("coap://", Result.INVALID_URI),
        ("coap://host", Result.INVALID_URI),
        ("coap://host:99999/x", Result.INVALID_URI),
        ("ftp://host/x", Result.INVALID_URI),
        ("coap://host/" + "a" * 130, Result.INVALID_URI),
        ("https://host/x", Result.UNSUPPORTED_PROTOCOL),
        ("coaps://host/x", Result.UNSUPPORTED_PROTOCOL),
    ],
)
def test_uri_that_cannot_be_fetched_has_a_result(text: str, result: Result) -> None:
    with pytest.raises(DownloadFailed) as failed:
        parse_uri(text)
    assert failed.value.result == result


def test_port_is_the_default_one_when_left_out() -> None:
    assert parse_uri("coap://host/a/b").port == 5683 and parse_uri("coap://[::1]:7/a").host == "::1"


def failure(download: Download, message: Message) -> Result:
    with pytest.raises(DownloadFailed) as failed:
        download.receive(message)
    return failed.value.result


def test_wrong_answers_end_with_the_result_zephyr_gives() -> None:
    assert failure(begin(), Message(Type.ACK, Code.NOT_FOUND, 1)) == Result.CONNECTION_LOST
    assert failure(begin(), answer(IMAGE, 0, 5, size=100_001)) == Result.NOT_ENOUGH_FLASH
    assert failure(begin(), answer(IMAGE, 1, 5)) == Result.CONNECTION_LOST
    assert failure(begin(), answer(IMAGE, 0, 6)) == Result.CONNECTION_LOST
    short = Message(Type.ACK, Code.CONTENT, 1, b"", ((BLOCK2, encode_block(Block(0, True, 5))),), IMAGE[:100])
    assert failure(begin(), short) == Result.CONNECTION_LOST


@pytest.mark.parametrize("lie", [1, 512, len(IMAGE) - 1, len(IMAGE) + 1, 99_999])
def test_a_size_that_is_a_lie_ends_the_download_before_anything_counts_as_whole(lie: int) -> None:
    download = begin()
    while True:
        lying = answer(IMAGE, download.offset >> 9, 5, size=lie)
        if download.offset + 512 >= len(IMAGE):
            break
        download.advance(download.receive(lying))
    assert failure(download, lying) == Result.CONNECTION_LOST


def test_server_in_trouble_is_asked_again() -> None:
    for code in (Code.BAD_GATEWAY, Code.SERVICE_UNAVAILABLE, Code.GATEWAY_TIMEOUT, Code.TOO_MANY_REQUESTS):
        with pytest.raises(TryAgain):
            begin().receive(Message(Type.ACK, code, 1))


def test_download_goes_on_after_a_reboot_when_the_etag_is_the_same() -> None:
    kept = Progress("coap://192.0.2.1:5700/f/another/app.bin", 1024, len(IMAGE), "aabb")
    download = begin(progress=kept)
    assert download.offset == 1024
    piece = download.receive(answer(IMAGE, 2, 5, etag=b"\xaa\xbb"))
    assert piece.offset == 1024 and piece.data == IMAGE[1024:1536]


@pytest.mark.parametrize("message", [answer(IMAGE, 2, 5, etag=b"new"), answer(IMAGE, 2, 5), Message(Type.ACK, 132, 1)])
def test_download_of_something_else_starts_anew(message: Message) -> None:
    download = begin(progress=Progress("coap://192.0.2.1/f/other/app.bin", 1024, len(IMAGE), "aabb"))
    with pytest.raises(ContentChanged):
        download.receive(message)
    download.restart()
    assert run(download, IMAGE) == IMAGE


def test_file_of_another_size_under_the_same_address_starts_anew() -> None:
    download = begin(progress=Progress(URI.text, 1024, len(IMAGE)))
    with pytest.raises(ContentChanged):
        download.receive(answer(IMAGE + b"more", 2, 5))
    download.restart()
    assert run(download, IMAGE + b"more") == IMAGE + b"more"


@pytest.mark.parametrize(
    ("etag", "kept"), [(b"", ""), (b"e", "65"), (b"e" * 8, "65" * 8), (b"e" * 9, ""), (b"e" * 1900, "")]
)
def test_etag_of_no_lawful_length_is_as_good_as_none(etag: bytes, kept: str) -> None:
    download = begin()
    message = replace(answer(IMAGE, 0, 5), options=((ETAG, etag), *answer(IMAGE, 0, 5).options))
    download.advance(download.receive(message))
    assert download.progress(512).etag == kept


def test_file_replaced_in_the_middle_starts_anew() -> None:
    download = begin()
    download.advance(download.receive(answer(IMAGE, 0, 5, etag=b"1")))
    with pytest.raises(ContentChanged):
        download.receive(answer(IMAGE, 1, 5, etag=b"2"))


@given(st.binary(max_size=80), st.integers(0, 3))
def test_no_answer_breaks_it(noise: bytes, blocks: int) -> None:
    download = begin()
    for _ in range(blocks):
        download.advance(download.receive(answer(IMAGE, download.offset >> 9, 5)))
    try:
        message = decode(b"\x60\x45\x00\x01" + noise)
    except ValueError:
        return
    try:
        download.receive(decode(encode(message)))
    except (DownloadFailed, TryAgain, ContentChanged):
        pass

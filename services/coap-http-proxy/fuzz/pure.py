"""A target of the fuzzer: the pure rooms, that is codec, block arithmetic, both fast paths and the allow-list of URIs.

Started by run.py.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["coap_http_proxy", "coap_wire"]):
    from coap_http_proxy.blobs import blob_of
    from coap_http_proxy.fast_path import CompiledFastPath, FastPath
    from coap_http_proxy.mapping import uris
    from coap_wire import DecodeError, decode, decode_block, encode, encode_block

import httpx
from corpus import seeds, unpacked

TOKEN = "abcdefghijkl"
BASE = "http://127.0.0.1:8080/files"
BASES = uris.parse_bases(BASE)


def codec(datagram: bytes) -> None:
    """What can be decoded comes back the same, and in the shortest form, when it is encoded and decoded again."""
    try:
        message = decode(datagram)
    except DecodeError as error:
        assert 0 <= error.offset <= len(datagram)
        return
    again = encode(message)
    assert decode(again) == message
    assert len(again) <= len(datagram)


class Paths:
    """Both fast paths with one ticket each way; what one answers, the other does."""

    def __init__(self) -> None:
        self.python, self.compiled = FastPath(), CompiledFastPath()
        blob = blob_of(bytes(range(251)) * 20)
        for path in (self.python, self.compiled):
            path.admit(TOKEN, blob, path.new_progress(blob.size))

    def answer(self, datagram: bytes) -> None:
        """Ask both."""
        one, other = self.python.answer(datagram), self.compiled.answer(datagram)
        assert one == other, (datagram.hex(), one, other)


def block(value: bytes) -> None:
    """A Block option that is taken covers bytes that exist in some body, and is sent as it was understood."""
    try:
        found = decode_block(value)
    except DecodeError:
        return
    assert decode_block(encode_block(found)) == found
    assert found.offset == found.num * found.size
    assert found.size in (16, 32, 64, 128, 256, 512, 1024)


def uri(text: str) -> None:
    """A URI that is allowed leads, as the client that asks for it reads it, nowhere but below the base."""
    try:
        uris.allowed(text, BASES)
    except uris.ForbiddenUri:
        return
    try:
        read = httpx.URL(text)
    except httpx.InvalidURL:
        return
    assert (read.scheme, read.host, read.port) == ("http", "127.0.0.1", 8080), text
    assert read.userinfo == b"", text
    assert (read.path + "/").startswith("/files/") and ".." not in read.path.split("/"), text


def one(paths: Paths, data: bytes) -> None:
    """One input, for each of the four; what tells URIs apart stands behind the base, or in its place."""
    for datagram in (data, *unpacked(data)[1]):
        codec(datagram)
        paths.answer(datagram)
    block(data[:4])
    text = data.decode("utf-8", "surrogateescape")
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    for candidate in (text, BASE + text, BASE[: len(data) % len(BASE)] + text):
        uri(candidate)


def main() -> None:
    """Write the seeds, then let the fuzzer work; never returns."""
    corpus = Path(sys.argv[-1])
    written = [*seeds(TOKEN, BASE + "/"), BASE.encode(), b"/../a", b"/%2e%2e/a", b"@evil/", b"/a;..%5cb?c#d"]
    for number, seed in enumerate(written):
        (corpus / f"seed-{number:03}").write_bytes(seed)
    paths = Paths()
    atheris.Setup(sys.argv, lambda data: one(paths, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()

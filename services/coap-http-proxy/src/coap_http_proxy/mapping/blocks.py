"""One block of an answer, whatever the answer is: ETag, Content-Format, Max-Age, Block2 and Size2 around a slice of it.

Nothing is kept between blocks: any offset can be asked for at any time, in any block size (RFC 7959 section 2.4).
"""

from typing import Protocol

from coap_http_proxy.mapping.requests import fitting
from coap_wire import Block, Code, Message, Options, Type, encode_block, encode_uint
from coap_wire import options as option


class Bytes(Protocol):
    """Something to cut slices of."""

    def __getitem__(self, where: slice, /) -> bytes: ...


class Sliceable(Protocol):
    """An answer, whole: `etag` is empty when there is none, `content_format` None when it has no number."""

    @property
    def etag(self) -> bytes: ...
    @property
    def content_format(self) -> int | None: ...
    @property
    def size(self) -> int: ...
    @property
    def data(self) -> Bytes: ...


def sliced(
    request: Message,
    whole: Sliceable,
    block: Block,
    code: int = Code.CONTENT,
    max_age: int | None = None,
    more: Options = (),
) -> Message:
    """The answer with the block asked for, or 2.03 when the client's ETag still holds; raises Refusal past the end.

    `max_age` in seconds, None: not said, which is 60 (RFC 7252 section 5.10.5). `more` are further options.
    """
    options: list[tuple[int, bytes]] = [] if max_age is None else [(option.MAX_AGE, encode_uint(max_age))]
    if whole.etag:
        options.append((option.ETAG, whole.etag))
    if code == Code.CONTENT and whole.etag and whole.etag in request.options_of(option.ETAG):
        return Message(Type.ACK, Code.VALID, 0, options=tuple(sorted(options)))
    send = fitting(block, whole.size)
    options += more
    if whole.content_format is not None and (whole.size or code == Code.CONTENT):
        options.append((option.CONTENT_FORMAT, encode_uint(whole.content_format)))
    if whole.size > send.size or request.option(option.BLOCK2) is not None:
        options.append((option.BLOCK2, encode_block(send)))
    if whole.size or code == Code.CONTENT:
        options.append((option.SIZE2, encode_uint(whole.size)))
    payload = bytes(whole.data[send.offset : send.offset + send.size])
    return Message(Type.ACK, code, 0, options=tuple(sorted(options, key=lambda pair: pair[0])), payload=payload)

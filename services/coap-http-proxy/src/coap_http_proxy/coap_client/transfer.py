"""Bodies of any size in blocks of a few bytes (RFC 7959): Block1 for the request, Block2 for the response.

The response is handed on block by block as it arrives, so a large one costs no memory. Both directions are bounded.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Final

from coap_http_proxy.coap_client.exchange import BadAnswer
from coap_http_proxy.spool import Body
from coap_wire import Block, Code, DecodeError, Message, decode_block, encode_block, encode_uint, is_success
from coap_wire import options as option

Ask = Callable[[Message], Awaitable[Message]]

LARGEST_SZX: Final = 6


class Changed(BadAnswer):
    """The blocks are of two representations: worth beginning anew."""


async def send(ask: Ask, request: Message, body: Body) -> Message:
    """Send `request` with its body; returns the first response that is no 2.31. Raises BadAnswer, NoAnswer."""
    szx = LARGEST_SZX
    if len(body) <= 16 << szx:
        response = await ask(replace(request, payload=bytes(body)))
        smaller = _asked_for_smaller(response, szx)
        if smaller is None or len(body) <= 16 << smaller:
            return response
        szx = smaller
    offset, begun_anew = 0, False
    while True:
        end = offset + (16 << szx)
        block = Block(offset >> (szx + 4), end < len(body), szx)
        response = await ask(_with_block1(request, block, bytes(body[offset:end]), len(body)))
        answered = _block(response, option.BLOCK1)
        if response.code == Code.REQUEST_ENTITY_TOO_LARGE and offset == 0:
            smaller = _asked_for_smaller(response, szx)
            if smaller is None:
                return response
            szx = smaller
            continue
        if response.code == Code.BAD_OPTION and offset == 0:
            # RFC 8075 section 8.3: a server that knows no blocks; then the body is too large for it.
            return replace(response, code=Code.REQUEST_ENTITY_TOO_LARGE)
        if response.code == Code.REQUEST_ENTITY_INCOMPLETE and offset and not begun_anew:
            # RFC 7959 section 2.9.2: it forgot what it had, after a reboot for example.
            offset, begun_anew = 0, True
            continue
        if response.code != Code.CONTINUE:
            if block.more and is_success(response.code):
                # It would be an answer to a part of the request (RFC 7959 section 2.3: 2.31 while more follows).
                raise BadAnswer("the server took a part of the request for the whole")
            return response
        if not block.more:
            raise BadAnswer("the server waits for more than there is")
        offset = end
        # RFC 7959 section 2.3: the server may want smaller blocks from here on; numbers count in the new size.
        if answered is not None and answered.szx < szx:
            szx = answered.szx


def _asked_for_smaller(response: Message, szx: int) -> int | None:
    """The block size exponent a 4.13 hints at (RFC 7959 section 2.9.3), None when it does not or is no smaller."""
    hint = _block(response, option.BLOCK1)
    if response.code != Code.REQUEST_ENTITY_TOO_LARGE or hint is None or hint.szx >= szx:
        return None
    return hint.szx


def _with_block1(request: Message, block: Block, payload: bytes, size: int) -> Message:
    options = (*request.options, (option.BLOCK1, encode_block(block)))
    if block.num == 0:
        options += ((option.SIZE1, encode_uint(size)),)
    else:
        # RFC 7959 section 2.10: the first block made what must not have been there.
        options = tuple(pair for pair in options if pair[0] != option.IF_NONE_MATCH)
    return replace(request, options=options, payload=payload)


async def receive(ask: Ask, request: Message, first: Message, max_bytes: int) -> AsyncIterator[bytes]:
    """Payload of `first` and of all blocks after it; raises BadAnswer when they do not fit together or are too many."""
    payload, response, offset, num, szx = first.payload, first, 0, 0, LARGEST_SZX
    asking = replace(request, options=tuple(pair for pair in request.options if pair[0] != option.ETAG), payload=b"")
    while True:
        block = _block(response, option.BLOCK2)
        offset += len(payload)
        if offset > max_bytes:
            raise BadAnswer(f"the response is over {max_bytes} bytes")
        if block is None:
            if num:
                raise BadAnswer("a block without its number")
            yield payload
            return
        if block.offset != offset - len(payload) or block.szx > szx:
            raise BadAnswer(f"block {block.num} of {block.size} bytes is not the one asked for")
        if block.more and len(payload) != block.size:
            raise BadAnswer(f"block {block.num} has {len(payload)} bytes in place of {block.size}")
        yield payload
        if not block.more:
            return
        szx = block.szx
        num = offset >> (szx + 4)
        wanted = Block(num, False, szx)
        response = await ask(replace(asking, options=(*asking.options, (option.BLOCK2, encode_block(wanted)))))
        if response.code != first.code:
            raise BadAnswer(f"block {num} is answered {response.code >> 5}.{response.code & 31:02d}")
        if response.option(option.ETAG) != first.option(option.ETAG):
            # RFC 7959 section 2.4: blocks of two representations never make one body.
            raise Changed("the representation changed while it was fetched")
        payload = response.payload


def more_follow(response: Message) -> bool:
    """Whether the response is the first of several blocks; raises BadAnswer."""
    block = _block(response, option.BLOCK2)
    return block is not None and block.more


def announced_bytes(response: Message) -> int | None:
    """Size2 of a response, bytes: what its sender says of the whole."""
    return response.uint(option.SIZE2)


def _block(message: Message, number: int) -> Block | None:
    value = message.option(number)
    if value is None:
        return None
    try:
        return decode_block(value)
    except DecodeError as error:
        raise BadAnswer(f"the block option makes no sense: {error.reason}") from error

"""Answers for an address that may be forged: never longer than three times the request (RFC 7252 11.3, RFC 9175 2.4).

A representation comes in smaller blocks then, down to 16 bytes, with an Echo: who sends that back gets large ones. Who
knows no Echo gets everything too, slowly. What cannot be made small enough is answered by 4.01 with an Echo.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from coap_wire import MAX_NUM, Block, Code, Message, Options, Type, decode_block, encode, encode_block, is_success
from coap_wire import options as option

FACTOR: Final = 3
# Before a separate response goes an empty acknowledgement: header without token.
EMPTY_ACK_BYTES: Final = 4
# Header, Block2 of one byte, payload marker and 16 bytes: the least that carries a piece of a representation.
_LEAST_BLOCK_BYTES: Final = 4 + 2 + 1 + 16


def budget(request: Message) -> int:
    """Bytes that may be sent for it, its empty acknowledgement not counted."""
    acknowledged = EMPTY_ACK_BYTES if request.type == Type.CON else 0
    return FACTOR * len(encode(request)) - acknowledged


def hopeless(request: Message) -> bool:
    """True when no piece of a representation fits, or it must not be carried out for nothing: ask who it is first.

    So is a body in blocks, also that of a FETCH: each one that was begun has a place of which there are few.
    """
    if request.code not in (Code.GET, Code.FETCH) or request.option(option.BLOCK1) is not None:
        return True
    return budget(request) < _LEAST_BLOCK_BYTES + len(request.token)


def challenge(request: Message, echo: bytes) -> Message:
    """4.01 with an Echo (RFC 9175 section 2.3) and not to be cached; as much of that as fits."""
    bare = Message(Type.NON, Code.UNAUTHORIZED, 0)
    for options in (((option.MAX_AGE, b""), (option.ECHO, echo)), ((option.ECHO, echo),)):
        answer = replace(bare, options=options)
        if _fits(answer, request):
            return answer
    return bare


def fitted(answer: Message, request: Message, echo: bytes) -> Message:
    """The answer as it may go to an address that may be forged: of type NON, which is sent once and not repeated."""
    candidates = _smaller(answer, echo) if is_success(answer.code) else _shorter(answer, request)
    for candidate in candidates:
        if _fits(candidate, request):
            return replace(candidate, type=Type.NON)
    return challenge(request, echo)


def _fits(answer: Message, request: Message) -> bool:
    return len(encode(replace(answer, token=request.token))) <= budget(request)


def _shorter(answer: Message, request: Message) -> Iterator[Message]:
    """An error as it is, then with less of its diagnostic, then without options too."""
    yield answer
    room = budget(request) - len(encode(replace(answer, token=request.token, payload=b""))) - 1
    if room > 0:
        yield replace(answer, payload=answer.payload[:room].decode(errors="ignore").encode())
    yield replace(answer, payload=b"")
    yield replace(answer, options=(), payload=b"")


def _smaller(answer: Message, echo: bytes) -> Iterator[Message]:
    """A success as it is, then its block in ever smaller pieces with an Echo, and the smallest without."""
    yield answer
    if answer.code != Code.CONTENT:
        return
    value = answer.option(option.BLOCK2)
    block = Block(0, False, 6) if value is None else decode_block(value)
    sizes = [szx for szx in range(block.szx, -1, -1) if block.num << (block.szx - szx) <= MAX_NUM]
    for szx in sizes:
        yield _piece(answer, block, szx, ((option.ECHO, echo),))
    if 0 in sizes:
        yield _piece(answer, block, 0, ())


def _piece(answer: Message, block: Block, szx: int, more_options: Options) -> Message:
    """The first `16 << szx` bytes of the answer's block, as a block of that size (RFC 7959 section 2.4)."""
    size = 16 << szx
    piece = Block(block.num << (block.szx - szx), block.more or len(answer.payload) > size, szx)
    kept = [(number, value) for number, value in answer.options if number != option.BLOCK2]
    options = sorted((*kept, (option.BLOCK2, encode_block(piece)), *more_options))
    return replace(answer, options=tuple(options), payload=answer.payload[:size])

"""A server's request decided: the reply, and what is to happen because of it (OMA Core 1.1, 6.3 and 6.4; pure).

GET  Accept 40      Discover            PUT  resource, instance     Write (replace)
GET                 Read                POST instance               Write (partial)
GET  Observe 0 / 1  Observe / cancel    POST resource               Execute
PUT  ?pmin=..       Write-Attributes    everything else             4.05
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from coap_wire import Block, Code, DecodeError, Message, decode_block, encode_block, encode_uint, is_critical
from coap_wire.options import (
    ACCEPT,
    BLOCK1,
    BLOCK2,
    CONTENT_FORMAT,
    OBSERVE,
    URI_HOST,
    URI_PATH,
    URI_PORT,
    URI_QUERY,
)
from lwm2m import content
from lwm2m.errors import DecodeError as ContentError
from lwm2m.firmware import PACKAGE
from lwm2m.paths import Path, parse
from lwm2m.senml import Value
from softdevice import representations
from softdevice.reply import Reply
from softdevice.resources import SECURITY, Resources

_UNDERSTOOD: Final = {URI_HOST, URI_PORT, URI_PATH, URI_QUERY, CONTENT_FORMAT, ACCEPT, OBSERVE, BLOCK1, BLOCK2}
_ATTRIBUTES: Final = frozenset({"pmin", "pmax", "gt", "lt", "st", "epmin", "epmax", "con"})
_MAX_READ_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class Write:
    """A value arrived for a writable resource."""

    path: Path
    value: Value


@dataclass(frozen=True, slots=True)
class Execute:
    """An executable resource is to run."""

    path: Path


@dataclass(frozen=True, slots=True)
class Observe:
    """A path is to be observed with this token; notifications keep the content format."""

    path: Path
    token: bytes
    content_format: int


@dataclass(frozen=True, slots=True)
class CancelObserve:
    """The observation of a path ends."""

    path: Path


Effect = Write | Execute | Observe | CancelObserve
# Looks at a Write or Execute beforehand: the code to refuse it with, or None.
Guard = Callable[[Write | Execute], int | None]
# Takes a PUT to Package (5/0/0), one block or all of it, and answers.
Pusher = Callable[[Message], Reply]


@dataclass(frozen=True, slots=True)
class Decision:
    """Send the reply, then do the effects in order."""

    reply: Reply
    effects: tuple[Effect, ...] = ()


class _Refused(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def decide(request: Message, resources: Resources, guard: Guard, push: Pusher) -> Decision:
    """What to answer and do; never raises."""
    try:
        return _decide(request, resources, guard, push)
    except _Refused as refused:
        return Decision(Reply(refused.code))
    except (DecodeError, ContentError, UnicodeEncodeError):
        # The last one: JSON can spell half a surrogate pair, which is no text.
        return Decision(Reply(Code.BAD_REQUEST))


def _decide(request: Message, resources: Resources, guard: Guard, push: Pusher) -> Decision:
    if any(is_critical(number) and number not in _UNDERSTOOD for number, _ in request.options):
        raise _Refused(Code.BAD_OPTION)
    path = _path(request)
    if path.object_id == SECURITY:
        raise _Refused(Code.UNAUTHORIZED)
    if not path.ids:
        raise _Refused(Code.METHOD_NOT_ALLOWED)
    if not resources.exists(path):
        raise _Refused(Code.NOT_FOUND)
    match request.code:
        case Code.GET:
            return _get(request, path, resources)
        case Code.PUT if request.uri_query and not request.payload:
            return _attributes(request)
        case Code.PUT if path == PACKAGE:
            return Decision(push(request))
        case Code.PUT:
            return _write(request, path, resources, guard)
        case Code.POST if len(path.ids) == 2:
            return _write(request, path, resources, guard)
        case Code.POST if len(path.ids) == 3:
            return _execute(path, resources, guard)
        case _:
            raise _Refused(Code.METHOD_NOT_ALLOWED)


def _path(request: Message) -> Path:
    try:
        return parse("/" + "/".join(request.uri_path))
    except ContentError as error:
        raise _Refused(Code.NOT_FOUND) from error


def _get(request: Message, path: Path, resources: Resources) -> Decision:
    accept = request.uint(ACCEPT)
    if accept == representations.LINK:
        links = representations.discover(path, resources.model).encode()
        return Decision(_content(request, links, representations.LINK))
    content_format = representations.answer_format(path, resources.read(path), accept, resources.profile)
    reply = read(path, resources, content_format)
    observe = request.uint(OBSERVE)
    effects: tuple[Effect, ...] = ()
    if reply.code == Code.CONTENT:
        reply = _content(request, reply.payload, content_format)
        if observe == 0:
            effects = (Observe(path, request.token, content_format),)
        elif observe == 1:
            effects = (CancelObserve(path),)
    return Decision(reply, effects)


def read(path: Path, resources: Resources, content_format: int) -> Reply:
    """A Read without its CoAP niceties; what a notification carries too."""
    values = resources.read(path)
    if not values:
        # An existing resource that cannot be read, or an instance of a multiple one that is not there.
        return Reply(Code.NOT_FOUND if len(path.ids) == 4 else Code.METHOD_NOT_ALLOWED)
    try:
        if content_format not in resources.profile.reads:
            raise representations.NotRepresentable
        payload = representations.encode(path, values, content_format)
    except representations.NotRepresentable:
        return Reply(resources.profile.not_acceptable)
    return Reply(Code.CONTENT, payload, ((CONTENT_FORMAT, encode_uint(content_format)),))


def _content(request: Message, payload: bytes, content_format: int) -> Reply:
    options: list[tuple[int, bytes]] = [(CONTENT_FORMAT, encode_uint(content_format))]
    raw = request.option(BLOCK2)
    if raw is not None or len(payload) > _MAX_READ_BYTES:
        wanted = decode_block(raw) if raw is not None else Block(0, False, 6)
        if wanted.offset >= len(payload) and wanted.num:
            raise _Refused(Code.BAD_REQUEST)
        end = wanted.offset + wanted.size
        options.append((BLOCK2, encode_block(Block(wanted.num, end < len(payload), wanted.szx))))
        payload = payload[wanted.offset : end]
    return Reply(Code.CONTENT, payload, tuple(options))


def _attributes(request: Message) -> Decision:
    names = {item.partition("=")[0] for item in request.uri_query}
    return Decision(Reply(Code.CHANGED if names <= _ATTRIBUTES else Code.BAD_REQUEST))


def _write(request: Message, path: Path, resources: Resources, guard: Guard) -> Decision:
    content_format = request.uint(CONTENT_FORMAT)
    if content_format is not None and content_format not in resources.profile.writes:
        raise _Refused(Code.UNSUPPORTED_CONTENT_FORMAT)
    if len(path.ids) == 1 or len(path.ids) == 4 or "W" not in (resources.operations(path) or "W"):
        raise _Refused(Code.METHOD_NOT_ALLOWED)
    if request.option(BLOCK1) is not None:
        raise _Refused(Code.REQUEST_ENTITY_TOO_LARGE)
    writes: list[Effect] = []
    for target, value in content.decode(path, request.payload, content_format).items():
        resource = Path.of(target.ids[:3])
        if not path.covers(target) or len(target.ids) < 3:
            raise _Refused(Code.BAD_REQUEST)
        allowed = resources.operations(resource)
        if allowed is None:
            raise _Refused(Code.NOT_FOUND)
        if "W" not in allowed or resource == PACKAGE:
            raise _Refused(Code.METHOD_NOT_ALLOWED)
        writes.append(_allowed(guard, Write(resource, value)))
    if not writes:
        raise _Refused(Code.BAD_REQUEST)
    return Decision(Reply(Code.CHANGED), tuple(writes))


def _execute(path: Path, resources: Resources, guard: Guard) -> Decision:
    if resources.operations(path) != "E":
        raise _Refused(Code.METHOD_NOT_ALLOWED)
    return Decision(Reply(Code.CHANGED), (_allowed(guard, Execute(path)),))


def _allowed(guard: Guard, effect: Write | Execute) -> Effect:
    refusal = guard(effect)
    if refusal is not None:
        raise _Refused(refusal)
    return effect

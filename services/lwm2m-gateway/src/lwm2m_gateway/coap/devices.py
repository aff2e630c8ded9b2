"""Requests to devices: Read, Write, Execute, Observe, decoded; one at a time per device is the caller's business."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiocoap
from aiocoap import error as coap_error

from lwm2m import content
from lwm2m.content import Value
from lwm2m.errors import DecodeError
from lwm2m.paths import Path, parse
from lwm2m_gateway.coap.face import Face
from lwm2m_gateway.sessions.registrations import Registration

logger = logging.getLogger(__name__)

Values = dict[Path, Value]

_PREFERRED = (112, 110, 11542, 11543)


class NoAnswer(Exception):
    """The device did not answer in time or cannot be reached."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A code as `c.dd`, whether it is a success, and decoded values of a Read."""

    code: str
    ok: bool
    values: Values


class Devices:
    """Speaks to devices through the server's own socket, so that NATs let it through."""

    def __init__(self, face: Face, timeout_seconds: float, awake_seconds: float) -> None:
        self._face = face
        self._context = face.context
        self._timeout = timeout_seconds
        self._awake = awake_seconds

    def _patience(self, registration: Registration) -> float:
        """Seconds to wait for an answer: a sleeper is not to hear retransmissions after its window has closed."""
        patience = min(self._timeout, registration.listens_for(time.time(), self._awake))
        if patience <= 0:
            raise NoAnswer("the device sleeps")
        return patience

    def _gave_up(self, registration: Registration) -> None:
        if not registration.awake(time.time(), self._awake):
            self._face.silence(registration.address)

    async def _request(self, registration: Registration, path: Path, message: aiocoap.Message) -> aiocoap.Message:
        patience = self._patience(registration)
        message.set_request_uri(uri_of(registration, path))
        try:
            async with asyncio.timeout(patience):
                return await self._context.request(message).response
        except (TimeoutError, coap_error.Error, OSError) as error:
            self._gave_up(registration)
            raise NoAnswer(f"{path}: {type(error).__name__}") from error

    async def read(self, registration: Registration, path: Path) -> Answer:
        """Read a path; asks for the best format the device listed, then for none. Raises NoAnswer."""
        accepted = next((number for number in _PREFERRED if number in registration.formats), None)
        attempts = (accepted, None) if accepted is not None and len(path.ids) < 3 else (None,)
        answer = Answer("0.00", False, {})
        for accept in attempts:
            message = aiocoap.Message(code=aiocoap.GET, **({} if accept is None else {"accept": accept}))
            answer = decoded(path, await self._request(registration, path, message))
            if answer.ok or answer.code not in ("4.06", "5.00", "4.00", "4.15"):
                break
        return answer

    async def write_text(self, registration: Registration, path: Path, text: str) -> Answer:
        """Write one resource as plain text, which every version must take. Raises NoAnswer."""
        message = aiocoap.Message(code=aiocoap.PUT, payload=text.encode(), content_format=0)
        return decoded(path, await self._request(registration, path, message))

    async def execute(self, registration: Registration, path: Path) -> Answer:
        """Execute without arguments (Wakaama's example refuses a payload). Raises NoAnswer."""
        return decoded(path, await self._request(registration, path, aiocoap.Message(code=aiocoap.POST)))

    async def observe(self, registration: Registration, path: Path, notify: Callable[[Values], None]) -> None:
        """Observe until cancelled or the device ends it; every value, the first included, goes to `notify`."""
        try:
            patience = self._patience(registration)
        except NoAnswer:
            return
        message = aiocoap.Message(code=aiocoap.GET, observe=0)
        message.set_request_uri(uri_of(registration, path))
        request = self._context.request(message)
        try:
            # Not wait_for: in Python 3.11 it forgets a cancellation that comes together with the answer.
            async with asyncio.timeout(patience):
                first = decoded(path, await request.response)
            if not first.ok:
                logger.debug("not observable", extra={"endpoint": registration.endpoint, "path": str(path)})
                return
            notify(first.values)
            if request.observation is None:
                return
            async for response in request.observation:
                notify(decoded(path, response).values)
        except (TimeoutError, coap_error.Error, OSError) as error:
            self._gave_up(registration)
            logger.debug("observation ended: %s", type(error).__name__, extra={"endpoint": registration.endpoint})
        finally:
            if request.observation is not None and not request.observation.cancelled:
                request.observation.cancel()


def uri_of(registration: Registration, path: Path) -> str:
    """Absolute URI of a path on a device, below its alternate root."""
    return f"coap://{registration.address}{registration.root}{path}"


def decoded(path: Path, message: aiocoap.Message) -> Answer:
    """An answer with its values; content that cannot be decoded is shown as a failure with the reason in `code`."""
    code, ok = message.code.dotted, message.code.is_successful()
    if not ok or not message.payload:
        return Answer(code, ok, {})
    try:
        return Answer(code, ok, content.decode(path, message.payload, message.opt.content_format))
    except DecodeError as error:
        return Answer(f"{code} ({error.reason})", False, {})


def observed_paths(text: str) -> tuple[Path, ...]:
    """Paths of the setting `observe`; raises DecodeError."""
    return tuple(parse(part.strip()) for part in text.split(",") if part.strip())

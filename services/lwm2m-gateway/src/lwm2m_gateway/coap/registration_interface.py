"""`/rd`: Register, Update, De-register over aiocoap; what the words mean is decided in lwm2m.registration."""

import logging
from typing import Final, Protocol

import aiocoap
from aiocoap import resource

from lwm2m import links, registration
from lwm2m.errors import DecodeError
from lwm2m_gateway.coap.face import Face, open_face
from lwm2m_gateway.sessions.registrations import HouseFull

logger = logging.getLogger(__name__)

# Object lists that arrive in blocks just now; each may grow to links.MAX_BYTES.
MAX_ASSEMBLIES: Final = 256


class Desk(Protocol):
    """Who takes registrations; all answer at once and do their work later."""

    def register(self, register: registration.Register, address: str) -> str:
        """Take a device in; returns the registration id. Raises HouseFull."""

    def update(self, identifier: str, update: registration.Update, address: str) -> bool:
        """Note an Update; False when the id is unknown."""

    def deregister(self, identifier: str) -> bool:
        """Let a device go; False when the id is unknown."""


class RegistrationInterface(resource.Resource):  # type: ignore[misc]
    """Resource `rd` itself."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk

    async def needs_blockwise_assembly(self, request: aiocoap.Message) -> bool:
        """Whether the library puts the blocks of a body together; not of one that grows too large."""
        return self._refusal(request) is None

    def _refusal(self, request: aiocoap.Message) -> aiocoap.Message | None:
        block = request.opt.block1
        if block is None:
            return None
        if block.start + len(request.payload) > links.MAX_BYTES:
            return _refused(aiocoap.REQUEST_ENTITY_TOO_LARGE, f"at most {links.MAX_BYTES} bytes of links")
        if block.block_number == 0 and len(self._block1._assemblies._items) >= MAX_ASSEMBLIES:
            return _refused(aiocoap.SERVICE_UNAVAILABLE, "too many object lists at once, try again")
        return None

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        """Register (`/rd`) or Update (`/rd/ID`)."""
        path, address = request.opt.uri_path, request.remote.hostinfo
        if len(request.payload) <= 1024 and (refusal := self._refusal(request)) is not None:
            return refusal
        try:
            if len(path) == 0:
                if request.opt.content_format not in (None, 40):
                    return _refused(aiocoap.UNSUPPORTED_CONTENT_FORMAT, "a Register carries link format (40)")
                asked = registration.decode_register(request.opt.uri_query, request.payload)
                identifier = self._desk.register(asked, address)
                return aiocoap.Message(code=aiocoap.CREATED, location_path=("rd", identifier))
            if len(path) == 1:
                update = registration.decode_update(request.opt.uri_query, request.payload)
                known = self._desk.update(path[0], update, address)
                return aiocoap.Message(code=aiocoap.CHANGED if known else aiocoap.NOT_FOUND)
        except HouseFull:
            return _refused(aiocoap.SERVICE_UNAVAILABLE, "no more devices can be taken in")
        except registration.UnsupportedVersion as error:
            return _refused(aiocoap.PRECONDITION_FAILED, error.reason)
        except DecodeError as error:
            logger.info("a registration was refused: %s", error, extra={"address": address})
            return _refused(aiocoap.BAD_REQUEST, str(error))
        return _refused(aiocoap.BAD_REQUEST, "Register at /rd, Update at /rd/ID")

    async def render_delete(self, request: aiocoap.Message) -> aiocoap.Message:
        """De-register."""
        path = request.opt.uri_path
        if len(path) != 1:
            return _refused(aiocoap.BAD_REQUEST, "De-register at /rd/ID")
        return aiocoap.Message(code=aiocoap.DELETED if self._desk.deregister(path[0]) else aiocoap.NOT_FOUND)


class BelowRegistrationInterface(RegistrationInterface, resource.PathCapable):  # type: ignore[misc]
    """Everything below `rd`: aiocoap asks a path-capable resource only about longer paths."""


def _refused(code: aiocoap.Code, diagnostic: str) -> aiocoap.Message:
    # Small: a forged sender address must not be worth forging.
    return aiocoap.Message(code=code, payload=diagnostic.encode()[:96].decode(errors="ignore").encode())


async def serve(desk: Desk, host: str, port: int) -> Face:
    """Bind the LwM2M face."""
    site = resource.Site()
    site.add_resource(["rd"], RegistrationInterface(desk))
    site.add_resource(["rd"], BelowRegistrationInterface(desk))
    return await open_face(site, host, port)

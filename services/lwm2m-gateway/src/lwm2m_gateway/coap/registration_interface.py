"""`/rd`: Register, Update, De-register over aiocoap; what the words mean is decided in lwm2m.registration."""

import logging
from typing import Protocol

import aiocoap
from aiocoap import resource

from lwm2m import registration
from lwm2m.errors import DecodeError

logger = logging.getLogger(__name__)


class Desk(Protocol):
    """Who takes registrations; all answer at once and do their work later."""

    def register(self, register: registration.Register, address: str) -> str:
        """Take a device in; returns the registration id."""

    def update(self, identifier: str, update: registration.Update, address: str) -> bool:
        """Note an Update; False when the id is unknown."""

    def deregister(self, identifier: str) -> bool:
        """Let a device go; False when the id is unknown."""


class RegistrationInterface(resource.Resource):  # type: ignore[misc]
    """Resource `rd` itself."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        """Register (`/rd`) or Update (`/rd/ID`)."""
        path, address = request.opt.uri_path, request.remote.hostinfo
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
    return aiocoap.Message(code=code, payload=diagnostic.encode()[:120])


async def serve(desk: Desk, host: str, port: int) -> aiocoap.Context:
    """Bind the LwM2M face; the returned context also carries requests to devices, from the same port."""
    site = resource.Site()
    site.add_resource(["rd"], RegistrationInterface(desk))
    site.add_resource(["rd"], BelowRegistrationInterface(desk))
    return await aiocoap.Context.create_server_context(site, bind=(host, port))

"""Keeps a device registered: Register, Update before expiry, register anew when the server has forgotten it.

POST /rd?lwm2m=1.1&ep=NAME&lt=SECONDS&b=U[&Q]   body: links       -> 2.01, Location-Path
POST LOCATION[?lt=SECONDS when it has changed]   nothing           -> 2.04; anything else: Register
DELETE LOCATION                                  nothing           -> 2.02
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from coap_wire import Code, dotted, encode_uint
from coap_wire.options import CONTENT_FORMAT, LOCATION_PATH, URI_PATH, URI_QUERY
from softdevice import representations
from softdevice.coap_endpoint import Address, CoapEndpoint, Unanswered, WasReset
from softdevice.options import DeviceOptions

_LOGGER = logging.getLogger("softdevice")
# Zephyr sends its Update 6 s before the lifetime ends (LWM2M_UPDATE_PERIOD and seconds-early default).
_EARLY_SECONDS = 6.0
_MAX_PAUSE_SECONDS = 60.0


class Registration:
    """The registration loop of one boot of one device."""

    def __init__(
        self,
        name: str,
        endpoint: CoapEndpoint,
        find_server: Callable[[], Awaitable[Address]],
        options: DeviceOptions,
        *,
        registering: Callable[[], None],
        registered: Callable[[], None],
    ) -> None:
        self._name = name
        self._endpoint = endpoint
        self._find_server = find_server
        self._server: Address = ("", 0)  # of the registration; found anew for each, see _register
        self._options = options
        self._registering = registering
        self._registered = registered
        self._lifetime = options.lifetime_seconds
        self._location: tuple[bytes, ...] | None = None
        self._lifetime_changed = False
        self._wake = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None

    @property
    def is_registered(self) -> bool:
        """Whether the server's last word was a yes."""
        return self._location is not None

    def update_now(self) -> None:
        """Registration Update Trigger (1/0/8), or something the server should hear of."""
        self._wake.set()

    def set_lifetime(self, seconds: int) -> None:
        """Lifetime (1/0/1) was written: an Update carries it to the server at once."""
        self._lifetime = max(1, min(seconds, 0xFFFFFFFF))
        self._lifetime_changed = True
        self._wake.set()

    async def run(self) -> None:
        """Stay registered until cancelled."""
        self._loop_task = asyncio.current_task()
        pause = self._options.retry_seconds
        while True:
            try:
                if self._location is None:
                    await self._register()
                    pause = self._options.retry_seconds
                await self._sleep()
                await self._update()
            except (Unanswered, WasReset, _Refused) as error:
                self._location = None
                wait = pause * random.uniform(0.5, 1.5)
                self._log(f"not registered: {error}; next try in {wait:.1f} s", logging.WARNING)
                await asyncio.sleep(wait)
                pause = min(pause * 2, _MAX_PAUSE_SECONDS)

    async def deregister(self, within_seconds: float = 3.0) -> None:
        """Say goodbye, once, without insisting."""
        if self._loop_task is not None:
            self._loop_task.cancel()
        if self._location is None:
            return
        path = tuple((URI_PATH, segment) for segment in self._location)
        self._location = None
        try:
            await self._endpoint.request(self._server, Code.DELETE, path, within_seconds=within_seconds)
            self._log("de-registered")
        except (Unanswered, WasReset):
            self._log("left without an answer to the de-registration", logging.WARNING)

    async def _register(self) -> None:
        # A server that moved is found under its name: Zephyr's lwm2m_engine_start resolves it anew, too.
        self._server = await self._find_server()
        self._registering()
        query = ["lwm2m=1.1", f"ep={self._name}", f"lt={self._lifetime}", "b=U"]
        if self._options.queue_mode:
            query.append("Q")
        options = (
            (URI_PATH, b"rd"),
            (CONTENT_FORMAT, encode_uint(representations.LINK)),
            *((URI_QUERY, item.encode()) for item in query),
        )
        body = representations.registration_links().encode()
        answer = await self._endpoint.request(self._server, Code.POST, options, body)
        location = answer.options_of(LOCATION_PATH)
        if answer.code != Code.CREATED or not location or len(location) > 4:
            raise _Refused(f"Register was answered {dotted(answer.code)}")
        self._location = location
        self._log("registered")
        self._registered()

    async def _sleep(self) -> None:
        period = max(self._lifetime - _EARLY_SECONDS, self._lifetime / 2)
        if self._options.queue_mode:
            period = min(period, self._options.wake_seconds)
        try:
            async with asyncio.timeout(period):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _update(self) -> None:
        assert self._location is not None
        path = tuple((URI_PATH, segment) for segment in self._location)
        # Zephyr names only what has changed.
        query = ((URI_QUERY, f"lt={self._lifetime}".encode()),) if self._lifetime_changed else ()
        answer = await self._endpoint.request(self._server, Code.POST, (*path, *query))
        self._lifetime_changed = False
        if answer.code != Code.CHANGED:
            # Zephyr registers anew for any code but 2.04; 4.04 is the usual one, after a restart of the server.
            self._location = None
            self._log(f"Update was answered {dotted(answer.code)}, registering anew")

    def _log(self, text: str, level: int = logging.INFO) -> None:
        _LOGGER.log(level, text, extra={"endpoint": self._name})


class _Refused(Exception):
    pass

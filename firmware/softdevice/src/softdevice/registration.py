"""Keeps a device registered: Register, Update before expiry, register anew when the server has forgotten it.

POST /rd?lwm2m=1.1&ep=NAME&lt=SECONDS[&b=U][&Q]  body: links       -> 2.01, Location-Path; 4.12: an older version
POST LOCATION[?lt=SECONDS]                       nothing           -> 2.04; anything else: Register
DELETE LOCATION                                  nothing           -> 2.02

What is said in which order, and how early an Update goes out, is the profile's.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from coap_wire import Code, Message, Options, dotted, encode_uint, is_success
from coap_wire.options import CONTENT_FORMAT, LOCATION_PATH, URI_PATH, URI_QUERY
from softdevice import representations
from softdevice.coap_endpoint import Address, CoapEndpoint, Unanswered, WasReset
from softdevice.options import DeviceOptions
from softdevice.tally import Tally

_LOGGER = logging.getLogger("softdevice")
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
        links: bytes,
        dice: random.Random,
        tally: Tally,
        registering: Callable[[], None],
        registered: Callable[[], None],
    ) -> None:
        self._name = name
        self._endpoint = endpoint
        self._find_server = find_server
        self._server: Address = ("", 0)  # of the registration; found anew for each, see _register
        self._options = options
        self._profile = options.profile
        self._links = links
        self._versions = list(options.profile.versions)
        self._dice = dice
        self._tally = tally
        self._registering = registering
        self._registered = registered
        self._lifetime = options.lifetime_seconds
        self._location: tuple[bytes, ...] | None = None
        self._lifetime_changed = False
        # Not an Event: its queue takes 700 bytes of each device.
        self._woken = False
        self._nap: asyncio.Future[None] | None = None
        self._loop_task: asyncio.Task[None] | None = None

    @property
    def is_registered(self) -> bool:
        """Whether the server's last word was a yes."""
        return self._location is not None

    def update_now(self) -> None:
        """Registration Update Trigger (1/0/8), or something the server should hear of."""
        self._wake()

    def set_lifetime(self, seconds: int) -> None:
        """Lifetime (1/0/1) was written: an Update carries it to the server at once."""
        self._lifetime = max(1, min(seconds, 0xFFFFFFFF))
        self._lifetime_changed = True
        self._wake()

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
                self._lose()
                self._tally.count(f"errors: {_KINDS[type(error)]}")
                wait = pause * self._dice.uniform(0.5, 1.5)
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
        answer = await self._timed("registrations", self._register_options(), self._links)
        if answer.code == Code.PRECONDITION_FAILED and len(self._versions) > 1:
            del self._versions[0]
            self._log(f"the server does not know that version, LwM2M {self._versions[0]} is next")
            await self._register()
            return
        location = answer.options_of(LOCATION_PATH)
        fixed = self._profile.fixed_location
        if answer.code != Code.CREATED or not location or len(location) > 4 or (fixed and len(location) != 2):
            raise _Refused(f"Register was answered {dotted(answer.code)}")
        # Zephyr keeps the second segment only (lwm2m_rd_client.c, do_registration_reply_cb).
        self._location = (b"rd", location[1]) if fixed else location
        self._log("registered")
        self._registered()

    def _register_options(self) -> Options:
        version, queued = self._versions[0], self._options.queue_mode
        # Only LwM2M 1.0 has the Q in the binding (Core 1.1, 6.2.1.2).
        binding = "UQ" if queued and version == "1.0" else "U"
        said = {
            "lwm2m": f"lwm2m={version}",
            "ep": f"ep={self._name}",
            "lt": f"lt={self._lifetime}",
            "b": f"b={binding}" if self._profile.says_u or binding != "U" else None,
            "Q": "Q" if queued and version != "1.0" else None,
        }
        query = [text for key in self._profile.query if (text := said[key]) is not None]
        return (
            (URI_PATH, b"rd"),
            (CONTENT_FORMAT, encode_uint(representations.LINK)),
            *((URI_QUERY, item.encode()) for item in query),
        )

    async def _sleep(self) -> None:
        period = max(self._lifetime - self._profile.early, self._lifetime / 2)
        if self._options.queue_mode:
            period = min(period, self._options.wake_seconds)
        if not self._woken:
            loop = asyncio.get_running_loop()
            self._nap = loop.create_future()
            timer = loop.call_later(period, self._wake)
            try:
                await self._nap
            finally:
                timer.cancel()
                self._nap = None
        self._woken = False

    def _wake(self) -> None:
        self._woken = True
        if self._nap is not None and not self._nap.done():
            self._nap.set_result(None)

    async def _update(self) -> None:
        assert self._location is not None
        if self._profile.registers_on_wake and not self._lifetime_changed:
            self._location = None
            return
        path = tuple((URI_PATH, segment) for segment in self._location)
        says_lifetime = self._lifetime_changed or self._profile.update_says_lifetime
        query = ((URI_QUERY, f"lt={self._lifetime}".encode()),) if says_lifetime else ()
        answer = await self._timed("updates", (*path, *query))
        self._lifetime_changed = False
        if answer.code != Code.CHANGED:
            # Zephyr registers anew for any code but 2.04; 4.04 is the usual one, after a restart of the server.
            self._lose()
            self._tally.count(f"errors: update answered {dotted(answer.code)}")
            self._log(f"Update was answered {dotted(answer.code)}, registering anew")

    async def _timed(self, kind: str, options: Options, body: bytes = b"") -> Message:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        answer = await self._endpoint.request(self._server, Code.POST, options, body)
        if is_success(answer.code):
            self._tally.took(kind, loop.time() - begun)
        return answer

    def _lose(self) -> None:
        if self._location is not None:
            self._location = None
            self._tally.count("registrations lost")

    def _log(self, text: str, level: int = logging.INFO) -> None:
        _LOGGER.log(level, text, extra={"endpoint": self._name})


class _Refused(Exception):
    pass


_KINDS: Final = {Unanswered: "no answer", WasReset: "reset", _Refused: "register refused"}

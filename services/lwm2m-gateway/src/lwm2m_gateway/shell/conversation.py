"""Talking to one device: what is asked, what it answers, and the trace of both on its page."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from lwm2m import firmware
from lwm2m.paths import Path
from lwm2m_gateway.coap.devices import Answer, Devices, NoAnswer, Values
from lwm2m_gateway.sessions.registrations import Registration
from lwm2m_gateway.shell.surroundings import Surroundings
from lwm2m_gateway.shell.values import as_text


class Conversation:
    """With the device of `registration`, which may be asked only while it is `registered` and listens."""

    def __init__(self, registration: Registration, devices: Devices, around: Surroundings) -> None:
        self.registration = registration
        self.registered = True
        self._devices = devices
        self._around = around

    def listening(self) -> bool:
        """Whether a request would be heard now."""
        return self.registered and self.registration.awake(time.time(), self._around.awake_seconds)

    async def read(self, path: Path) -> Values | None:
        """Values of a path; None when the device does not listen, answer or have it."""
        if not self.listening():
            return None
        try:
            answer = await self._devices.read(self.registration, path)
        except NoAnswer as error:
            self.note("in", f"no answer to read {error}", ok=False)
            return None
        self.answered()
        # The Package URI holds the token.
        values = [(where, value) for where, value in answer.values.items() if where != firmware.PACKAGE_URI]
        shown = ", ".join(f"{where}={as_text(value)[:40]}" for where, value in values[:8])
        self.note("in", f"read {path}: {answer.code} {shown}".rstrip(), ok=answer.ok)
        return answer.values if answer.ok else None

    async def write(self, path: Path, text: str, what: str) -> str | None:
        """Code of the answer to a Write; None without one. The trace shows `what`."""
        return await self._ask(what, lambda: self._devices.write_text(self.registration, path, text))

    async def execute(self, path: Path) -> str | None:
        """Code of the answer to an Execute; None without one."""
        return await self._ask(f"execute {path}", lambda: self._devices.execute(self.registration, path))

    async def _ask(self, what: str, request: Callable[[], Awaitable[Answer]]) -> str | None:
        if not self.listening():
            return None
        self.note("out", what, ok=True)
        try:
            answer = await request()
        except NoAnswer as error:
            self.note("in", f"no answer to {what}: {error}", ok=False)
            return None
        self.answered()
        self.note("in", f"{what}: {answer.code}", ok=answer.code.startswith("2."))
        return answer.code

    async def observe(self, path: Path, heard: Callable[[Values], None]) -> None:
        """Hand every value of a path to `heard`, until cancelled."""

        def notified(values: Values) -> None:
            self.answered()
            heard(values)

        await self._devices.observe(self.registration, path, notified)

    def answered(self) -> None:
        """Any answer and any notification proves that the device is awake (OMA Core 6.5.2)."""
        self.registration = replace(self.registration, seen_at=time.time())

    def note(self, direction: str, text: str, *, ok: bool) -> None:
        """A line of the device's trace."""
        self._around.uplink.send("trace", self.registration.endpoint, direction=direction, text=text[:300], ok=ok)

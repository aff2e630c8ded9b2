"""Builds the gateway from its settings, and runs it until it is told to stop."""

import asyncio
import logging
import signal

import redis.asyncio as redis

from lwm2m_gateway.adapters.ddi_client import DdiClient
from lwm2m_gateway.adapters.queues import Uplink, follow_hints
from lwm2m_gateway.adapters.store import Store
from lwm2m_gateway.coap.devices import Devices, observed_paths
from lwm2m_gateway.coap.face import Face
from lwm2m_gateway.coap.registration_interface import serve as serve_registrations
from lwm2m_gateway.sessions.records import Journey, Pace
from lwm2m_gateway.sessions.registrations import Registration
from lwm2m_gateway.settings import GatewaySettings
from lwm2m_gateway.shell.gateway import Gateway
from lwm2m_gateway.shell.surroundings import Surroundings
from servicekit import Answer, json_answer, serve

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
LOAD_RETRY_SECONDS = 1.0


class Service:
    """All parts of a running gateway; `async with` starts and stops it."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.redis: redis.Redis = redis.Redis.from_url(
            settings.redis_url.get_secret_value(), socket_timeout=10, socket_connect_timeout=5
        )
        self.ddi = DdiClient(settings.ddi_url, settings.tenant, settings.gateway_token.get_secret_value())
        self.store = Store(self.redis)
        self.uplink = Uplink(self.redis, settings.tenant)
        self.gateway = Gateway(
            Surroundings(
                self.ddi,
                self.store,
                self.uplink,
                Pace(
                    settings.soak_seconds,
                    settings.silence_seconds,
                    settings.reboot_seconds,
                    settings.ask_again_seconds,
                    settings.delta_wait_seconds,
                ),
                settings.proxy_uri.rstrip("/"),
                settings.tenant,
                settings.awake_seconds,
                settings.settle_seconds,
                settings.sweep_seconds,
                settings.ticket_seconds,
                observed_paths(settings.observe),
            )
        )
        self._face: Face | None = None
        self._http: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Service":
        settings = self.settings
        self._http = await serve({"/healthz": self.health, "/stats": self.stats}, settings.host, settings.port)
        found, going = await self._load()
        self._face = await serve_registrations(self.gateway, settings.coap_host, settings.coap_port)
        self.gateway.open(Devices(self._face, settings.request_seconds, settings.awake_seconds))
        self.gateway.restore(found, going)
        loop = asyncio.get_running_loop()
        for work in (
            self.store.write_for_ever(),
            self.store.watch_for_ever(self.gateway.remember),
            self.uplink.write_for_ever(),
            follow_hints(self.redis, settings.tenant, self.gateway.hinted),
            self.gateway.expire_for_ever(),
        ):
            self._tasks.append(loop.create_task(work))
        logger.info("taking registrations", extra={"udp": settings.coap_port, "http": settings.port})
        return self

    async def _load(self) -> tuple[list[Registration], dict[str, Journey]]:
        # Without its memory a gateway would send every device a 4.04: wait for Redis instead.
        while True:
            try:
                return await self.store.load()
            except (redis.RedisError, OSError) as error:
                logger.warning("waiting for Redis: %s", type(error).__name__)
                await asyncio.sleep(LOAD_RETRY_SECONDS)

    async def __aexit__(self, *_: object) -> None:
        await self.gateway.close()
        for task in self._tasks:
            task.cancel()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self.store.flush()
                await self.uplink.flush()
        except (redis.RedisError, OSError, TimeoutError):
            logger.warning("the last state could not be written; devices will be asked again")
        if self._face is not None:
            await self._face.shutdown()
        if self._http is not None:
            self._http.close()
        await self.ddi.close()
        await self.redis.aclose()

    async def health(self) -> Answer:
        """200 when registrations are taken and Redis answers."""
        checks = {}
        try:
            await self.redis.ping()
        except (redis.RedisError, OSError) as error:
            checks["redis"] = type(error).__name__
        if self._face is None:
            checks["coap"] = "not listening yet"
        return json_answer({"status": "error", "checks": checks}, 503) if checks else json_answer({"status": "ok"})

    async def stats(self) -> Answer:
        """Registrations and journeys by phase."""
        sessions = self.gateway.sessions.values()
        phases: dict[str, int] = {}
        for session in sessions:
            if session.journey is not None:
                phases[session.journey.phase] = phases.get(session.journey.phase, 0) + 1
        face = self._face
        return json_answer(
            {
                "registrations": self.gateway.registered,
                "journeys": phases,
                "malformed": face.malformed if face else 0,
                "remembered": face.remembered if face else 0,
            }
        )


async def run(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Service(settings):
        await stop.wait()

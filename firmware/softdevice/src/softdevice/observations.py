"""Who observes what: one token per path, a sequence number, notifications in the format of the first answer."""

from dataclasses import dataclass
from typing import Final

from coap_wire import Code, encode_uint
from coap_wire.options import OBSERVE
from lwm2m.paths import Path
from softdevice import management
from softdevice.coap_endpoint import Address, CoapEndpoint
from softdevice.reply import Reply
from softdevice.resources import Resources

# Zephyr's CONFIG_LWM2M_ENGINE_MAX_OBSERVER.
MAX_OBSERVERS: Final = 10


@dataclass(slots=True)
class _Observation:
    peer: Address
    token: bytes
    content_format: int
    sequence: int = 1


class Observations:
    """The observations of one registration; they end with it (OMA Core 1.1, 6.4.2)."""

    def __init__(self, resources: Resources, endpoint: CoapEndpoint, *, confirmable: bool) -> None:
        self._resources = resources
        self._endpoint = endpoint
        self._confirmable = confirmable
        self._by_path: dict[Path, _Observation] = {}

    def start(self, observe: management.Observe, peer: Address) -> int | None:
        """Note an observation, in place of an older one of the same path; the sequence number of the answer, or None
        when the device has no room and the answer is a plain one (RFC 7641 section 4.1)."""
        if observe.path not in self._by_path and len(self._by_path) >= MAX_OBSERVERS:
            return None
        self._by_path[observe.path] = _Observation(peer, observe.token, observe.content_format)
        return 1

    def cancel(self, path: Path) -> None:
        """Forget an observation, if there is one."""
        self._by_path.pop(path, None)

    def clear(self) -> None:
        """Forget all."""
        self._by_path.clear()

    def changed(self, resource: Path) -> None:
        """Notify whoever observes this resource or something above it."""
        for path, observation in list(self._by_path.items()):
            if path.covers(resource):
                self._notify(path, observation)

    def _notify(self, path: Path, observation: _Observation) -> None:
        reply = management.read(path, self._resources, observation.content_format)
        if reply.code != Code.CONTENT:
            return
        observation.sequence = (observation.sequence + 1) & 0xFFFFFF
        options = ((OBSERVE, encode_uint(observation.sequence)), *reply.options)
        self._endpoint.notify(
            observation.peer,
            observation.token,
            Reply(reply.code, reply.payload, options),
            confirmable=self._confirmable,
            was_reset=lambda: self._forget(path, observation),
        )

    def _forget(self, path: Path, observation: _Observation) -> None:
        # RST: the server lost interest, or its memory. Silence is no reason: Zephyr keeps the observer.
        if self._by_path.get(path) is observation:
            del self._by_path[path]

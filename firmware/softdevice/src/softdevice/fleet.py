"""Many devices in one process: makes them, starts them staggered, stops them, and finds them again in their folder."""

import asyncio
import contextlib
import functools
import re
import resource
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final

from mcuboot_image import PublicKey
from softdevice.device import Device
from softdevice.options import DeviceOptions, Misbehaviour
from softdevice.profiles import Profile
from softdevice.tally import Tally

# A name is a folder, a query item and a word in a log line.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
# What the process opens beside a socket for each device.
SPARE_FILES: Final = 64
# All devices together say goodbye for this long: a server that is gone answers none of them.
_GOODBYE_SECONDS: Final = 8.0


def device_names(count: int, prefix: str = "softdevice-") -> tuple[str, ...]:
    """`softdevice-0001` and so on."""
    return tuple(f"{prefix}{number:04d}" for number in range(1, count + 1))


class Fleet:
    """Devices with one set of options; `misbehaviours` adds vices by device name.

    Folders are `directory/NAME`. A device found there goes on with its flash; a new one gets `image`. Without a
    directory all devices are new, and in memory only. `profiles` are those of the devices in order, when they differ.
    Raises ValueError for a name that is none, and for a vice of a device that does not exist.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        directory: Path | None,
        options: DeviceOptions,
        *,
        image: bytes,
        keys: tuple[PublicKey, ...],
        misbehaviours: Mapping[str, frozenset[Misbehaviour]] | None = None,
        profiles: tuple[Profile, ...] = (),
        stagger_seconds: float = 0.01,
    ) -> None:
        vices = dict(misbehaviours or {})
        for name in names:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no endpoint name: letters, digits and .:_- up to 64")
        if unknown := sorted(set(vices) - set(names)):
            raise ValueError(f"no device is called {', '.join(unknown)}; names are {names[0]} to {names[-1]}")
        self.tally = Tally()
        self.devices: dict[str, Device] = {}

        @functools.cache
        def own(profile: Profile, vices: frozenset[Misbehaviour]) -> DeviceOptions:
            # One object for all devices that are alike.
            return replace(options, profile=profile, misbehaviours=options.misbehaviours | vices)

        for name, profile in zip(names, profiles or (options.profile,) * len(names), strict=True):
            its = own(profile, vices.get(name, frozenset()))
            if directory is None:
                self.devices[name] = Device.in_memory(name, image, keys, its, self.tally)
            else:
                self.devices[name] = Device.on_file(name, directory / name, image, keys, its, self.tally)
        self._stagger = stagger_seconds

    def __getitem__(self, name: str) -> Device:
        return self.devices[name]

    @property
    def registered(self) -> int:
        """How many are registered now."""
        return sum(device.is_registered for device in self.devices.values())

    async def start(self) -> None:
        """Switch all on, one after the other."""
        allow_open_files(len(self.devices) + SPARE_FILES)
        for device in self.devices.values():
            device.start()
            await asyncio.sleep(self._stagger)

    async def stop(self, *, deregister: bool | None = None) -> None:
        """Switch all off, many at a time; who could not de-register in the time for all goes without a word."""
        gate = asyncio.Semaphore(64)

        async def one(device: Device) -> None:
            async with gate:
                await device.stop(deregister=deregister)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await asyncio.gather(*(one(device) for device in self.devices.values()))
        await asyncio.gather(*(device.cut_power() for device in self.devices.values()))

    async def __aenter__(self) -> "Fleet":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def allow_open_files(needed: int) -> int:
    """Raise the soft limit of open files as far as the hard one allows, to `needed`; returns how many are allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        soft = min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft

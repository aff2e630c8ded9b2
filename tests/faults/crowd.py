"""A hundred strict devices: each fetches its image as Zephyr does, and holds every byte against the truth.

A device here is never clever. It asks for the next block only, repeats a request that was not answered as RFC 7252
says, and writes down every answer that would have ended Zephyr's download: any code but 2.05, and any silence.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from coap_wire import Block, Code, Message, Options, decode_block, dotted, encode_block, szx_for
from coap_wire import options as option
from softdevice.coap_endpoint import CoapEndpoint, Transmission, Unanswered
from softdevice.link import Link, LinkProfile

BLOCK_BYTES = 512
# As RFC 7252 section 4.8 has it, but that a device that was told to wait asks again after some seconds.
PATIENCE = Transmission(response_seconds=8.0)
# An error that passes (5.xx) is worth asking again for; a device with less patience would have failed.
AGAIN_SECONDS = 1.0
# For a machine with other things to do; on an idle one nothing here takes a quarter of it.
LONGEST_WAIT_SECONDS = 120.0


class Wrong(AssertionError):
    """The proxy served something that is not the image."""


@dataclass(eq=False)
class Device:
    """One download; `asked` counts requests by block, `refused` answers that were not 2.05, by code."""

    port: int
    path: tuple[str, ...]
    image: bytes
    delay_seconds: float = 0.0
    # Further options of each request: one the fast path does not know sends it the long way round.
    further: Options = ()
    offset: int = 0
    asked: Counter[int] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    _etag: bytes | None = None

    @property
    def finished(self) -> bool:
        """Whether it has it all."""
        return self.offset == len(self.image)

    @property
    def blocks(self) -> int:
        """Blocks of the whole image."""
        return -(-len(self.image) // BLOCK_BYTES)

    async def download(self) -> None:
        """Fetch the image from its first block to its last; raises Wrong at the first byte that is not the image's."""
        link = Link(LinkProfile(delay=self.delay_seconds / 2))
        endpoint = CoapEndpoint(lambda request, peer: None, transmission=PATIENCE, link=link)
        await endpoint.open()
        try:
            while not self.finished:
                number = self.offset // BLOCK_BYTES
                block = encode_block(Block(number, False, szx_for(BLOCK_BYTES)))
                path = tuple((option.URI_PATH, part.encode()) for part in self.path)
                self.asked[number] += 1
                try:
                    options = (*path, (option.BLOCK2, block), (option.SIZE2, b""), *self.further)
                    answer = await endpoint.request(("127.0.0.1", self.port), Code.GET, options)
                except Unanswered:
                    self.unanswered += 1
                    continue
                if answer.code == Code.CONTENT:
                    self._write(answer, number)
                elif answer.code >> 5 == 5:
                    self.refused[dotted(answer.code)] += 1
                    await asyncio.sleep(AGAIN_SECONDS)
                else:
                    raise Wrong(f"{dotted(answer.code)} for what is there: {answer.payload!r}")
        finally:
            endpoint.close()

    def _write(self, answer: Message, number: int) -> None:
        value, etag = answer.option(option.BLOCK2), answer.option(option.ETAG)
        if value is None or decode_block(value).num != number or decode_block(value).size != BLOCK_BYTES:
            raise Wrong(f"asked for block {number}, got {value!r}")
        if answer.payload != self.image[self.offset : self.offset + BLOCK_BYTES]:
            raise Wrong(f"block {number} is not the image's")
        if etag is None or self._etag not in (None, etag):
            raise Wrong(f"block {number} has another ETag")
        if decode_block(value).more is (self.offset + BLOCK_BYTES >= len(self.image)):
            raise Wrong(f"block {number} is wrong about what follows")
        self._etag = etag
        self.offset += len(answer.payload)


@dataclass(eq=False)
class Crowd:
    """Devices that download at the same time, and the test that looks on."""

    devices: list[Device]
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def start(self) -> None:
        """Switch them all on."""
        self._tasks = [asyncio.create_task(device.download()) for device in self.devices]

    @property
    def share(self) -> float:
        """How much of all images has arrived, 0 to 1."""
        return sum(device.offset for device in self.devices) / sum(len(device.image) for device in self.devices)

    async def until(self, condition: Callable[[], bool], seconds: float = LONGEST_WAIT_SECONDS) -> None:
        """Wait; a device that was served wrongly ends it at once."""
        async with asyncio.timeout(seconds):
            while not condition():
                for task in self._tasks:
                    if task.done() and not task.cancelled() and (error := task.exception()):
                        raise error
                await asyncio.sleep(0.01)

    async def until_share(self, share: float) -> None:
        """Wait until that much has arrived."""
        await self.until(lambda: self.share >= share)

    async def finish(self, seconds: float = LONGEST_WAIT_SECONDS) -> None:
        """All images are whole, or it raises."""
        async with asyncio.timeout(seconds):
            await asyncio.gather(*self._tasks)
        assert all(device.finished for device in self.devices)

    async def give_up(self) -> None:
        """Switch off those that are still at it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def require_no_refusal(self) -> None:
        """No device was told anything but 2.05, and none was left without an answer: Zephyr would have finished."""
        assert all_of(device.refused for device in self.devices) == {}
        assert sum(device.unanswered for device in self.devices) == 0
        self.require_no_block_twice()

    def require_no_block_twice(self) -> None:
        """Each device asked for each block once; in particular none began anew."""
        for device in self.devices:
            assert device.asked == Counter(range(device.blocks))

    def require_no_restart(self) -> None:
        """Blocks were asked for in order; what was asked twice had not been answered."""
        for device in self.devices:
            assert sorted(device.asked) == list(range(device.blocks))
            again = sum(device.asked.values()) - device.blocks
            assert again == device.unanswered + sum(device.refused.values())


def all_of(counters: Iterable[Counter[str]]) -> Counter[str]:
    """Their sum."""
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return total

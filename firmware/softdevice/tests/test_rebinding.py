"""A NAT that forgets a device gives it another port, also when the process has no file to spare."""

import asyncio
import contextlib
import os
import resource
from collections.abc import Iterator

from device_world import until
from wire import Wire

from coap_wire import Code
from softdevice.coap_endpoint import CoapEndpoint, Transmission
from softdevice.link import Link, LinkProfile
from softdevice.reply import Reply
from softdevice.tally import Tally

ANOTHER_PORT = LinkProfile(rebinding=0.001)


@contextlib.contextmanager
def at_most(files: int) -> Iterator[None]:
    """No file gets a number from `files` on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def device(tally: Tally) -> CoapEndpoint:
    made = CoapEndpoint(
        lambda message, peer: None,
        transmission=Transmission(ack_timeout_seconds=0.02),
        link=Link(ANOTHER_PORT),
        tally=tally,
    )
    await made.open(("127.0.0.1", 0))
    return made


def speak(device: CoapEndpoint, wire: Wire) -> None:
    device.notify(
        ("127.0.0.1", wire.port), b"ob", Reply(Code.CONTENT, b"hello"), confirmable=False, was_reset=lambda: None
    )


async def test_rebinding_needs_no_file_beside_that_of_the_old_socket(wire: Wire) -> None:
    tally = Tally()
    endpoint = await device(tally)
    speak(endpoint, wire)
    await wire.expect(rb".*hello")
    before = wire.peer
    await asyncio.sleep(0.01)
    # All numbers below the last one are taken.
    taken = [os.dup(0)]
    while len(taken) < 64:
        taken.append(os.dup(0))
    try:
        with at_most(taken[-1] + 1):
            speak(endpoint, wire)
            await wire.expect(rb".*hello")
    finally:
        for handle in taken:
            os.close(handle)
        endpoint.close()
    assert wire.peer != before and tally.counts == {"rebindings": 1}


async def test_device_that_gets_no_socket_tries_again_and_keeps_little_meanwhile(wire: Wire) -> None:
    tally = Tally()
    endpoint = await device(tally)
    speak(endpoint, wire)
    await wire.expect(rb".*hello")
    await asyncio.sleep(0.01)
    with at_most(3):
        for _ in range(100):
            speak(endpoint, wire)
        await until(lambda: tally.counts["errors: no socket"] >= 2)
    for _ in range(16):
        await wire.expect(rb".*hello")
    await wire.expect_silence(0.05)
    endpoint.close()
    assert tally.counts["rebindings"] == 1

"""What a device or an absent Redis can make the gateway hold has an end."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
import redis.asyncio as redis
from pydantic import SecretStr

from coap_wire import Block, Code, DecodeError, Message, Type, decode_block, encode_block
from coap_wire import options as option
from lwm2m_gateway.adapters.queues import Uplink
from lwm2m_gateway.bootstrap import Service
from lwm2m_gateway.coap.face import MAX_ANSWER_BYTES, check
from lwm2m_gateway.settings import GatewaySettings
from lwm2m_gateway.testing import FakeManager, ScriptedDevice
from updraft_local.ports import free_port


class Endless(ScriptedDevice):
    """Whatever is read has one more block."""

    blocks = 0

    def _serve(self, request: Message) -> None:
        value = request.option(option.BLOCK2)
        number = decode_block(value).num if value else 0
        self.blocks = max(self.blocks, number)
        more = ((option.CONTENT_FORMAT, b"*"), (option.BLOCK2, encode_block(Block(number, True, 6))))
        self._send(Message(Type.ACK, Code.CONTENT, request.mid, request.token, more, bytes(1024)))


async def until(condition: Callable[[], Any], seconds: float = 15.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_an_answer_that_never_ends_is_cut_off_and_others_are_served(redis_url: str) -> None:
    async with FakeManager() as manager:
        settings = GatewaySettings(
            redis_url=SecretStr(redis_url),
            port=free_port(),
            coap_port=free_port(2),
            ddi_url=f"http://127.0.0.1:{manager.port}",
            gateway_token=SecretStr("secret"),
            settle_seconds=0.02,
            request_seconds=2.0,
        )
        async with (
            Service(settings),
            Endless("endless", settings.coap_port) as device,
            ScriptedDevice("good", settings.coap_port) as good,
        ):
            await device.register()
            last = MAX_ANSWER_BYTES // 1024
            await until(lambda: device.blocks >= last - 1)
            await asyncio.sleep(0.5)
            assert device.blocks <= last
            await good.register()
            await until(lambda: "good" in manager.attributes)


def test_an_answer_may_be_long_but_not_endless() -> None:
    def answer(offset: int) -> Message:
        value = encode_block(Block(offset >> 10, True, 6))
        return Message(Type.ACK, Code.CONTENT, 1, b"t", ((option.BLOCK2, value),), bytes(1024))

    check(answer(MAX_ANSWER_BYTES - 1024))
    with pytest.raises(DecodeError, match="more than 65536 bytes"):
        check(answer(MAX_ANSWER_BYTES))


async def test_events_that_wait_for_redis_are_bounded_and_kept_in_order(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lwm2m_gateway.adapters.queues.MAX_WAITING_BYTES", 20_000)
    away = redis.Redis.from_url("redis://127.0.0.1:1")
    uplink = Uplink(away, "DEFAULT")
    for number in range(300):
        uplink.send("trace", "dev", text=str(number))
        if number % 100 == 99:
            with pytest.raises(redis.RedisError):
                await uplink.flush()
    kept = [int(json.loads(event)["text"]) for event in uplink._waiting]
    assert kept == list(range(kept[0], 300))
    assert 50 < len(kept) < 200
    assert sum(map(len, uplink._waiting)) == uplink._bytes <= 20_000
    back = redis.Redis.from_url(redis_url)
    await back.flushdb()
    uplink._redis = back
    await uplink.flush()
    assert (await back.xlen("updraft:uplink"), uplink._bytes) == (len(kept), 0)
    for client in (away, back):
        await client.aclose()

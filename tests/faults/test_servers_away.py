"""PostgreSQL or Redis is away for a while in the midst of everything: clear words meanwhile, and nobody restarts."""

import socket
import time

import pytest
from bench import DEVICES, Bench

from coap_wire import Code, Message, Type, decode, encode
from coap_wire import options as option

# Longer than the devices' lifetime: each has to speak to the gateway meanwhile, or it is forgotten.
AWAY_SECONDS = 40.0
PATIENCE_SECONDS = 10.0


def coap(port: int, code: int, path: list[str], query: tuple[str, ...] = (), payload: bytes = b"") -> Message:
    """One confirmable request and its answer."""
    options = [(option.URI_PATH, part.encode()) for part in path] + [(option.URI_QUERY, one.encode()) for one in query]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_SECONDS)
        client.connect(("127.0.0.1", port))
        client.send(encode(Message(Type.CON, code, 7, b"tok", tuple(options), payload)))
        while True:
            answer = decode(client.recv(2048))
            if answer.code:
                return answer


def pids(bench: Bench) -> dict[str, int]:
    return {name: process.child.pid for name, process in bench.suite.processes.items() if process.child is not None}


def test_postgres_may_be_away_while_devices_register_and_poll(bench: Bench) -> None:
    release = bench.release()
    with bench.counted() as grown:
        rollout = bench.roll_out(release)
        bench.until_downloading(rollout)
        before = pids(bench)
        until = time.monotonic() + AWAY_SECONDS
        with bench.away("postgres"):
            blocks = bench.suite.proxy_stats()["blocks"]
            while time.monotonic() < until:
                for path in ("/rollouts", "/targets", f"/rollouts/{rollout}/progress"):
                    status, body, seconds = bench.management(path)
                    assert (status, seconds < PATIENCE_SECONDS) == (503, True), (path, status, body, seconds)
                    assert "try again" in body["message"], body
                assert "postgresql" in bench.ask("api", "/healthz")["checks"]
                stranger = coap(bench.suite.port("lwm2m"), Code.POST, ["rd"], ("ep=passer-by", "lt=60", "lwm2m=1.1"))
                assert stranger.code == Code.CREATED, "devices are taken in; the update manager hears of them later"
                time.sleep(1.0)
            assert bench.suite.proxy_stats()["blocks"] > blocks, "blocks do not need PostgreSQL"
        bench.wait_for_end(rollout)
    assert pids(bench) == before, "everybody came back by itself"
    bench.manager.wait(lambda: bench.manager.get("/targets/passer-by"), 30, "the passer-by to be known")
    bench.require_updated(rollout, release, grown)
    bench.require_no_block_twice(release, grown)


def test_redis_may_be_away_while_devices_register_and_fetch(bench: Bench) -> None:
    release = bench.release()
    with bench.counted() as grown:
        rollout = bench.roll_out(release)
        bench.until_downloading(rollout)
        before = pids(bench)
        until = time.monotonic() + AWAY_SECONDS
        with bench.away("redis"):
            blocks = bench.suite.proxy_stats()["blocks"]
            unknown = coap(bench.suite.port("blocks"), Code.GET, ["f", "AAAAAAAAAAAA", "fw.bin"])
            assert unknown.code == Code.SERVICE_UNAVAILABLE, "a ticket that cannot be looked up is not an unknown one"
            assert unknown.uint(option.MAX_AGE) is not None, "it says when to come again"
            while time.monotonic() < until:
                status, body, seconds = bench.management(f"/rollouts/{rollout}/progress")
                assert (status, seconds < PATIENCE_SECONDS) == (200, True), (status, body, seconds)
                for face in ("api", "gateway_http", "proxy_http"):
                    assert list(bench.ask(face, "/healthz")["checks"]) == ["redis"]
                stranger = coap(bench.suite.port("lwm2m"), Code.POST, ["rd"], ("ep=passer-by", "lt=60", "lwm2m=1.1"))
                assert stranger.code == Code.CREATED, "devices are taken in and kept in memory"
                time.sleep(1.0)
            assert bench.suite.proxy_stats()["blocks"] > blocks + DEVICES, "tickets in use are served on"
        bench.wait_for_end(rollout)
    assert pids(bench) == before, "everybody came back by itself"
    bench.manager.wait(lambda: bench.manager.get("/targets/passer-by"), 30, "the passer-by to be known")
    bench.require_updated(rollout, release, grown)
    bench.require_no_block_twice(release, grown)


@pytest.mark.parametrize("also", [(), ("gateway",)], ids=["gateway remembers", "nobody remembers"])
def test_redis_may_come_back_empty(bench: Bench, also: tuple[str, ...]) -> None:
    release = bench.release()
    with bench.counted() as grown:
        rollout = bench.roll_out(release)
        bench.until_downloading(rollout)
        with bench.away("redis", *also):
            bench.forget_redis()
        bench.wait_for_end(rollout)
    bench.require_updated(rollout, release, grown)
    if not also:
        bench.require_no_block_twice(release, grown)

"""`make bench`: the block proxy beside its peers, every figure from one run; the last line is one JSON object.

`--quick` starts every contestant and lets it answer once, correctly: a smoke check of seconds. `--publish` writes
docs/benchmarks.md and its plot, which only a run of all lines may do.
"""

import argparse
import json
import pstats
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import contestants
import report
from contestants import CORES, UDP, Grounds, Missing, Server
from fleet import fleet
from lines import Entry, Load, Result, WrongAnswer, ask, in_rounds, warmed

from coap_wire import Code, Message, Type, decode, dotted, encode
from coap_wire import options as option

BODY_BYTES: Final = 256 << 10
SMALL_BYTES: Final = 64
WARM_SECONDS: Final = 30.0

START: Final[dict[str, Callable[[Grounds], Server]]] = {
    "bound": contestants.bound,
    "updraft": contestants.updraft,
    "updraft python": contestants.updraft_python,
    "libcoap": contestants.libcoap,
    "californium": contestants.californium,
    "aiocoap": contestants.aiocoap,
    "npm coap": contestants.npm_coap,
}
EVERYBODY: Final = tuple(START)
# aiocoap and npm's server fall behind by a factor of 20 and more with 64 clients: more clients show nothing new.
THE_FAST: Final = ("bound", "updraft", "updraft python", "libcoap", "californium")


@dataclass(frozen=True)
class Cached:
    """A line of cached block GETs."""

    title: str
    load: Load
    names: tuple[str, ...]


# In this order: servers that keep something of each peer meet few peers first.
CACHED: Final[dict[str, Cached]] = {
    "blocks-1024": Cached("cached blocks of 1024 bytes, 64 clients", Load(szx=6), EVERYBODY),
    "blocks-512": Cached("cached blocks of 512 bytes, 64 clients", Load(szx=5), EVERYBODY),
    "blocks-256": Cached("cached blocks of 256 bytes, 64 clients", Load(szx=4), EVERYBODY),
    "blocks-64": Cached("cached blocks of 64 bytes, 64 clients", Load(szx=2), EVERYBODY),
    "clients-1000": Cached("cached blocks of 1024 bytes, 1,000 clients", Load(1000), THE_FAST),
    "loss": Cached(
        "the same with 5 % of requests and of answers lost, repeated after 0.2 s",
        Load(1000, loss=5, patience=200),
        THE_FAST,
    ),
    # Californium answered none of them within half a minute, with 3 GiB of heap: it is left out, to save the time.
    "clients-10000": Cached("cached blocks of 1024 bytes, 10,000 clients", Load(10_000), THE_FAST[:-1]),
}


@dataclass
class Run:
    """One run of the benchmark."""

    grounds: Grounds
    rounds: int
    seconds: float
    quick: bool
    servers: dict[str, Server] = field(default_factory=dict)
    profile: str = ""

    def server(self, name: str) -> Server:
        """A contestant of the cached lines; started when first asked for."""
        if name not in self.servers:
            self.servers[name] = server = START[name](self.grounds)
            if name == "californium" and not self.quick:
                ask(server, Load(), self.grounds.body, 5.0)  # its compiler has to see the path many times
        return self.servers[name]

    def clients(self, wanted: int) -> int:
        """How many devices: few in a smoke check."""
        return min(wanted, 8) if self.quick else wanted

    def cached(self, key: str) -> Result:
        """A line of CACHED."""
        line = CACHED[key]
        load = Load(self.clients(line.load.clients), line.load.szx, False, line.load.loss, line.load.patience)
        servers = [self.server(name) for name in line.names]
        first = {}
        for server in servers:
            if server.name.startswith("updraft") or not self.quick:
                first[server.name] = warmed(server, load, self.grounds.body, WARM_SECONDS)
        result = in_rounds(key, line.title, servers, load, self.grounds.body, self.rounds, self.seconds)
        for entry in result.entries:
            if load.clients >= 1000:
                entry.facts["first_answers_seconds"] = round(first[entry.name], 2)
        return result

    def all_cores(self) -> Result:
        """As many workers as cores, which they share with the generator."""
        many = contestants.updraft(self.grounds, "all cores", CORES, {"COAP_HTTP_PROXY_WORKERS": str(len(CORES))})
        one = contestants.updraft(self.grounds, "one worker", CORES)
        load = Load(self.clients(1000))
        for server in (many, one):
            warmed(server, load, self.grounds.body, WARM_SECONDS)
        title = f"cached blocks of 1024 bytes, 1,000 clients, {len(CORES)} cores that the generator shares"
        return in_rounds("all-cores", title, (many, one), load, self.grounds.body, self.rounds, self.seconds)

    def dtls(self) -> Result:
        """Cached blocks through DTLS, a session for each device; they are made anew in each round."""
        servers = [
            contestants.updraft_dtls(self.grounds),
            contestants.libcoap_dtls(self.grounds, "openssl"),
            contestants.libcoap_dtls(self.grounds, "gnutls"),
            contestants.californium(self.grounds, "secure"),
        ]
        load = Load(self.clients(64))
        for server in servers:
            warmed(server, load, self.grounds.body, WARM_SECONDS)
            if not self.quick:
                ask(server, load, self.grounds.body, 5.0)
        title = "cached blocks of 1024 bytes, 64 clients, through DTLS (TLS_PSK_WITH_AES_128_CCM_8)"
        result = in_rounds("dtls", title, servers, load, self.grounds.body, self.rounds, 2 * self.seconds)
        for entry in result.entries:
            entry.facts["handshakes_per_second"] = round(entry.median(lambda sample: sample.handshakes))
        return result

    def cold(self) -> Result:
        """Devices that all begin before the artifact is there."""
        body, count = self.grounds.body, self.clients(1000)
        blocks = -(-BODY_BYTES // 1024)
        entries = []
        for name in ("updraft", "californium"):
            with ExitStack() as stack:
                grounds = self._own_grounds(stack)
                source = contestants.upstream(grounds, body)
                uri = f"http://127.0.0.1:{source}/body"
                if name == "updraft":
                    server = contestants.updraft(grounds, upstreams=(source,))
                    store, tickets = grounds.redis().url, count
                    lines = [
                        contestants.path_request("f", each, "a")
                        for each in contestants.minted(store, uri, body, tickets)
                    ]
                else:
                    server = contestants.californium(grounds, "proxy")
                    lines = [contestants.proxy_request(uri, whole=False)] * count
                server.requests = lambda wanted, lines=lines: lines  # type: ignore[misc]
                sample = ask(server, Load(count), body, 60.0, each=blocks)
                sent = contestants.upstream_counts(source)
                entries.append(
                    Entry(
                        name,
                        facts={
                            "seconds_to_last_byte": round(sample.last_answer, 2),
                            "upstream_requests": sent["requests"],
                            "upstream_bytes_per_artifact": round(sent["bytes"] / BODY_BYTES, 3),
                            "cpu_seconds": round(sample.cpu, 2),
                        },
                    )
                )
        return Result("cold", f"artifact of 256 KiB, not in the cache, to {count:,} clients at once", entries)

    def memory(self) -> Result:
        """Memory of the proxy as more and more devices come."""
        entry = Entry("updraft")
        server = contestants.updraft(self.grounds, "updraft")
        entry.facts["mib_idle"] = round(server.resident_mib(), 1)
        for wanted in (100, 1000, 10_000):
            load = Load(self.clients(wanted))
            warmed(server, load, self.grounds.body, WARM_SECONDS)
            ask(server, load, self.grounds.body, self.seconds)
            entry.facts[f"mib_{wanted}"] = round(server.resident_mib(), 1)
        return Result("memory", "memory of the proxy, MiB, after so many clients", [entry])

    def cross(self) -> Result:
        """Small answers that may not be stored, fetched over HTTP for each request; and a profile of ours."""
        body = self.grounds.small
        source = contestants.upstream(self.grounds, body)

        def requests(count: int) -> list[str]:
            uris = (f"http://127.0.0.1:{source}/small?n={n}" for n in range(count))
            return [contestants.proxy_request(uri, whole=True) for uri in uris]

        servers = [
            contestants.updraft(self.grounds, upstreams=(source,)),
            contestants.californium(self.grounds, "proxy"),
        ]
        load = Load(self.clients(64), whole=True)
        for server in servers:
            server.requests = requests
            warmed(server, load, body, WARM_SECONDS)
            if not self.quick:
                ask(server, load, body, 5.0)
        title = f"GETs of {SMALL_BYTES} bytes crossing to HTTP, not to be stored, 64 clients"
        result = in_rounds("cross", title, servers, load, body, self.rounds, self.seconds)
        said = answer_to(contestants.libcoap_proxy(self.grounds), f"http://127.0.0.1:{source}/small")
        result.entries.append(Entry("libcoap", facts={"answer": f"{said}: knows CoAP schemes only"}))
        if not self.quick:
            self.profile = self._profiled(source, requests, load)
        return result

    def _profiled(self, source: int, requests: Callable[[int], list[str]], load: Load) -> str:
        where = self.grounds.folder / "profile"
        with ExitStack() as stack:
            wrapper = ("-m", "cProfile", "-o", str(where))
            server = contestants.updraft(self._own_grounds(stack), wrapper=wrapper, upstreams=(source,))
            server.requests = requests
            ask(server, load, self.grounds.small, 5.0)
        return report.profile_table(pstats.Stats(str(where)))

    def _own_grounds(self, stack: ExitStack) -> Grounds:
        """For servers that end before the run does."""
        mine = self.grounds
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=mine.folder)))
        return Grounds(folder, mine.body, mine.small, stack, mine.redis(), mine.versions)


LINES: Final[dict[str, Callable[[Run], Result]]] = {
    **{key: (lambda run, key=key: run.cached(key)) for key in CACHED},  # type: ignore[misc]
    "all-cores": Run.all_cores,
    "dtls": Run.dtls,
    "cold": Run.cold,
    "memory": Run.memory,
    "cross": Run.cross,
    "fleet": lambda run: fleet(run.rounds, run.seconds, quick=run.quick),
}


def answer_to(server: Server, uri: str) -> str:
    """The code a server answers to one GET by Proxy-Uri, as text."""
    request = encode(Message(Type.CON, Code.GET, 1, b"x", ((option.PROXY_URI, uri.encode()),)))
    with socket.socket(socket.AF_INET, UDP) as one:
        one.settimeout(0.5)
        for _ in range(20):
            one.sendto(request, ("127.0.0.1", server.port))
            try:
                while (code := decode(one.recv(2048)).code) == Code.EMPTY:
                    pass  # the answer comes in a message of its own
                return dotted(code)
            except (TimeoutError, ConnectionRefusedError):
                time.sleep(0.1)
    raise WrongAnswer(f"{server.name} did not answer at all")


def main() -> int:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds; medians are shown (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a round (default %(default)s)")
    parser.add_argument("--lines", default="all", help=f"comma-separated: {', '.join(LINES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="one short round with few clients: does everything work?")
    parser.add_argument("--publish", action="store_true", help="write docs/benchmarks.md and its plot")
    options = parser.parse_args()
    chosen = list(LINES) if options.lines == "all" else options.lines.split(",")
    if unknown := set(chosen) - set(LINES):
        parser.error(f"no such line: {', '.join(sorted(unknown))}")
    if options.publish and (options.quick or len(chosen) < len(LINES)):
        parser.error("only a whole run is published")
    rounds, seconds = (1, 0.2) if options.quick else (options.rounds, options.seconds)
    with tempfile.TemporaryDirectory(prefix="updraft-bench-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        body, small = folder / "body", folder / "small"
        body.write_bytes(secrets.token_bytes(BODY_BYTES))
        small.write_bytes(secrets.token_bytes(SMALL_BYTES))
        run = Run(Grounds(folder, body, small, stack), rounds, seconds, options.quick)
        results = []
        try:
            for key in chosen:
                results.append(LINES[key](run))
                sys.stdout.write(report.table(results[-1]))
                sys.stdout.flush()
        except (Missing, WrongAnswer) as error:
            sys.stderr.write(f"\n{error}\n")
            return 1
    outcome = report.Report(results, run.grounds.versions, run.profile, rounds, seconds)
    if options.publish:
        outcome.publish()
    said = "Quick: everything answers; the figures mean nothing.\n" if options.quick else report.verdicts(outcome)
    sys.stdout.write(f"\n{said}\n{json.dumps(outcome.plain())}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

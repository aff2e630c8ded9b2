"""What the proxy counts, as one table: sums over processes, JSON for people, Prometheus' text format for machines.

A snapshot is what one process counted since its start: numbers by key, and tables of numbers where a label tells them
apart. Pure: whoever asks for a snapshot brings it along.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

Number = int | float
Snapshot = dict[str, Number | dict[str, Number]]


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is counted: its key in a snapshot, its name and kind for Prometheus, and what it means.

    A `gauge` may fall and ends with its process; a `counter` may not. `label` names what tells the numbers apart.
    """

    key: str
    name: str
    kind: str
    meaning: str
    label: str = ""


ROWS: Final = (
    Row("requests", "requests_total", "counter", "Requests answered, blocks among them"),
    Row("answers", "answers_total", "counter", "Answers by code, but blocks of the fast path", "code"),
    Row("blocks", "blocks_total", "counter", "Blocks of firmware served by ticket"),
    Row("bytesOnAir", "sent_bytes_total", "counter", "Payload bytes of these blocks"),
    Row("blocksPerSecond", "blocks_per_second", "gauge", "Blocks served in the last second"),
    Row("retransmissions", "retransmissions_total", "counter", "Blocks asked for twice in a row"),
    Row("restarts", "restarts_total", "counter", "Downloads begun anew"),
    Row("rttSecondsSum", "rtt_seconds_sum", "counter", "Time from a block to the request for the next one, summed"),
    Row("rttCount", "rtt_seconds_count", "counter", "How many such times were taken"),
    Row("artifactHits", "artifact_hits_total", "counter", "Artifacts that were there when a ticket was first used"),
    Row("cacheHits", "cache_hits_total", "counter", "Representations answered from the cache"),
    Row("upstreamRequests", "upstream_requests_total", "counter", "Requests to upstreams"),
    Row("upstreamBytes", "upstream_bytes_total", "counter", "Payload bytes received from upstreams"),
    Row("upstreamFailures", "upstream_failures_total", "counter", "Fetches from upstreams that failed"),
    Row("datagrams", "datagrams_total", "counter", "Datagrams received"),
    Row("malformed", "malformed_total", "counter", "Datagrams that are no CoAP message"),
    Row("duplicates", "duplicates_total", "counter", "Messages whose answer was sent again"),
    Row("repeated", "answers_repeated_total", "counter", "Separate answers sent again, for want of an acknowledgement"),
    Row("givenUp", "answers_given_up_total", "counter", "Separate answers that were never acknowledged"),
    Row("shed", "requests_shed_total", "counter", "Requests left unanswered because too many waited"),
    Row("gate", "gate_total", "counter", "What was done about senders that are not known, or ask too much", "what"),
    Row("waiting", "exchanges_waiting", "gauge", "Requests whose answer is being made"),
    Row("downloads", "downloads", "gauge", "Tickets in use"),
    Row("dtlsSessions", "dtls_sessions", "gauge", "DTLS sessions that are open"),
    Row("dtlsHalfOpen", "dtls_half_open", "gauge", "DTLS handshakes that are not complete"),
    Row("dtlsOpened", "dtls_opened_total", "counter", "DTLS handshakes that proved an identity"),
    Row("dtlsAbandoned", "dtls_abandoned_total", "counter", "DTLS handshakes that came to nothing, after the cookie"),
    Row("dtlsDiscarded", "dtls_discarded_total", "counter", "DTLS records that were forged, repeated or malformed"),
    Row("httpToCoap", "http_to_coap_total", "counter", "Requests of the HTTP-to-CoAP face by status", "status"),
)
_PREFIX: Final = "coap_proxy_"


def summed(snapshots: Iterable[Snapshot]) -> Snapshot:
    """One snapshot of all."""
    total: Snapshot = {}
    for snapshot in snapshots:
        for key, value in snapshot.items():
            if isinstance(value, Mapping):
                table = total.setdefault(key, {})
                assert isinstance(table, dict)
                for label, number in value.items():
                    table[label] = table.get(label, 0) + number
            else:
                before = total.get(key, 0)
                assert not isinstance(before, dict)
                total[key] = before + value
    return total


def lasting(snapshot: Snapshot) -> Snapshot:
    """What of a process's counts outlives it: the counters."""
    counters = {row.key for row in ROWS if row.kind == "counter"}
    return {key: value for key, value in snapshot.items() if key in counters}


def prometheus(snapshot: Snapshot) -> str:
    """The text format, version 0.0.4; labels are codes and statuses of ours, and need no escapes."""
    lines = []
    for row in ROWS:
        value = snapshot.get(row.key)
        if value is None:
            continue
        name = _PREFIX + row.name
        lines += [f"# HELP {name} {row.meaning}", f"# TYPE {name} {row.kind}"]
        if isinstance(value, dict):
            lines += [f'{name}{{{row.label}="{label}"}} {number}' for label, number in sorted(value.items())]
        else:
            lines.append(f"{name} {value}")
    return "\n".join(lines) + "\n"

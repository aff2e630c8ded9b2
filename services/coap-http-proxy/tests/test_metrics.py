"""Counts of several processes as one, and in the form Prometheus reads."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from coap_http_proxy import metrics
from coap_http_proxy.bootstrap import Proxy
from coap_http_proxy.metrics import ROWS, Snapshot
from coap_http_proxy.settings import ProxySettings
from updraft_local.ports import free_port

ONE: Snapshot = {"blocks": 3, "answers": {"2.05": 2, "4.04": 1}, "downloads": 1, "rttSecondsSum": 0.5}
TWO: Snapshot = {"blocks": 4, "answers": {"2.05": 5}, "downloads": 2, "rttSecondsSum": 0.25}


def test_numbers_and_tables_of_all_processes_are_summed_up() -> None:
    both = metrics.summed([ONE, TWO])
    assert both == {"blocks": 7, "answers": {"2.05": 7, "4.04": 1}, "downloads": 3, "rttSecondsSum": 0.75}
    assert ONE["answers"] == {"2.05": 2, "4.04": 1}, "what was summed up is as it was"


def test_what_ends_with_a_process_is_not_counted_after_its_death() -> None:
    assert metrics.summed([metrics.lasting(ONE), TWO])["downloads"] == 2
    assert metrics.summed([metrics.lasting(ONE), TWO])["blocks"] == 7


def test_the_text_is_what_prometheus_reads() -> None:
    lines = metrics.prometheus(ONE).splitlines()
    assert "# TYPE coap_proxy_blocks_total counter" in lines and "coap_proxy_blocks_total 3" in lines
    assert 'coap_proxy_answers_total{code="4.04"} 1' in lines and "# TYPE coap_proxy_downloads gauge" in lines
    form = re.compile(r"# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+=\"[^\"\\\n]+\"\})? [0-9.e+-]+")
    assert all(form.fullmatch(line) for line in lines)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_counters_are_named_as_prometheus_asks(row: metrics.Row) -> None:
    assert re.fullmatch(r"[a-z_]+", row.name) and row.kind in ("counter", "gauge")
    assert row.kind == "gauge" or row.name.endswith(("_total", "_sum", "_count"))


async def test_a_proxy_counts_what_the_table_says_and_nothing_else(tmp_path: Path) -> None:
    settings = ProxySettings(
        redis_url=SecretStr(""), port=free_port(), coap_port=free_port(2), cache_directory=tmp_path
    )
    async with Proxy(settings) as proxy:
        snapshot: dict[str, Any] = await proxy.snapshot()
    assert set(snapshot) == {row.key for row in ROWS}
    tables = {key for key, value in snapshot.items() if isinstance(value, dict)}
    assert tables == {row.key for row in ROWS if row.label}

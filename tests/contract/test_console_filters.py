"""Every filter the console can write is one the update manager reads: chips, counted states, versions, searches, hints.

Services never import each other; here they meet, so that the console's fake cannot accept what the real one refuses.
"""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from html import unescape
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import frontend
from frontend.testing import FakeManager
from frontend.view_models import devices, filters, overview, states
from update_manager.adapters.db.presence import PRESENCES
from update_manager.adapters.db.rsql_sql import target_condition
from update_manager.domain.rsql import MAX_LENGTH
from update_manager.errors import RsqlUnknownField

TEMPLATES: Final = Path(frontend.__file__).parent / "templates"
# A filter in a page's own text; fields of one letter only show how to join comparisons.
WRITTEN: Final = re.compile(r"""[A-Za-z][\w.]+==(?:"[^"]*"|[\w.*-]+)(?:[;,][\w.]+==[\w.*-]+)*""")
# What an operator names things, and what devices report: anything that can be stored.
WORD: Final = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


def links(value: Any) -> Iterator[str]:
    """Every link in a view model."""
    if isinstance(value, tuple):
        for one in value:
            yield from links(one)
    elif is_dataclass(value):
        for field in fields(value):
            held = getattr(value, field.name)
            if field.name == "href":
                yield held
            else:
                yield from links(held)


def filter_of(link: str) -> str | None:
    """The filter a link leads to; None when it leads elsewhere or to everything."""
    parts = urlsplit(link)
    return parse_qs(parts.query).get("q", [None])[0] if parts.path in ("/devices", "/rollouts/new") else None


async def asked(path: str, **params: str) -> Any:
    """What the console's stand-in answers."""
    fake = FakeManager()
    headers = {"Authorization": f"Bearer {next(iter(fake.tokens))}"}
    transport = httpx.ASGITransport(fake.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://fake/rest/v1", headers=headers) as client:
        return (await client.get(path, params=params)).json()


async def test_every_link_of_the_overview_is_read() -> None:
    queries = {query for link in links(overview.overview(await asked("/overview"))) if (query := filter_of(link))}
    assert len(queries) >= len(overview.STATUSES) + len(overview.PRESENCES) + 3
    for query in queries:
        target_condition(query)


async def test_the_stand_in_knows_no_field_the_update_manager_does_not_know() -> None:
    refusal = await asked("/targets", q="nothing==1")
    known = refusal["info"]["hint"].removeprefix("Fields: ").removesuffix(".").split(", ")
    assert len(known) > 5
    for field in known:
        target_condition(f"{field}==x")


def test_every_chip_of_the_device_list_is_read() -> None:
    queries = [query for link in links(devices.device_list({}, "", 0, 50)) if (query := filter_of(link))]
    assert len(queries) == len(devices.STATUS_CHIPS) - 1, "one chip is for all"
    for query in queries:
        target_condition(query)


def test_the_console_and_the_update_manager_mean_the_same_presences() -> None:
    assert overview.PRESENCES == PRESENCES
    for word in PRESENCES:
        assert states.presence(word) != states.presence("something unheard of")


@given(product=WORD | st.just(""), version=WORD | st.just(""))
def test_links_to_versions_and_products_are_read_whatever_they_are_called(product: str, version: str) -> None:
    if query := filter_of(filters.by_version(product, version)):
        assert len(query) <= MAX_LENGTH
        target_condition(query)
    if product:
        target_condition(filters.of_product(product))


@given(WORD.filter(lambda words: words.strip() and not set(words) & set("=<>!;,()")))
def test_a_search_for_words_is_read(words: str) -> None:
    target_condition(filters.looks_for(words))


@pytest.mark.parametrize("page", sorted(TEMPLATES.rglob("*.html")), ids=lambda page: page.name)
def test_filters_written_on_pages_as_examples_are_read(page: Path) -> None:
    # A product's key stands in the place of what the template puts there.
    text = re.sub(r"' ~ [\w.]+|\{\{.*?\}\}", "pump", unescape(page.read_text()))
    for query in WRITTEN.findall(text):
        target_condition(query)


def test_filters_written_on_pages_are_found_at_all() -> None:
    text = (TEMPLATES / "devices.html").read_text()
    wanted = {"updatestatus==error;targettype.key==soil-sensor", "presence==late", 'attribute.site=="north field"'}
    assert wanted <= set(WRITTEN.findall(unescape(text)))


def test_a_field_nobody_has_would_be_noticed() -> None:
    with pytest.raises(RsqlUnknownField):
        target_condition("reachability==online")

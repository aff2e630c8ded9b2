"""Manners of the Management API: paging, sorting, errors, media types, tags on answers, limits on bodies."""

import json
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError

from update_manager.entrypoints import manners
from update_manager.testing import TOKEN, make_targets, ok, serving

TARGETS = "/rest/v1/targets"
PREFIX = "hawkbit.server.error."


@pytest.fixture
async def alphabet(operator: httpx.AsyncClient) -> httpx.AsyncClient:
    """Twenty-six targets, named against the order of their ids."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    targets = [{"controllerId": f"t-{one}", "name": letters[-1 - at]} for at, one in enumerate(letters)]
    ok(await operator.post(TARGETS, json=targets), 201)
    return operator


def names(page: dict[str, list[dict[str, str]]]) -> str:
    return "".join(target["name"] for target in page["content"])


async def test_pages_have_offset_limit_and_total(alphabet: httpx.AsyncClient) -> None:
    page = ok(await alphabet.get(TARGETS, params={"offset": 5, "limit": 3}))
    assert (names(page), page["total"], page["size"]) == ("uts", 26, 3)
    beyond = ok(await alphabet.get(TARGETS, params={"offset": 100}))
    assert (beyond["content"], beyond["total"], beyond["size"]) == ([], 26, 0)
    last = ok(await alphabet.get(TARGETS, params={"offset": 24, "limit": 10}))
    assert (names(last), last["size"]) == ("ba", 2)


@pytest.mark.parametrize("params", [{"offset": -5}, {"limit": 0}, {"limit": -1}, {"limit": 100000}, {"q": ""}])
async def test_a_page_out_of_bounds_is_mended_not_refused(
    alphabet: httpx.AsyncClient, params: dict[str, int | str]
) -> None:
    assert ok(await alphabet.get(TARGETS, params=params), 200)["size"] == 26


async def test_no_page_is_longer_than_five_hundred(operator: httpx.AsyncClient) -> None:
    await make_targets(operator, *(f"t{number}" for number in range(510)))
    page = ok(await operator.get(TARGETS, params={"limit": 10000}))
    assert (page["size"], page["total"]) == (500, 510)
    assert ok(await operator.get(TARGETS))["size"] == 50


async def test_sorting_by_several_fields_in_both_directions(alphabet: httpx.AsyncClient) -> None:
    assert names(ok(await alphabet.get(TARGETS, params={"sort": "name:ASC", "limit": 3}))) == "abc"
    assert names(ok(await alphabet.get(TARGETS, params={"sort": "NAME:desc", "limit": 3}))) == "zyx"
    several: dict[str, str | int] = {"sort": "updateStatus:ASC,controllerId:DESC", "limit": 3}
    assert names(ok(await alphabet.get(TARGETS, params=several))) == "abc"


@pytest.mark.parametrize(
    ("sort", "code"),
    [
        ("name", "rest.param.sortParamSyntax"),
        ("name:UP", "rest.param.invalidDirection"),
        ("label:ASC", "rest.param.invalidField"),
        ("tag:ASC", "rest.param.invalidField"),
        ("security_token:ASC", "rest.param.invalidField"),
        ("name:ASC;DROP TABLE target", "rest.param.invalidDirection"),
    ],
)
async def test_a_bad_sort_is_told_apart_in_three_ways(operator: httpx.AsyncClient, sort: str, code: str) -> None:
    answer = await operator.get(TARGETS, params={"sort": sort})
    assert answer.status_code == 400 and answer.json()["errorCode"] == PREFIX + code
    for path in ("actions", "distributionsets", "softwaremodules", "rollouts", "targettags", "targettypes"):
        assert (await operator.get(f"/rest/v1/{path}", params={"sort": sort})).status_code == 400


LISTS = (
    "targets",
    "targettypes",
    "targettags",
    "targetfilters",
    "softwaremodules",
    "softwaremoduletypes",
    "distributionsets",
    "distributionsettypes",
    "actions",
    "rollouts",
    "releases",
)


@pytest.mark.parametrize("path", LISTS)
async def test_every_list_is_a_page_with_its_own_filter(operator: httpx.AsyncClient, path: str) -> None:
    page = ok(await operator.get(f"/rest/v1/{path}", params={"limit": 2}), 200)
    assert page["size"] == len(page["content"]) <= 2 and page["total"] >= page["size"]
    if path == "releases":
        return
    none = ok(await operator.get(f"/rest/v1/{path}", params={"q": "id==0"}), 200)
    assert none["total"] == 0
    for query, code in (("id==", "rest.param.rsqlParamSyntax"), ("ghost==1", "rest.param.rsqlInvalidField")):
        answer = await operator.get(f"/rest/v1/{path}", params={"q": query})
        assert answer.status_code == 400 and answer.json()["errorCode"] == PREFIX + code
        assert answer.json()["info"]["column"] == (5 if query == "id==" else 1)


@pytest.mark.parametrize("path", LISTS)
async def test_what_does_not_exist_is_404_in_hawkbits_words(operator: httpx.AsyncClient, path: str) -> None:
    for identifier in ("999999", str(2**63 - 1)):
        answer = await operator.get(f"/rest/v1/{path}/{identifier}")
        assert answer.status_code == 404, answer.text
        assert answer.json()["errorCode"] == PREFIX + "repo.entityNotFound"
        assert answer.json().keys() >= {"exceptionClass", "errorCode", "message"}
        assert identifier in answer.json()["message"]
    if path != "targets":  # theirs is a text
        assert (await operator.get(f"/rest/v1/{path}/{2**63}")).status_code == 400, "beyond any id"


async def test_errors_of_the_framework_have_the_same_shape(operator: httpx.AsyncClient) -> None:
    for answer, status in (
        (await operator.get("/rest/v1/nowhere"), 404),
        (await operator.patch(TARGETS), 405),
        (await operator.get("/rest/v1/rollouts/abc"), 400),
        (await operator.post(TARGETS, content=b"{", headers={"Content-Type": "application/json"}), 400),
        (await operator.post(TARGETS, content=b"\xff", headers={"Content-Type": "application/json"}), 400),
        (await operator.post(TARGETS, content=b"[" * 50000, headers={"Content-Type": "application/json"}), 400),
        (await operator.post(TARGETS, content=b"<x/>", headers={"Content-Type": "text/xml"}), 415),
        (await operator.post(TARGETS, content=b"[]"), 415),
        (await operator.post(TARGETS), 400),
    ):
        assert answer.status_code == status, answer.text
        assert answer.json().keys() >= {"exceptionClass", "errorCode", "message"}
    assert (await operator.post(TARGETS, content=b"{", headers={"Content-Type": "application/json"})).json()[
        "errorCode"
    ] == PREFIX + "rest.body.notReadable"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/hal+json"),
        ("*/*", "application/hal+json"),
        ("application/hal+json", "application/hal+json"),
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/hal+json;q=0.2, application/json", "application/json"),
        ("application/json;q=0.2, application/hal+json;q=0.9", "application/hal+json"),
        ("application/hal+json, application/json", "application/hal+json"),
        ("text/html, */*;q=0.1", "application/hal+json"),
        (";;q=x,,", "application/hal+json"),
    ],
)
async def test_answers_are_hal_unless_plain_json_is_preferred(
    operator: httpx.AsyncClient, accept: str | None, kind: str
) -> None:
    if accept is None:
        del operator.headers["accept"]
    answer = await operator.get(TARGETS, headers={"Accept": accept} if accept else None)
    assert answer.headers["content-type"] == kind
    assert answer.json() == {"content": [], "total": 0, "size": 0}


async def test_json_and_hal_json_are_taken_as_bodies(operator: httpx.AsyncClient) -> None:
    for number, kind in enumerate(("application/json", "application/hal+json", "application/json; charset=utf-8")):
        body = json.dumps([{"controllerId": f"t{number}"}])
        ok(await operator.post(TARGETS, content=body, headers={"Content-Type": kind}), 201)


async def test_an_unchanged_answer_is_not_sent_twice(operator: httpx.AsyncClient) -> None:
    await make_targets(operator, "one")
    first = await operator.get(f"{TARGETS}/one")
    etag = first.headers["etag"]
    assert etag.startswith('"') and len(first.content) > 0
    for header in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        again = await operator.get(f"{TARGETS}/one", headers={"If-None-Match": header})
        assert again.status_code == 304 and again.content == b"" and again.headers["etag"] == etag
    assert (await operator.get(f"{TARGETS}/one", headers={"If-None-Match": '"other"'})).status_code == 200
    ok(await operator.put(f"{TARGETS}/one", json={"name": "changed"}))
    changed = await operator.get(f"{TARGETS}/one", headers={"If-None-Match": etag})
    assert changed.status_code == 200 and changed.headers["etag"] != etag


async def test_links_name_the_host_that_was_asked(app: FastAPI, operator: httpx.AsyncClient) -> None:
    await make_targets(operator, "one")
    async with serving(app) as url, httpx.AsyncClient(timeout=10, trust_env=False) as client:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        seen = ok(await client.get(f"{url}{TARGETS}/one", headers=headers))
        assert seen["_links"]["self"]["href"] == f"{url}{TARGETS}/one"
        for link in seen["_links"].values():
            assert (await client.get(link["href"], headers=headers)).status_code in (200, 204)
        seen = ok(await client.get(f"{url}{TARGETS}/one", headers={**headers, "Host": "fleet.example:8443"}))
        assert seen["_links"]["self"]["href"] == f"http://fleet.example:8443{TARGETS}/one"


async def test_a_body_beyond_the_limit_is_refused_before_it_is_held(
    app: FastAPI, operator: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    headers = {"Content-Type": "application/json"}
    large = b" " * (manners.MAX_BODY_BYTES + 1)
    for client in (operator, stranger):
        answer = await client.post(TARGETS, content=large, headers=headers)
        assert answer.status_code == 413 and answer.json()["message"] == "a body has at most 8388608 bytes"

    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b" " * 65536

    answer = await operator.post(TARGETS, content=unannounced(), headers=headers)
    assert answer.status_code == 413
    many = [{"controllerId": f"t{number}"} for number in range(1001)]
    answer = await operator.post(TARGETS, json=many)
    assert answer.status_code == 400 and "1000" in answer.json()["message"]


@pytest.mark.parametrize("path", ["/rest/v1/sessions", TARGETS, "/rest/v1/targets/one/assignedDS"])
async def test_calling_a_body_a_form_does_not_lift_the_limit(stranger: httpx.AsyncClient, path: str) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        while taken < 4 * manners.MAX_BODY_BYTES:
            taken += 65536
            yield bytes(65536)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await stranger.post(path, content=endless(), headers=headers)
    assert answer.status_code == 413 and taken <= manners.MAX_BODY_BYTES + 65536


@pytest.mark.parametrize("path", ["/rest/v1/releases", "/rest/v1/softwaremodules/1/artifacts"])
async def test_an_address_that_takes_files_asks_who_is_there_before_it_reads(
    stranger: httpx.AsyncClient, path: str
) -> None:
    taken: list[bytes] = []

    async def file() -> AsyncIterator[bytes]:
        for _ in range(4):
            taken.append(b"")
            yield bytes(65536)

    for kind in ("multipart/form-data; boundary=b", "application/json", "application/octet-stream"):
        answer = await stranger.post(path, content=file(), headers={"Content-Type": kind})
        assert answer.status_code == 401 and taken == []


async def test_health_tells_which_server_is_away(app: FastAPI, stranger: httpx.AsyncClient) -> None:
    assert ok(await stranger.get("/healthz"), 200) == {"status": "ok"}
    parts = app.state.parts
    real = parts.redis, parts.database
    try:
        parts.redis = real[0].__class__.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=1)
        answer = await stranger.get("/healthz")
        assert answer.status_code == 503 and answer.json()["checks"].keys() == {"redis"}
        parts.redis, parts.database = real[0], real[1].__class__("postgresql://x:y@127.0.0.1:1/none")
        answer = await stranger.get("/healthz")
        assert answer.status_code == 503 and answer.json()["checks"] == {"postgresql": OperationalError.__name__}
        answer = await stranger.get(TARGETS, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 503 and answer.headers["retry-after"] == "5"
        assert answer.json()["errorCode"] == PREFIX + "serviceUnavailable"
        assert "127.0.0.1" not in answer.text
    finally:
        parts.redis, parts.database = real


async def test_the_page_of_the_api_needs_no_other_host(stranger: httpx.AsyncClient) -> None:
    page = (await stranger.get("/rest/v1/docs")).text
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    scripts = [link for link in links if link.endswith((".js", ".css"))]
    assert len(scripts) == 2 and all(link.startswith("/rest/v1/") for link in links)
    for link in links:
        answer = await stranger.get(link)
        assert answer.status_code == 200 and len(answer.content) > 1000, link

"""Who gets in, what comes with every answer, and what other sites cannot do."""

import re

import httpx
import pytest
from fastapi import FastAPI

from frontend.security import way_back
from frontend.testing import PASSWORD, USERNAME, FakeManager

SECRET = {"username": USERNAME, "password": PASSWORD}


async def test_stranger_is_sent_to_sign_in_and_back_to_where_they_wanted(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get("/devices?q=updatestatus%3D%3Derror")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?back=%2Fdevices%3Fq%3Dupdatestatus%253D%253Derror"
    form = await stranger.get(answer.headers["location"])
    assert 'name="back" value="/devices?q=updatestatus%3D%3Derror"' in form.text
    signed_in = await stranger.post("/sign-in", data={**SECRET, "back": "/devices?q=updatestatus%3D%3Derror"})
    assert signed_in.headers["location"] == "/devices?q=updatestatus%3D%3Derror"


async def test_token_is_in_a_cookie_scripts_cannot_read(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.post("/sign-in", data=SECRET)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Secure" not in cookie
    assert int(re.findall(r"Max-Age=(\d+)", cookie)[0]) > 3600


async def test_cookie_is_secure_and_bound_to_the_host_over_https(app: FastAPI) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://console") as client:
        answer = await client.post("/sign-in", data=SECRET, headers={"Origin": "https://console"})
        assert answer.headers["set-cookie"].startswith("__Host-updraft=")
        assert "Secure" in answer.headers["set-cookie"] and "Domain" not in answer.headers["set-cookie"]
        assert (await client.get("/")).status_code == 200


async def test_wrong_password_says_so_and_keeps_the_name(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.post("/sign-in", data={"username": "<b>me</b>", "password": "no"})
    assert answer.status_code == 401
    assert "The name or the password is wrong." in answer.text
    assert 'value="&lt;b&gt;me&lt;/b&gt;"' in answer.text
    assert "set-cookie" not in answer.headers


async def test_session_that_ended_leads_to_sign_in_on_pages_fragments_and_streams(
    browser: httpx.AsyncClient, manager: FakeManager
) -> None:
    manager.tokens.clear()
    fragment = await browser.get("/", headers={"HX-Request": "true"})
    assert fragment.status_code == 401 and fragment.headers["hx-redirect"] == "/sign-in?back=%2F"
    stream = await browser.get("/rollouts/1/live", headers={"HX-Request": "true"})
    assert stream.status_code == 303 or "hx-redirect" in stream.headers
    assert (await browser.get("/rollouts")).headers["location"].startswith("/sign-in")


async def test_signing_out_ends_the_session_of_the_update_manager(
    browser: httpx.AsyncClient, manager: FakeManager
) -> None:
    answer = await browser.post("/sign-out")
    assert answer.headers["location"] == "/sign-in"
    assert not manager.tokens
    assert (await browser.get("/")).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://console"},
        {"Sec-Fetch-Site": "", "Origin": "http://console"},
    ],
)
@pytest.mark.parametrize("path", ["/rollouts/1/stop", "/sign-in", "/theme", "/releases"])
async def test_another_site_cannot_act(
    browser: httpx.AsyncClient, manager: FakeManager, headers: dict[str, str], path: str
) -> None:
    before = list(manager.calls)
    answer = await browser.post(path, headers=headers)
    assert answer.status_code == 403
    assert manager.calls == before


async def test_without_fetch_metadata_the_origin_decides(app: FastAPI) -> None:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://console:8000") as client:
        for origin, status in (
            ("http://console:8000", 303),
            ("http://console", 403),
            ("http://console.evil:8000", 403),
            ("null", 403),
            (None, 403),
        ):
            headers = {} if origin is None else {"Origin": origin}
            answer = await client.post("/theme", data={"theme": "dark"}, headers=headers)
            assert answer.status_code == status, origin


@pytest.mark.parametrize("path", ["/", "/sign-in", "/devices/soil-0017", "/nothing", "/healthz"])
async def test_every_answer_forbids_what_the_console_does_not_need(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(path)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'") and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, no-store"


@pytest.mark.parametrize(
    "path",
    ["/", "/devices", "/devices/soil-0017", "/releases", "/releases/11", "/products", "/rollouts", "/rollouts/new",
     "/rollouts/1", "/sign-in"],
)  # fmt: skip
async def test_no_page_has_inline_script_or_style_or_a_foreign_address(browser: httpx.AsyncClient, path: str) -> None:
    text = (await browser.get(path)).text
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"<[^>]+\s(style|on[a-z]+)=", text)
    assert "<style" not in text
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", text)
    assert not re.search(r"hx-(on|vals|vars)", text)


@pytest.mark.parametrize(
    ("target", "safe"),
    [
        ("/devices?q=a", "/devices?q=a"),
        ("//evil", "/"),
        ("/\\evil", "/"),
        ("https://evil", "/"),
        ("/\t/evil", "/"),
        ("", "/"),
        (None, "/"),
    ],
)
def test_way_back_never_leaves_the_site(target: str | None, safe: str) -> None:
    assert way_back(target) == safe


async def test_theme_is_remembered_and_set_on_the_first_paint(browser: httpx.AsyncClient) -> None:
    assert 'data-theme="auto"' in (await browser.get("/")).text
    answer = await browser.post("/theme", data={"theme": "dark", "back": "/rollouts"})
    assert answer.headers["location"] == "/rollouts"
    assert 'data-theme="dark"' in (await browser.get("/rollouts")).text


async def test_static_files_are_cached_for_ever_under_their_fingerprint(browser: httpx.AsyncClient) -> None:
    page = (await browser.get("/")).text
    for path in set(re.findall(r'(?:src|href)="(/static/[^"#]+)', page)):
        answer = await browser.get(path, headers={"Accept-Encoding": "identity"})
        assert answer.status_code == 200, path
        assert "immutable" in answer.headers["cache-control"]
    old = await browser.get("/static/000000000000/app.css")
    assert old.status_code == 200 and old.headers["cache-control"] == "no-cache"
    for outside in ("/static/x/../settings.py", "/static/x/%2e%2e/settings.py", "/static/x/nothing.css"):
        assert (await browser.get(outside)).status_code == 404


async def test_health_needs_no_session_and_no_update_manager(stranger: httpx.AsyncClient, manager: FakeManager) -> None:
    manager.down = True
    answer = await stranger.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_silent_update_manager_is_said_in_words(browser: httpx.AsyncClient, manager: FakeManager) -> None:
    manager.down = True
    answer = await browser.get("/rollouts")
    assert answer.status_code == 503
    assert "The update manager does not answer" in answer.text and "Nothing was changed." in answer.text

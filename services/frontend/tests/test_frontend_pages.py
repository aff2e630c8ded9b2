"""What an operator reads on each page, and that device text stays text."""

import re

import httpx
import pytest

from frontend.testing import FakeManager
from frontend.testing.fleet import HOSTILE, HOSTILE_TEXT_ESCAPED, ROLLED_BACK, SLASHED
from frontend.testing.journeys import ROLLED_BACK_TEXT
from frontend.view_models.feed import device_path


async def page(browser: httpx.AsyncClient, path: str, status: int = 200) -> str:
    answer = await browser.get(path)
    assert answer.status_code == status, path
    return answer.text


async def test_overview_leads_to_what_needs_a_person(browser: httpx.AsyncClient) -> None:
    text = await page(browser, "/")
    assert "2 things need you; 1 rollout is moving" in text
    assert f'href="{device_path(ROLLED_BACK)}"' in text
    assert 'href="/rollouts/2"' in text
    assert "Versions in the field" in text and "2.3.1" in text


async def test_overview_of_an_empty_fleet_says_how_to_begin(browser: httpx.AsyncClient, manager: FakeManager) -> None:
    manager.targets, manager.rollouts = [], []
    assert "Connect devices" in await page(browser, "/")


async def test_first_steps_show_what_is_done_until_the_first_rollout(
    browser: httpx.AsyncClient, manager: FakeManager
) -> None:
    assert "First steps" not in await page(browser, "/")
    manager.rollouts, manager.releases = [], []
    text = await page(browser, "/")
    steps = re.findall(r'<li class="(done|next|later)">.*?<a href="([^"]+)">', text, re.DOTALL)
    assert steps == [("done", "/devices"), ("done", "/products"), ("next", "/releases"), ("later", "/rollouts/new")]
    assert "Upload a signed image" in await page(browser, "/rollouts/new")


async def test_htmx_gets_only_the_part_that_moves(browser: httpx.AsyncClient) -> None:
    for path in ("/", "/devices/soil-0017", "/rollouts"):
        answer = await browser.get(path, headers={"HX-Request": "true"})
        assert "<html" not in answer.text and "<h1" in answer.text
        assert "HX-Request" in answer.headers["vary"]


async def test_devices_are_filtered_and_paged(browser: httpx.AsyncClient) -> None:
    first = await page(browser, "/devices?q=targettype.key%3D%3Dsoil-sensor")
    assert "1–50 of 240" in first and "Previous" not in first
    more = re.findall(r'href="([^"]+)"[^>]*rel="next"', first)[0].replace("&amp;", "&")
    second = await page(browser, more)
    assert "51–100 of 240" in second and "soil-0051" in second and 'rel="prev"' in second


async def test_filter_that_cannot_be_read_shows_the_column_with_a_caret(browser: httpx.AsyncClient) -> None:
    text = await page(browser, "/devices?q=updatestatus%3Dpending", 422)
    assert "Filter cannot be read at column 13" in text
    shown = re.findall(r"<pre[^>]*>(.*?)</pre>", text, re.DOTALL)[0]
    line, caret = shown.split("\n")
    assert line[caret.index("^")] == "="
    assert 'value="updatestatus=pending"' in text
    assert "join with ; (and) or , (or)" in text


async def test_unknown_field_is_pointed_at_and_the_known_ones_are_named(browser: httpx.AsyncClient) -> None:
    text = await page(browser, "/devices?q=presence%3D%3Donline%3Bcolour%3D%3Dred", 422)
    assert "column 18" in text and "There is no field colour." in text and "updatestatus" in text


async def test_search_box_finds_a_part_of_an_id(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/devices?find=0017", follow_redirects=True)
    assert ROLLED_BACK in answer.text and answer.url.params["q"] == "controllerId==*0017*,name==*0017*"


async def test_device_says_first_why_its_update_failed(browser: httpx.AsyncClient) -> None:
    text = await page(browser, device_path(ROLLED_BACK))
    assert text.index("Rolled back") < text.index("Update attempts")
    assert ROLLED_BACK_TEXT in text
    for phase in ("Assigned", "Downloaded", "Rebooting", "Verifying"):
        assert phase in text
    assert "5/0/5 = 8" in text and "GET /3/0/3 (no answer, 4 tries)" in text


async def test_reason_of_a_rolled_back_device_is_two_clicks_from_the_control_room(
    browser: httpx.AsyncClient,
) -> None:
    room = await page(browser, "/rollouts/1")
    cause = next(part for part in room.split("<details")[1:] if "Rolled back" in part)  # first click opens it
    link = re.findall(r'href="(/devices/[^"]+)"', cause)[0]  # second click
    assert ROLLED_BACK_TEXT in await page(browser, link)


async def test_moving_device_shows_how_far_and_what_is_ahead(browser: httpx.AsyncClient) -> None:
    text = await page(browser, "/devices/soil-0031")
    assert 'aria-current="step"' in text and "1 restart" in text and "(ahead)" in text


@pytest.mark.parametrize("controller_id", [HOSTILE, SLASHED])
async def test_device_with_an_odd_id_has_a_page(browser: httpx.AsyncClient, controller_id: str) -> None:
    await page(browser, device_path(controller_id))


@pytest.mark.parametrize(
    "path", ["/", "/devices?q=targettype.key%3D%3Dpump&offset=100", device_path(HOSTILE), "/rollouts/2"]
)
async def test_text_of_devices_is_never_markup(browser: httpx.AsyncClient, path: str) -> None:
    text = await page(browser, path)
    assert HOSTILE_TEXT_ESCAPED in text
    assert "<script>alert" not in text and "<img src=x" not in text and "<b>kind" not in text
    assert "\x1b" not in text and "\u202e" not in text
    assert "\\u202e" in text


async def test_release_shows_the_verdict_of_the_inspector(browser: httpx.AsyncClient) -> None:
    text = await page(browser, "/releases/11")
    for fact in ("Accepted: signed with", "Security counter", "KEYHASH", "0x22", "2.4.0+0"):
        assert fact in text
    assert 'href="/rollouts/new?release=11"' in text


async def test_group_of_a_rollout_leads_to_its_devices(browser: httpx.AsyncClient) -> None:
    room = await page(browser, "/rollouts/1")
    link = re.findall(r'href="(/rollouts/1/groups/[^"]+)"', room)[0]
    text = await page(browser, link)
    assert "as they are now" in text and len(re.findall(r'href="/devices/[^"?]+"', text)) == 50
    assert 'href="/rollouts/1"' in text and 'rel="next"' in text


async def test_control_room_offers_what_its_state_allows(browser: httpx.AsyncClient) -> None:
    for rollout, offered in ((1, {"pause", "stop"}), (2, {"resume", "stop"}), (3, {"start"}), (4, set())):
        text = await page(browser, f"/rollouts/{rollout}")
        assert set(re.findall(rf'action="/rollouts/{rollout}/(\w+)"', text)) == offered
    assert "hx-sse:connect" not in await page(browser, "/rollouts/4")


async def test_stream_sends_the_parts_of_the_page(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/rollouts/1/live")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    messages = [message for message in answer.text.split("\n\n") if message.startswith("data:")]
    assert len(messages) >= 2
    assert all(line.startswith("data:") for message in messages for line in message.splitlines())
    for part in ("head", "total", "groups", "causes", "flight", "feed"):
        assert f'hx-target="#room-{part}"' in messages[0]
    assert ">137<" in messages[0] and ">139<" in messages[-1]


@pytest.mark.parametrize(
    "path", ["/devices/nope", "/releases/999", "/rollouts/999", "/rollouts/x", "/rollouts/1/groups/9999", "/nothing"]
)
async def test_what_does_not_exist_says_so(browser: httpx.AsyncClient, path: str) -> None:
    assert "Not here" in await page(browser, path, 404)

"""How much the console takes from whom: bodies are bounded before anybody has signed in, announced or chunked."""

import tempfile
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest

from frontend.app import create_app
from frontend.settings import FrontendSettings
from frontend.testing import PASSWORD, USERNAME, FakeManager

MIB: Final = 1024 * 1024
FORM: Final = FrontendSettings().max_form_bytes
MULTIPART: Final = {"Content-Type": "multipart/form-data; boundary=cut"}
URLENCODED: Final = {"Content-Type": "application/x-www-form-urlencoded"}
FILE_PART: Final = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
TEXT_PART: Final = b'--cut\r\nContent-Disposition: form-data; name="targetType"\r\n\r\n1\r\n'
OPEN_TO_ALL: Final = ["/sign-in", "/theme"]


class Sender:
    """A body in chunks of 64 KiB, with no length announced; `sent` tells how much of it was asked for."""

    def __init__(self, head: bytes, size: int, tail: bytes = b"", filler: bytes = b"a") -> None:
        self._head, self._size, self._tail, self._filler = head, size, tail, filler
        self.sent = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._head
        while self.sent < self._size:
            self.sent += 65536
            yield self._filler * 65536
        yield self._tail


@pytest.fixture
def spooled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every file Starlette's form parser opens for a part."""
    opened: list[Any] = []
    original = tempfile.SpooledTemporaryFile

    def opening(*args: Any, **named: Any) -> Any:
        opened.append(original(*args, **named))
        return opened[-1]

    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", opening)
    return opened


@pytest.mark.parametrize("path", OPEN_TO_ALL)
async def test_file_in_a_form_without_files_is_refused_before_a_byte_of_it_is_kept(
    stranger: httpx.AsyncClient, spooled: list[Any], path: str
) -> None:
    sender = Sender(FILE_PART, 60 * MIB)
    answer = await stranger.post(path, content=sender.chunks(), headers=MULTIPART)
    assert answer.status_code == 400 and "Too many files" in answer.text
    assert not spooled and sender.sent <= 2 * 65536


@pytest.mark.parametrize("path", [*OPEN_TO_ALL, "/products", "/rollouts", "/rollouts/check"])
@pytest.mark.parametrize(
    ("headers", "head", "filler"),
    # Both go on for ever within every limit of the parsers: empty fields, and an epilogue (RFC 2046, section 5.1.1).
    [(URLENCODED, b"", b"&"), (MULTIPART, TEXT_PART + b"--cut--\r\n", b"a")],
    ids=["plain", "parts"],
)
async def test_chunked_body_is_counted_cut_at_the_limit_and_told_on_a_page(
    stranger: httpx.AsyncClient, path: str, headers: dict[str, str], head: bytes, filler: bytes
) -> None:
    sender = Sender(head, 60 * MIB, filler=filler)
    stranger.cookies.set("updraft", "junk")
    answer = await stranger.post(path, content=sender.chunks(), headers=headers)
    assert answer.status_code == 413
    assert sender.sent <= FORM + 65536
    assert "<h1>Too large</h1>" in answer.text and "more than 256\u202fKiB" in answer.text
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize("path", OPEN_TO_ALL)
async def test_announced_excess_is_refused_before_the_first_byte(stranger: httpx.AsyncClient, path: str) -> None:
    sender = Sender(b"back=", MIB)
    headers = {**URLENCODED, "Content-Length": str(FORM + 1)}
    answer = await stranger.post(path, content=sender.chunks(), headers=headers)
    assert answer.status_code == 413 and sender.sent == 0


async def test_small_announcement_before_a_large_body_is_not_believed(stranger: httpx.AsyncClient) -> None:
    sender = Sender(b"", MIB, filler=b"&")
    answer = await stranger.post("/theme", content=sender.chunks(), headers={**URLENCODED, "Content-Length": "10"})
    assert answer.status_code == 413


async def test_form_within_the_limit_is_taken_chunked_too(stranger: httpx.AsyncClient) -> None:
    async def signing_in() -> AsyncIterator[bytes]:
        for part in (f"username={USERNAME}", "&", f"password={PASSWORD}", "&" * (FORM - 1024)):
            yield part.encode()

    answer = await stranger.post("/sign-in", content=signing_in(), headers=URLENCODED)
    assert answer.status_code == 303


async def test_upload_with_a_junk_cookie_spools_nothing(
    stranger: httpx.AsyncClient, manager: FakeManager, spooled: list[Any]
) -> None:
    stranger.cookies.set("updraft", "junk")
    sender = Sender(FILE_PART, 8 * MIB, b"\r\n--cut--\r\n")
    headers = {**MULTIPART, "Content-Length": str(8 * MIB)}
    answer = await stranger.post("/releases", content=sender.chunks(), headers=headers)
    assert answer.headers["location"].startswith("/sign-in")
    assert not spooled and sender.sent == 0
    assert manager.calls == ["GET /rest/v1/userinfo"]


async def test_upload_without_a_cookie_or_length_spools_nothing(
    stranger: httpx.AsyncClient, browser: httpx.AsyncClient, spooled: list[Any]
) -> None:
    sender = Sender(FILE_PART, 8 * MIB)
    answer = await browser.post("/releases", content=sender.chunks(), headers=MULTIPART)
    assert answer.status_code == 411 and "does not say how large" in answer.text
    stranger.cookies.clear()
    answer = await stranger.post("/releases", content=sender.chunks(), headers=MULTIPART)
    assert answer.headers["location"].startswith("/sign-in")
    assert not spooled and sender.sent == 0


async def test_upload_that_sends_more_than_it_announced_is_cut(manager: FakeManager) -> None:
    settings = FrontendSettings(max_upload_bytes=MIB)
    app = create_app(settings, transport=httpx.ASGITransport(manager.app))
    fetched = {"Sec-Fetch-Site": "same-origin", **MULTIPART, "Content-Length": "4096"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://console") as client:
        client.cookies.set("updraft", next(iter(manager.tokens)))
        sender = Sender(TEXT_PART + FILE_PART, 60 * MIB, b"\r\n--cut--\r\n")
        answer = await client.post("/releases", content=sender.chunks(), headers=fetched)
    assert answer.status_code == 413
    assert sender.sent <= MIB + 2 * 65536

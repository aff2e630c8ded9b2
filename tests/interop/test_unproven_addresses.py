"""Strangers at addresses that may be forged: they get all they ask for, in answers of at most thrice what they sent.

Of the six only libcoap's clients know Echo (RFC 9175). The others read, slowly; whoever would change something upstream
has to show that he is where he says.
"""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from alone import REVERSE_PREFIX, Alone, alone
from fetchers import FETCHERS, Asked

# At 16 bytes a block and 200 requests a second.
NOTICE = secrets.token_bytes(8_000)
# Three times the longest request that is made here.
LARGEST_ANSWER_BYTES = 3 * 60
LIBCOAP = [name for name in FETCHERS if name.startswith("coap-client")]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    """A proxy to which this machine's own addresses are as good as any."""
    folder = tmp_path_factory.mktemp("unproven")
    (folder / "files").mkdir()
    (folder / "files" / "notice").write_bytes(NOTICE)
    with alone(folder, folder / "files", TRUSTED_NETWORKS="192.0.2.0/24") as running:
        yield running


def answers(proxy: Alone) -> int:
    """How many requests were answered with content."""
    count: int = proxy.proxy.stats()["answers"].get("2.05", 0)
    return count


@pytest.mark.rfc("7252 11.3")
@pytest.mark.parametrize("name", FETCHERS)
def test_all_ways_lead_to_the_whole_representation(name: str, proxy: Alone, tmp_path: Path) -> None:
    before = proxy.proxy.stats()["blocks"]
    by_ticket = FETCHERS[name](Asked(proxy.ticket("notice")), tmp_path)
    served = proxy.proxy.stats()["blocks"] - before
    assert by_ticket.body == NOTICE
    assert served <= len(NOTICE) / 512 + 1, "who shows a ticket is no stranger: he gets the blocks he asks for"
    for asked in (Asked(f"{proxy.uri}/{REVERSE_PREFIX}/notice"), Asked(f"{proxy.web.url}/notice", proxy=proxy.address)):
        taken: list[int] = []
        # Once more where it got the port of a client before it, which the proxy has proven: that one gets large blocks.
        while len(taken) < 2 and (not taken or taken[-1] < len(NOTICE) / LARGEST_ANSWER_BYTES):
            before = answers(proxy)
            assert FETCHERS[name](asked, tmp_path).body == NOTICE
            taken.append(answers(proxy) - before)
        assert taken[-1] >= len(NOTICE) / LARGEST_ANSWER_BYTES, "all others get small ones"


@pytest.mark.rfc("9175 2.3")
@pytest.mark.parametrize("name", LIBCOAP)
def test_who_knows_echo_may_put_after_one_question(name: str, proxy: Alone, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(secrets.token_bytes(3_000))
    said = FETCHERS[name](
        Asked(f"{proxy.uri}/{REVERSE_PREFIX}/{name}", method="put", body=body, options=("-v", "7")), tmp_path
    )
    assert "c:4.01" in said.text and "Echo:0x" in said.text
    assert [one[3] for one in proxy.web.taken if one[1] == f"/{name}"] == [body.read_bytes()]


@pytest.mark.rfc("9175 2.3")
@pytest.mark.parametrize("name", ["californium", "npm coap"])
def test_who_does_not_know_echo_changes_nothing_upstream(name: str, proxy: Alone, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(secrets.token_bytes(3_000))
    said = FETCHERS[name](Asked(f"{proxy.uri}/{REVERSE_PREFIX}/never", method="put", body=body), tmp_path)
    assert said.text.startswith("4.01"), said.text
    assert [one for one in proxy.web.taken if one[1] == "/never"] == []

"""Register and Update as real clients send them, and the nonsense that gets 4.00."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lwm2m.errors import DecodeError
from lwm2m.firmware import TRANSITIONS, State, result_text, state_text
from lwm2m.paths import Path
from lwm2m.registration import UnsupportedVersion, decode_register, decode_update

ZEPHYR = (["lwm2m=1.1", "ep=qemu_x86", "lt=30", "b=U", "Q"], b'</>;ct=110,</1/0>,</3/0>;ver="1.1",</5/0>')
WAKAAMA = (["lwm2m=1.0", "ep=wakatiwai", "b=U", "lt=300"], b'</>;rt="oma.lwm2m",</1/0>,</3/0>,</5/0>')
COAP_NODE = (["ep=node", "lwm2m=1.0.0", "lt=60", "mac=aa:bb"], b"</>;ct=11543;hb,</1/0>,</3/0>")


def test_zephyr_registers_in_queue_mode() -> None:
    register = decode_register(*ZEPHYR)
    assert (register.endpoint, register.lifetime, register.version) == ("qemu_x86", 30, "1.1")
    assert register.queue_mode
    assert Path(5, 0) in register.paths
    assert register.content_formats[0] == 110
    assert register.object_versions == {3: "1.1"}


def test_older_clients_are_understood() -> None:
    assert 11542 in decode_register(*WAKAAMA).content_formats
    node = decode_register(*COAP_NODE)
    assert (node.version, node.binding, node.attributes) == ("1.0", "U", {"mac": "aa:bb"})
    assert decode_register(["ep=a", "b=UQ"], b"").queue_mode
    assert decode_register(["ep=a", "lwm2m=1.2"], b"").version == "1.2"


def test_an_alternate_path_is_the_root_of_all_paths() -> None:
    register = decode_register(["ep=a"], b'</lwm2m>;rt="oma.lwm2m",</lwm2m/3/0>,</other>,</0/0>')
    assert register.alternate_path == "/lwm2m"
    assert register.paths == (Path(3, 0),)


@pytest.mark.parametrize(
    "query",
    [
        [],
        ["ep="],
        ["ep=a b"],
        ["ep=" + "x" * 201],
        ["ep=a\n"],
        ["ep=a", "lt="],
        ["ep=a", "lt=soon"],
        ["ep=a", "lt=-1"],
        ["ep=a", "b=X"],
        ["ep=a", "lwm2m=1.1", "Q=1"],
        ["ep=a", "Q"],
    ],
)
def test_nonsense_is_refused(query: list[str]) -> None:
    with pytest.raises(DecodeError):
        decode_register(query, b"")


def test_an_unknown_version_has_its_own_answer() -> None:
    with pytest.raises(UnsupportedVersion):
        decode_register(["ep=a", "lwm2m=2.0"], b"")


def test_an_update_says_only_what_changed() -> None:
    update = decode_update(["lt=60"], b"")
    assert (update.lifetime, update.binding, update.paths) == (60, None, None)
    assert decode_update([], b"</3/0>").paths == (Path(3, 0),)
    with pytest.raises(DecodeError):
        decode_update(["lt=x"], b"")


@given(st.lists(st.text(max_size=20), max_size=6), st.binary(max_size=80))
def test_any_query_is_a_registration_or_a_decode_error(query: list[str], payload: bytes) -> None:
    try:
        decode_register(["ep=x", *query], payload)
    except DecodeError:
        return


def test_unknown_numbers_are_shown_not_dropped() -> None:
    assert result_text(17) == "unknown result 17"
    assert state_text(9) == "unknown state 9"
    assert state_text(1) == "Downloading"
    assert set(TRANSITIONS) == set(State)

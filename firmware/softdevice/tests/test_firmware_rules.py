"""Object 5's rules, one row each: refusals of a URI and of a package, State and Result after a reset, deferral."""

import pytest

from coap_wire import Code
from lwm2m.firmware import Result, State
from softdevice.firmware_rules import Kept, Verdict, after_boot, package_refusal, uri_refusal, verdict
from softdevice.profiles import PROFILES

IDLE, DOWNLOADING, DOWNLOADED, UPDATING = State
URI, FTP = "coap://192.0.2.1/f/t/n", "ftp://192.0.2.1/a"


@pytest.mark.parametrize(
    ("client", "state", "value", "on_trial", "code"),
    [
        ("zephyr", IDLE, URI, False, None),
        ("zephyr", IDLE, URI, True, Code.METHOD_NOT_ALLOWED),
        ("zephyr", IDLE, "", True, None),
        # Zephyr answers 2.04 and does nothing; Anjay says 4.00.
        ("zephyr", DOWNLOADED, URI, False, None),
        ("anjay", DOWNLOADED, URI, False, Code.BAD_REQUEST),
        ("anjay", DOWNLOADING, URI, False, Code.BAD_REQUEST),
        ("anjay", DOWNLOADING, "", False, None),
        ("anjay", UPDATING, "", False, Code.METHOD_NOT_ALLOWED),
        ("zephyr", UPDATING, "", False, None),
        ("zephyr", UPDATING, URI, False, None),
        ("anjay", IDLE, FTP, False, Code.BAD_REQUEST),
        ("zephyr", IDLE, FTP, False, None),
        ("zephyr", IDLE, "c" * 256, False, Code.BAD_REQUEST),
        ("zephyr", IDLE, 5, False, Code.BAD_REQUEST),
        ("wakaama", IDLE, URI, False, None),
    ],
)
def test_each_client_refuses_a_uri_in_its_own_way(
    client: str, state: State, value: object, on_trial: bool, code: int | None
) -> None:
    refused = uri_refusal(PROFILES[client], state, value, on_trial=on_trial)
    assert (refused and refused.code) == code
    assert (refused and refused.result) == (Result.UNSUPPORTED_PROTOCOL if code and value == FTP else None)


@pytest.mark.parametrize(
    ("client", "state", "payload", "on_trial", "code"),
    [
        ("zephyr", IDLE, b"image", False, None),
        ("zephyr", DOWNLOADING, b"image", False, None),
        ("zephyr", DOWNLOADED, b"image", False, Code.METHOD_NOT_ALLOWED),
        ("anjay", DOWNLOADED, b"image", False, Code.BAD_REQUEST),
        ("zephyr", DOWNLOADED, b"\0", False, None),
        ("zephyr", DOWNLOADED, b"", False, None),
        ("zephyr", UPDATING, b"\0", False, Code.METHOD_NOT_ALLOWED),
        ("zephyr", IDLE, b"image", True, Code.METHOD_NOT_ALLOWED),
    ],
)
def test_each_client_refuses_a_pushed_package_in_its_own_way(
    client: str, state: State, payload: bytes, on_trial: bool, code: int | None
) -> None:
    assert package_refusal(PROFILES[client], state, payload, on_trial=on_trial) == code


@pytest.mark.parametrize(
    ("client", "kept", "on_trial", "waiting", "shown"),
    [
        ("zephyr", Kept(UPDATING), True, False, (IDLE, Result.INITIAL)),
        ("zephyr", Kept(DOWNLOADED), False, True, (IDLE, Result.INITIAL)),
        ("anjay", Kept(UPDATING), True, False, (IDLE, Result.SUCCESS)),
        ("anjay", Kept(UPDATING), False, False, (IDLE, Result.UPDATE_FAILED)),
        ("anjay", Kept(DOWNLOADED), False, True, (DOWNLOADED, Result.INITIAL)),
        ("anjay", Kept(DOWNLOADED), False, False, (IDLE, Result.INITIAL)),
        ("anjay", Kept(DOWNLOADING, URI), False, False, (DOWNLOADING, Result.INITIAL)),
        ("anjay", Kept(), False, False, (IDLE, Result.INITIAL)),
        # A device that never had an update: 0 is 0, and so it reports a success.
        ("dm-lwm2m", Kept(), False, False, (IDLE, Result.SUCCESS)),
        ("dm-lwm2m", Kept(current=0, update=1), True, False, (IDLE, Result.SUCCESS)),
        ("dm-lwm2m", Kept(current=0, update=1), False, False, (IDLE, Result.UPDATE_FAILED)),
    ],
)
def test_what_a_client_shows_after_a_reset(
    client: str, kept: Kept, on_trial: bool, waiting: bool, shown: tuple[State, Result]
) -> None:
    assert after_boot(PROFILES[client], kept, on_trial=on_trial, waiting=waiting, running="")[:2] == shown


@pytest.mark.parametrize(
    ("kept", "running", "on_trial", "result", "kept_then"),
    [
        (Kept(target="new"), "new", True, Result.INITIAL, Kept(target="new")),
        # Its power went between the confirmation and the record of it.
        (Kept(target="new"), "new", False, Result.SUCCESS, Kept(result=Result.SUCCESS)),
        (Kept(target="new"), "old", False, Result.UPDATE_FAILED, Kept(result=Result.UPDATE_FAILED)),
        (Kept(result=Result.UPDATE_FAILED), "old", False, Result.UPDATE_FAILED, Kept(result=Result.UPDATE_FAILED)),
        (Kept(), "old", False, Result.INITIAL, Kept()),
    ],
)
def test_updraft_knows_by_the_hash_whether_its_update_has_arrived(
    kept: Kept, running: str, on_trial: bool, result: Result, kept_then: Kept
) -> None:
    shown = after_boot(PROFILES["updraft"], kept, on_trial=on_trial, waiting=False, running=running)
    assert shown == (IDLE, result, kept_then)


def test_dm_lwm2m_reports_a_rollback_at_every_boot_until_the_next_success() -> None:
    client, kept = PROFILES["dm-lwm2m"], Kept(current=0, update=1)
    for _ in range(3):
        _, result, kept = after_boot(client, kept, on_trial=False, waiting=False, running="")
        assert result == Result.UPDATE_FAILED
    _, result, kept = after_boot(
        client, Kept(current=kept.current, update=kept.current + 1), on_trial=True, waiting=False, running=""
    )
    assert result == Result.SUCCESS and kept.current == kept.update


@pytest.mark.parametrize(
    ("client", "battery", "user_waits", "severity", "period", "waited", "expected"),
    [
        ("updraft", 80, False, 1, 0, 0, Verdict.INSTALL),
        ("updraft", 80, True, 1, 60, 0, Verdict.DEFER),
        ("updraft", 80, True, 2, 60, 59, Verdict.DEFER),
        ("updraft", 80, True, 2, 60, 60, Verdict.INSTALL),
        ("updraft", 80, True, 0, 60, 0, Verdict.INSTALL),
        ("updraft", 80, True, 1, 0, 0, Verdict.INSTALL),
        ("updraft", 19, False, 0, 0, 0, Verdict.DEFER),
        ("updraft", 20, False, 0, 0, 0, Verdict.INSTALL),
        ("zephyr", 19, False, 1, 0, 0, Verdict.FAIL),
        ("zephyr", 80, True, 1, 60, 0, Verdict.FAIL),
    ],
)
def test_an_update_is_put_off_by_the_user_for_a_while_and_by_a_low_battery_always(
    client: str, battery: int, user_waits: bool, severity: int, period: int, waited: float, expected: Verdict
) -> None:
    assert (
        verdict(
            PROFILES[client],
            battery=battery,
            user_waits=user_waits,
            severity=severity,
            max_defer_seconds=period,
            waited_seconds=waited,
        )
        == expected
    )

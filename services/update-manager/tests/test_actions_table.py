"""The action table: hawkBit's feedback rules, walked at random and held to the letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from update_manager.domain import actions
from update_manager.domain.actions import ENDED, EXECUTIONS, FINISHED_WORDS, TRANSITIONS, IllegalMove, Outcome, Status

FEEDBACK = st.tuples(st.booleans(), st.sampled_from(sorted(EXECUTIONS)), st.sampled_from(sorted(FINISHED_WORDS)))
TYPES = ("forced", "soft", "timeforced", "downloadonly")
# What a device says on deploymentBase (execution, finished) and what hawkBit makes of it: status, log line.
ON_DEPLOYMENT = {
    ("proceeding", "none"): (None, "running"),
    ("scheduled", "none"): (None, "running"),
    ("resumed", "none"): (None, "running"),
    ("download", "none"): ("download", "download"),
    ("downloaded", "none"): ("downloaded", "downloaded"),
    ("rejected", "none"): (None, "warning"),
    ("canceled", "none"): (None, "canceled"),
    ("canceled", "success"): (None, "canceled"),
    ("closed", "success"): ("finished", "finished"),
    ("closed", "none"): ("finished", "finished"),
    ("closed", "failure"): ("error", "error"),
}
ON_CANCEL = {
    ("closed", "success"): ("canceled", "canceled"),
    ("closed", "none"): ("canceled", "canceled"),
    ("closed", "failure"): ("running", "cancel_rejected"),
    ("rejected", "none"): ("running", "cancel_rejected"),
    ("canceled", "none"): (None, "warning"),
    # Our one step beyond hawkBit: its issue 952 left such devices stuck for ever.
    ("canceled", "success"): ("canceled", "canceled"),
    ("proceeding", "none"): (None, "warning"),
}


@given(st.sampled_from(TYPES), st.lists(st.one_of(FEEDBACK, st.just("cancel")), max_size=40))
def test_no_sequence_of_feedback_and_cancels_leaves_the_table(action_type: str, said: list[object]) -> None:
    status, active = Status.RUNNING, True
    for word in said:
        if word == "cancel":
            if active and status != Status.CANCELING:
                status = actions.move(status, Status.CANCELING)
            continue
        assert isinstance(word, tuple)
        for_cancel, execution, finished = word
        if for_cancel and status == Status.CANCELING:
            outcome = actions.of_cancel(execution, finished)
        elif not for_cancel and actions.takes_deployment_feedback(status, action_type, execution, active=active):
            outcome = actions.of_deployment(status, execution, finished, action_type)
        else:
            continue
        if outcome.status is not None:
            status = actions.move(status, outcome.status)  # raises when it would leave the table
            active = active and not outcome.closes
        assert (status in ENDED) <= (not active), "an action that has ended is not active"


@given(st.sampled_from(list(Status)), st.sampled_from(list(Status)))
def test_a_move_is_made_exactly_when_the_table_has_it(current: Status, to: Status) -> None:
    if to in TRANSITIONS.get(current, frozenset()):
        assert actions.move(current, to) == to
    else:
        with pytest.raises(IllegalMove, match=f"from {current} to {to}"):
            actions.move(current, to)


def test_nothing_leads_out_of_an_ended_action() -> None:
    assert {status for status, ways in TRANSITIONS.items() if not ways} == ENDED


@pytest.mark.parametrize(("said", "meant"), ON_DEPLOYMENT.items())
def test_feedback_to_a_deployment_means_what_it_means_in_hawkbit(
    said: tuple[str, str], meant: tuple[str | None, str]
) -> None:
    outcome = actions.of_deployment("running", *said)
    assert (outcome.status, outcome.logged) == meant
    assert outcome.closes == (said[0] == "closed")


@pytest.mark.parametrize(("said", "meant"), ON_CANCEL.items())
def test_feedback_to_a_cancel_means_what_it_means_in_hawkbit(
    said: tuple[str, str], meant: tuple[str | None, str]
) -> None:
    outcome = actions.of_cancel(*said)
    assert (outcome.status, outcome.logged) == meant


def test_a_late_download_report_does_not_lead_back() -> None:
    assert actions.of_deployment("downloaded", "download", "none") == Outcome(None, Status.DOWNLOAD)
    assert actions.of_deployment("download", "download", "none") == Outcome(None, Status.DOWNLOAD)


def test_a_device_that_was_asked_to_stop_may_still_finish() -> None:
    assert actions.of_deployment("canceling", "closed", "success") == Outcome(Status.FINISHED, Status.FINISHED, True)
    assert actions.of_deployment("canceling", "downloaded", "none") == Outcome(None, Status.DOWNLOADED)


def test_a_download_only_action_is_done_when_the_bytes_are_there() -> None:
    assert actions.of_deployment("download", "downloaded", "none", "downloadonly").closes
    assert not actions.of_deployment("download", "downloaded", "none", "forced").closes


@pytest.mark.parametrize(
    ("details", "meant"),
    [
        ((), (None, None)),
        (("cause: rolled_back", "booted 1.0 again"), ("rolled_back", "booted 1.0 again")),
        (("cause: rolled_back",), ("rolled_back", "The device booted back into its old image.")),
        (("Cause:  made_up ",), ("made_up", "made_up")),
        (("cause:",), ("device_reported", "cause:")),
        (("step 1", "disk is full"), ("device_reported", "disk is full")),
    ],
)
def test_a_failure_has_a_stable_cause_and_a_sentence(
    details: tuple[str, ...], meant: tuple[str | None, str | None]
) -> None:
    assert actions.cause_of(details) == meant

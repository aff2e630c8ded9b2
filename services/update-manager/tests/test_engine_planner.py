"""The planner: lists of numbers in, steps out; whole campaigns walked at random without a database."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from update_manager.domain.rollouts import (
    TRANSITIONS,
    EndGroup,
    FinishRollout,
    Group,
    GroupStatus,
    PauseRollout,
    RolloutStatus,
    StartGroup,
    decide,
    judgement,
    split,
    split_by_percentage,
)


def group(number: int, status: str = "scheduled", total: int = 10, **more: int | str | bool | None) -> Group:
    numbers = {"finished": 0, "error": 0, "cancelled": 0, "success_threshold": 50, "error_threshold": 50}
    return Group(number, status, total, **{**numbers, **more})  # type: ignore[arg-type]


def test_the_first_group_starts_alone() -> None:
    assert decide([group(1), group(2)]) == (StartGroup(1),)


def test_nothing_happens_while_a_group_works() -> None:
    assert decide([group(1, "running", finished=4), group(2)]) == ()


def test_the_next_group_starts_at_the_success_threshold_not_before() -> None:
    assert decide([group(1, "running", finished=4, success_threshold=50), group(2)]) == ()
    assert decide([group(1, "running", finished=5, success_threshold=50), group(2)]) == (StartGroup(2),)


def test_errors_pause_only_above_the_error_threshold() -> None:
    assert decide([group(1, "running", error=5), group(2)]) == ()
    [ended, paused] = decide([group(1, "running", error=6), group(2)])
    assert ended == EndGroup(1, GroupStatus.ERROR)
    assert paused == PauseRollout("6 of 10 devices failed (60 %), 50 % are allowed")


def test_without_an_error_threshold_nothing_pauses() -> None:
    steps = decide([group(1, "running", error=10, error_threshold=None), group(2)])
    assert steps == (EndGroup(1, GroupStatus.FINISHED), StartGroup(2))


def test_a_resumed_rollout_goes_on_after_the_group_that_failed() -> None:
    assert decide([group(1, "error", error=6), group(2)]) == (StartGroup(2),)


def test_a_rollout_waits_for_the_rest_of_a_failed_group_before_it_is_finished() -> None:
    assert decide([group(1, "error", error=6), group(2, "finished", finished=10)]) == ()
    assert decide([group(1, "error", error=6, finished=4), group(2, "finished", finished=10)]) == (FinishRollout(),)


def test_success_action_pause_pauses_once_at_the_threshold() -> None:
    first = group(1, "running", finished=5, success_action="PAUSE")
    [paused] = decide([first, group(2)])
    assert isinstance(paused, PauseRollout) and paused.passed == 1
    assert decide([replace(first, passed=True), group(2)]) == (StartGroup(2),), "resumed, it goes on"
    last = group(2, "running", finished=10, success_action="PAUSE")
    assert decide([group(1, "finished", finished=10), last]) == (EndGroup(2, GroupStatus.FINISHED), FinishRollout())


def test_a_group_whose_devices_were_all_deleted_holds_nothing_up() -> None:
    assert decide([group(1, "running", total=0), group(2)]) == (EndGroup(1, GroupStatus.FINISHED), StartGroup(2))


@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=6),
    st.integers(0, 100),
    st.one_of(st.none(), st.integers(0, 100)),
    st.sampled_from(["NEXTGROUP", "PAUSE"]),
    st.randoms(use_true_random=False),
)
def test_every_campaign_ends_with_groups_in_order(sizes, success, error, success_action, dice) -> None:  # type: ignore[no-untyped-def]
    groups = [
        group(n, total=size, success_threshold=success, error_threshold=error, success_action=success_action)
        for n, size in enumerate(sizes)
    ]
    started: list[int] = []
    for _ in range(sum(sizes) * 3 + len(sizes) * 6 + 5):
        for step in decide(groups):
            match step:
                case StartGroup(number):
                    assert number == len(started), "in order, each once"
                    assert all(one.succeeded or one.status == "error" for one in groups[:number])
                    started.append(number)
                    groups[number] = replace(groups[number], status="running")
                case EndGroup(number, status):
                    assert groups[number].status == "running"
                    groups[number] = replace(groups[number], status=str(status))
                case PauseRollout(_, passed):  # the operator resumes at once
                    if passed is not None:
                        groups[passed] = replace(groups[passed], passed=True)
                case FinishRollout():
                    assert all(one.ended for one in groups) and len(started) == len(groups)
                    return
        waiting = [one for one in groups if one.id in started and not one.ended]
        if waiting:
            one = dice.choice(waiting)
            word = dice.choice(["finished", "error", "cancelled"])
            groups[one.id] = replace(one, **{word: getattr(one, word) + 1})
    raise AssertionError(f"the campaign never ended: {groups}")


@given(st.integers(0, 10_000), st.integers(1, 500))
def test_groups_are_even_never_empty_and_cover_everybody(total: int, groups: int) -> None:
    sizes = split(total, groups)
    assert sum(sizes) == total
    assert max(sizes) - min(sizes) <= 1
    assert all(sizes) or total == 0
    assert list(sizes) == sorted(sizes, reverse=True)


@given(st.integers(0, 10_000), st.lists(st.floats(0.01, 100), min_size=1, max_size=20))
def test_percentages_cover_everybody_too(total: int, percentages: list[float]) -> None:
    sizes = split_by_percentage(total, percentages)
    assert sum(sizes) == total and min(sizes) >= 0 and len(sizes) == len(percentages)


def test_percentages_are_of_what_is_left() -> None:
    assert split_by_percentage(1000, [10, 50, 100]) == (100, 450, 450)


def test_only_stopped_and_finished_rollouts_stay_as_they_are() -> None:
    assert {status for status, ways in TRANSITIONS.items() if not ways} == {
        RolloutStatus.STOPPED,
        RolloutStatus.FINISHED,
    }


def test_the_judgement_is_a_sentence_for_every_status() -> None:
    totals = {"notStarted": 5, "scheduled": 0, "running": 3, "finished": 1, "error": 1, "cancelled": 0}
    for status in RolloutStatus:
        sentence = judgement(status, totals, [group(1, "running")], "too many errors")
        assert sentence[0].isupper() and sentence.endswith(".")
    assert judgement("running", totals, [group(1, "running"), group(2)], None) == (
        "Running: group 1 of 2, 2 of 10 devices done, 1 failed."
    )
    assert judgement(
        "running", totals, [group(1, "finished"), group(2, "running", error=1, error_threshold=20)], None
    ) == (
        "Running: group 2 of 2, 2 of 10 devices done, 1 failed. "
        "In this group 1 of 10 failed (10 %); above 20 % the rollout pauses."
    )
    unlimited = group(1, "running", error=1, error_threshold=None)
    assert "pauses" not in judgement("running", totals, [unlimited], None)

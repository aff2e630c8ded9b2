"""The rollout planner: plain numbers in, the next steps out. Thresholds mean what they mean in hawkBit.

    creating -> ready -> starting -> running -> finished
                                      |  ^
                                      v  |
                                    paused        any of them -> stopped

A group ends its wait when finished / total reaches the success threshold: then the next group starts, or the rollout
pauses if the group's success action says so. It pauses the rollout when errors / total exceed the error threshold. It
is finished when each of its actions has ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class RolloutStatus(StrEnum):
    """States of a rollout, hawkBit's words."""

    CREATING = "creating"
    READY = "ready"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FINISHED = "finished"


class GroupStatus(StrEnum):
    """States of a group."""

    READY = "ready"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    FINISHED = "finished"
    ERROR = "error"


TRANSITIONS: Final[dict[RolloutStatus, frozenset[RolloutStatus]]] = {
    RolloutStatus.CREATING: frozenset({RolloutStatus.READY, RolloutStatus.STOPPING}),
    RolloutStatus.READY: frozenset({RolloutStatus.STARTING, RolloutStatus.STOPPING}),
    RolloutStatus.STARTING: frozenset({RolloutStatus.RUNNING, RolloutStatus.STOPPING}),
    RolloutStatus.RUNNING: frozenset({RolloutStatus.PAUSED, RolloutStatus.FINISHED, RolloutStatus.STOPPING}),
    RolloutStatus.PAUSED: frozenset({RolloutStatus.RUNNING, RolloutStatus.STOPPING}),
    RolloutStatus.STOPPING: frozenset({RolloutStatus.STOPPED}),
    RolloutStatus.STOPPED: frozenset(),
    RolloutStatus.FINISHED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Group:
    """A group's numbers; thresholds in percent, `error_threshold` None never pauses.

    `passed`: its success action was carried out, so that a rollout resumed after it goes on.
    """

    id: int
    status: str
    total: int
    finished: int
    error: int
    cancelled: int
    success_threshold: int
    error_threshold: int | None
    error_action: str = "PAUSE"
    success_action: str = "NEXTGROUP"
    passed: bool = False

    @property
    def ended(self) -> bool:
        """Every action has ended."""
        return self.finished + self.error + self.cancelled >= self.total

    @property
    def succeeded(self) -> bool:
        """The success threshold is reached, or nothing is left to wait for."""
        return self.ended or self.finished * 100 >= self.success_threshold * self.total

    @property
    def failed(self) -> bool:
        """More errors than the error threshold allows."""
        return self.error_threshold is not None and self.error * 100 > self.error_threshold * self.total


@dataclass(frozen=True, slots=True)
class StartGroup:
    """Create and start the group's actions."""

    group_id: int


@dataclass(frozen=True, slots=True)
class EndGroup:
    """The group has nothing left to do; `status` is finished or error."""

    group_id: int
    status: GroupStatus


@dataclass(frozen=True, slots=True)
class PauseRollout:
    """Stop before the next group; `reason` is for the operator, `passed` the group whose success asks for it."""

    reason: str
    passed: int | None = None


@dataclass(frozen=True, slots=True)
class FinishRollout:
    """Everything has ended."""


_NOT_STARTED: Final = (GroupStatus.SCHEDULED, GroupStatus.READY)
Step = StartGroup | EndGroup | PauseRollout | FinishRollout


def decide(groups: Sequence[Group]) -> tuple[Step, ...]:
    """Next steps of a running rollout; groups in order. An empty answer means: wait."""
    steps: list[Step] = []
    may_start = True
    waiting = any(group.status in _NOT_STARTED for group in groups)
    for group in groups:
        if group.status == GroupStatus.RUNNING:
            if group.failed and group.error_action == "PAUSE":
                percent = group.error * 100 // group.total
                allowed = group.error_threshold
                reason = f"{group.error} of {group.total} devices failed ({percent} %), {allowed} % are allowed"
                return (*steps, EndGroup(group.id, GroupStatus.ERROR), PauseRollout(reason))
            if group.ended:
                steps.append(EndGroup(group.id, GroupStatus.FINISHED))
            may_start = may_start and group.succeeded
            if group.succeeded and group.success_action == "PAUSE" and not group.passed and waiting:
                reason = "the group has reached its success threshold; the rollout pauses after it, as planned"
                return (*steps, PauseRollout(reason, passed=group.id))
        elif group.status in _NOT_STARTED:
            if may_start:
                steps.append(StartGroup(group.id))
            return tuple(steps)
    open_groups = [group for group in groups if group.status == GroupStatus.RUNNING and not group.ended]
    errors_open = [group for group in groups if group.status == GroupStatus.ERROR and not group.ended]
    if not open_groups and not errors_open:
        steps.append(FinishRollout())
    return tuple(steps)


def split(total: int, groups: int) -> tuple[int, ...]:
    """Sizes of `groups` groups of `total` targets: even, larger ones first, never an empty one."""
    groups = max(1, min(groups, total or 1))
    base, more = divmod(total, groups)
    return tuple(base + (1 if index < more else 0) for index in range(groups))


def split_by_percentage(total: int, percentages: Sequence[float]) -> tuple[int, ...]:
    """Sizes of groups that each take a share of what is left, hawkBit's way; the last one takes the rest."""
    left, sizes = total, []
    for index, percentage in enumerate(percentages):
        last = index == len(percentages) - 1
        size = left if last else min(left, max(1 if left else 0, round(left * percentage / 100)))
        sizes.append(size)
        left -= size
    return tuple(sizes)


def judgement(status: str, totals: dict[str, int], groups: Sequence[Group], pause_reason: str | None) -> str:
    """How it goes, in one sentence for the operator."""
    ended = totals["finished"] + totals["error"] + totals["cancelled"]
    total = sum(totals[key] for key in ("notStarted", "scheduled", "running", "finished", "error", "cancelled"))
    trouble = f", {totals['error']} failed" if totals["error"] else ""
    match status:
        case "creating":
            return "Collecting the devices the filter matches."
        case "ready":
            return f"Ready: {total} devices will be updated once you start it."
        case "starting":
            return "Starting the first group."
        case "paused":
            return f"Paused: {pause_reason or 'by an operator'}."
        case "finished" if totals["error"]:
            return f"Finished: {totals['finished']} of {total} devices run the new version{trouble}."
        case "finished":
            return f"Finished: all {totals['finished']} devices run the new version."
        case "stopped" | "stopping":
            return f"Stopped: {totals['finished']} of {total} devices had been updated{trouble}."
    running = next((place for place, group in enumerate(groups) if group.status == GroupStatus.RUNNING), None)
    where = "" if running is None else f"group {running + 1} of {len(groups)}, "
    limit = "" if running is None else _distance_to_pause(groups[running])
    return f"Running: {where}{ended} of {total} devices done{trouble}.{limit}"


def _distance_to_pause(group: Group) -> str:
    """How near a group with failures is to the threshold that pauses all; empty when there is none to speak of."""
    if not group.error or group.error_threshold is None or group.error_action != "PAUSE":
        return ""
    share = f"{group.error} of {group.total} failed ({group.error * 100 // group.total} %)"
    return f" In this group {share}; above {group.error_threshold} % the rollout pauses."

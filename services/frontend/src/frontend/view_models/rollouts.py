"""Rollouts as a list, as a form, and as the preview that says what would happen."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from frontend.view_models import bars, savings
from frontend.view_models.formatting import percent, plural, size
from frontend.view_models.overview import RolloutLine, rollout_line
from frontend.view_models.paging import Paging, paging
from frontend.view_models.reading import Json, child, children, maybe_number, number, text, texts

MOST_GROUPS: Final = 500


@dataclass(frozen=True, slots=True)
class RolloutList:
    """Rollouts that move or wait, and those that are over."""

    current: tuple[RolloutLine, ...]
    past: tuple[RolloutLine, ...]
    paging: Paging


@dataclass(frozen=True, slots=True)
class RolloutForm:
    """What was typed: texts, so that nothing typed is lost; `errors` is field -> sentence."""

    name: str = ""
    description: str = ""
    distribution_set_id: str = ""
    target_filter: str = ""
    groups: str = "4"
    success_percent: str = "50"
    error_percent: str = "20"
    start: bool = False
    errors: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """For `POST /rollouts`; raises ValueError unless `checked` found nothing."""
        return {
            "name": self.name,
            "description": self.description,
            "targetFilterQuery": self.target_filter,
            "distributionSetId": int(self.distribution_set_id),
            "amountGroups": int(self.groups),
            "successCondition": {"condition": "THRESHOLD", "expression": str(int(self.success_percent))},
            "errorCondition": {"condition": "THRESHOLD", "expression": str(int(self.error_percent))},
            "type": "forced",
        }


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """A group that would be made; `width` of 100, against the largest."""

    name: str
    targets: int
    share: str
    width: float


@dataclass(frozen=True, slots=True)
class Preview:
    """What would happen: of the `matched`, some are another product, some have the release, the rest downloads it."""

    matched: int
    downloading: int
    already_installed: int
    incompatible: int
    offline: int
    groups: tuple[GroupPlan, ...]
    image_size: str
    bytes_on_air: str
    by_delta: str
    warnings: tuple[str, ...]
    sentence: str


def rollout_list(source: Json, offset: int, limit: int) -> RolloutList:
    """From `GET /rollouts?representation=full`."""
    lines = tuple(rollout_line(item) for item in children(source, "content"))
    over = ("finished", "stopped", "deleted", "approval denied")
    return RolloutList(
        current=tuple(line for line in lines if line.badge.word not in over),
        past=tuple(line for line in lines if line.badge.word in over),
        paging=paging(source, "/rollouts", offset, limit, len(lines), {}),
    )


def rollout_form(given: Mapping[str, str]) -> RolloutForm:
    """From the posted fields, with the errors that need no server to see."""
    values = {
        name: given.get(name, default).strip()
        for name, default in (
            ("name", ""),
            ("description", ""),
            ("distribution_set_id", ""),
            ("target_filter", ""),
            ("groups", "4"),
            ("success_percent", "50"),
            ("error_percent", "20"),
        )
    }
    errors: dict[str, str] = {}
    if not values["distribution_set_id"].isdecimal():
        errors["distribution_set_id"] = "Choose what is to be installed."
    if not values["target_filter"]:
        errors["target_filter"] = "Say which devices: a filter such as targettype.key==sensor."
    if not _within(values["groups"], 1, MOST_GROUPS):
        errors["groups"] = f"A whole number from 1 to {MOST_GROUPS}."
    for name in ("success_percent", "error_percent"):
        if not _within(values[name], 0, 100):
            errors[name] = "A whole number from 0 to 100."
    return RolloutForm(**values, start=given.get("start", "") == "on", errors=errors)


def with_errors(form: RolloutForm, errors: Mapping[str, str]) -> RolloutForm:
    """The same typed values with other errors."""
    return replace(form, errors=errors)


def preview(source: Json) -> Preview:
    """From `POST /rollouts/preview`; `targets` there are those in a group, installed already or not."""
    targets, already, incompatible = (number(source, key) for key in ("targets", "alreadyInstalled", "incompatible"))
    downloading = max(targets - already, 0)
    groups = [(text(item, "name"), number(item, "targets")) for item in children(source, "groups")]
    largest = max((members for _, members in groups), default=0)
    on_air = size(maybe_number(source, "bytesOnAir"))
    if downloading:
        grouped = plural(len(groups), "group", "groups")
        sentence = f"{plural(downloading, 'device downloads', 'devices download')} it, in {grouped}, {on_air} on air."
    else:
        sentence = "No device would download this release."
    return Preview(
        matched=targets + incompatible,
        downloading=downloading,
        already_installed=already,
        incompatible=incompatible,
        offline=number(source, "offline"),
        groups=tuple(
            GroupPlan(
                name,
                members,
                percent(100 * members / targets if targets else 0),
                round(max(100 * members / largest, bars.THINNEST), 2) if largest and members else 0.0,
            )
            for name, members in groups
        ),
        image_size=size(maybe_number(source, "imageSize")),
        bytes_on_air=on_air,
        by_delta=savings.planned(child(source, "forecast")),
        warnings=texts(source, "warnings"),
        sentence=sentence,
    )


def _within(value: str, least: int, most: int) -> bool:
    return value.isdecimal() and value.isascii() and least <= int(value) <= most

"""DDI bodies: what a poll and a deployment look like, and which feedback is taken."""

import zlib
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, Field

from update_manager.adapters.db.tables import Action, Artifact, Delta, SoftwareModule, SoftwareModuleType
from update_manager.domain.actions import EXECUTIONS, FINISHED_WORDS
from update_manager.domain.texts import storable

MAX_DETAILS = 50
MAX_DETAIL = 512
# Longer details are split, as hawkBit does; this is the most one feedback adds to the log.
MAX_LINES = 200
# hawkBit renames these parts for old devices.
PARTS = {"application": "bApp", "runtime": "jvm"}


def _text(value: Any) -> str:
    return storable(value, MAX_DETAIL * MAX_LINES)


Detail = Annotated[str, BeforeValidator(_text)]


def _word(words: frozenset[str]) -> BeforeValidator:
    def check(value: Any) -> str:
        text = str(value).lower()
        if text not in words:
            raise ValueError(f"one of {', '.join(sorted(words))}")
        return text

    return BeforeValidator(check)


class Result(BaseModel):
    """`result` of a feedback."""

    finished: Annotated[str, _word(FINISHED_WORDS)] = "none"
    progress: Any = None


class FeedbackStatus(BaseModel):
    """`status` of a feedback."""

    execution: Annotated[str, _word(EXECUTIONS)]
    result: Result = Field(default_factory=Result)
    code: int | None = Field(None, ge=-(2**31), le=2**31 - 1)
    details: list[Detail] | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """Details, longer ones split into what a line of the log keeps."""
        pieces = (
            detail[start : start + MAX_DETAIL]
            for detail in self.details or ()
            for start in range(0, max(len(detail), 1), MAX_DETAIL)
        )
        return tuple(pieces)[:MAX_LINES]


class Feedback(BaseModel):
    """A feedback; `id` and `time` of older devices are ignored."""

    status: FeedbackStatus


class ConfigData(BaseModel):
    """Attributes of a device; a null value deletes its key."""

    mode: str = "merge"
    data: dict[str, Any]


def handling(action: Action) -> str:
    """How urgent: a device may put off `attempt`, not `forced`."""
    if action.action_type == "timeforced" and action.forced_at is not None and action.forced_at <= datetime.now(UTC):
        return "forced"
    return {"soft": "attempt", "timeforced": "attempt"}.get(action.action_type, "forced")


def poll(
    base: str, action: Action | None, installed: int | None, *, canceling: bool, wants_attributes: bool, sleep: int
) -> dict[str, Any]:
    """Answer to a poll; `base` is the device's own URL, `installed` the action behind its software, `sleep` seconds."""
    links: dict[str, Any] = {}
    if action is not None and canceling:
        links["cancelAction"] = {"href": f"{base}/cancelAction/{action.id}"}
    elif action is not None:
        # The number changes when what is asked for does; clients' regular expressions demand it.
        changes = zlib.crc32(f"{action.id} {handling(action)}".encode()) & 0x7FFFFFFF
        links["deploymentBase"] = {"href": f"{base}/deploymentBase/{action.id}?c={changes}"}
    if installed is not None:
        links["installedBase"] = {"href": f"{base}/installedBase/{installed}"}
    if wants_attributes:
        links["configData"] = {"href": f"{base}/configData"}
    hours, rest = divmod(min(sleep, 86399), 3600)
    minutes, seconds = divmod(rest, 60)
    return {"config": {"polling": {"sleep": f"{hours:02d}:{minutes:02d}:{seconds:02d}"}}, "_links": links}


def deployment(
    base: str,
    action: Action,
    parts: list[tuple[SoftwareModule, SoftwareModuleType, list[Artifact]]],
    history: list[str],
) -> Any:
    """Body of deploymentBase; `history` is what the device reported so far, newest first."""
    download = handling(action)
    update = "skip" if action.action_type == "downloadonly" else download
    chunks = [
        {
            "part": PARTS.get(kind.key, kind.key),
            "version": module.version,
            "name": module.name,
            "artifacts": [artifact(base, one) for one in artifacts],
        }
        for module, kind, artifacts in parts
    ]
    body = {"id": str(action.id), "deployment": {"download": download, "update": update, "chunks": chunks}}
    if history:
        body["actionHistory"] = {"status": action.status.upper(), "messages": history}
    return body


def artifact(base: str, one: Artifact) -> dict[str, Any]:
    """An artifact with its links: by HTTPS when the request came by it; `delta` for images, where one may be asked for.

    `delta` is an extension: a device that does not know the link does not see it.
    """
    href = _href(base, one)
    rel = ("download", "md5sum") if base.startswith("https:") else ("download-http", "md5sum-http")
    links = {rel[0]: {"href": href}, rel[1]: {"href": f"{href}.MD5SUM"}}
    if one.image_sha256 is not None:
        links["delta"] = {"href": f"{href}/delta"}
    return {
        "filename": one.filename,
        "hashes": {"sha1": one.sha1, "md5": one.md5, "sha256": one.sha256},
        "size": one.size,
        "_links": links,
    }


def delta(base: str, one: Artifact, ready: Delta) -> dict[str, Any]:
    """A delta to an artifact, with its link: what it starts from, its bytes, the full image's size beside its own."""
    rel = "download" if base.startswith("https:") else "download-http"
    return {
        "from": ready.from_sha256,
        "sha256": ready.sha256,
        "size": ready.size,
        "format": ready.format,
        "fullSize": one.size,
        "_links": {rel: {"href": f"{_href(base, one)}/delta/{ready.sha256}"}},
    }


def _href(base: str, one: Artifact) -> str:
    return f"{base}/softwaremodules/{one.software_module_id}/artifacts/{quote(one.filename)}"

"""DDI bodies: what a poll and a deployment look like, and which feedback is taken."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from update_manager.adapters.db.tables import Action, Artifact, SoftwareModule, SoftwareModuleType
from update_manager.domain.actions import EXECUTIONS, FINISHED_WORDS

MAX_DETAILS = 50
MAX_DETAIL = 512
# hawkBit renames these parts for old devices.
PARTS = {"application": "bApp", "runtime": "jvm"}


def _text(value: Any) -> str:
    return str(value).replace("\0", "")


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
        """Details, longer ones cut to what the log keeps."""
        return tuple(detail[:MAX_DETAIL] for detail in (self.details or [])[:MAX_DETAILS])


class Feedback(BaseModel):
    """A feedback; `id` and `time` of older devices are ignored."""

    status: FeedbackStatus


class ConfigData(BaseModel):
    """Attributes of a device; a null value deletes its key."""

    mode: str = "merge"
    data: dict[str, Any]


def poll(base: str, action: Action | None, *, canceling: bool, wants_attributes: bool, sleep: int) -> dict[str, Any]:
    """Answer to a poll; `base` is the device's own URL, `sleep` seconds."""
    links: dict[str, Any] = {}
    if action is not None and canceling:
        links["cancelAction"] = {"href": f"{base}/cancelAction/{action.id}"}
    elif action is not None:
        # The number changes when the action does; clients' regular expressions demand it.
        links["deploymentBase"] = {"href": f"{base}/deploymentBase/{action.id}?c={action.id % 2**31}"}
    if wants_attributes:
        links["configData"] = {"href": f"{base}/configData"}
    hours, rest = divmod(min(sleep, 86399), 3600)
    minutes, seconds = divmod(rest, 60)
    return {"config": {"polling": {"sleep": f"{hours:02d}:{minutes:02d}:{seconds:02d}"}}, "_links": links}


def deployment(
    base: str, action: Action, parts: list[tuple[SoftwareModule, SoftwareModuleType, list[Artifact]]]
) -> Any:
    """Body of deploymentBase."""
    handling = {"soft": "attempt", "timeforced": "attempt"}.get(action.action_type, "forced")
    update = "skip" if action.action_type == "downloadonly" else handling
    chunks = [
        {
            "part": PARTS.get(kind.key, kind.key),
            "version": module.version,
            "name": module.name,
            "artifacts": [artifact(base, one) for one in artifacts],
        }
        for module, kind, artifacts in parts
    ]
    return {"id": str(action.id), "deployment": {"download": handling, "update": update, "chunks": chunks}}


def artifact(base: str, one: Artifact) -> dict[str, Any]:
    """An artifact with its links; `download` is offered too when the request came by HTTPS."""
    href = f"{base}/softwaremodules/{one.software_module_id}/artifacts/{one.filename}"
    rel = ("download", "md5sum") if base.startswith("https:") else ("download-http", "md5sum-http")
    return {
        "filename": one.filename,
        "hashes": {"sha1": one.sha1, "md5": one.md5, "sha256": one.sha256},
        "size": one.size,
        "_links": {rel[0]: {"href": href}, rel[1]: {"href": f"{href}.MD5SUM"}},
    }

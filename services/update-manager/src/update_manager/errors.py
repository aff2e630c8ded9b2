"""Errors of the update manager: whose fault, what was being done, what to try; the edges turn `code` into HTTP."""

from typing import Any


class UpdateManagerError(Exception):
    """Base of every named error.

    `code` is stable (hawkBit's key without its `hawkbit.server.error.` prefix where hawkBit has one); `info` carries
    data for programs, such as `{"column": 7, "hint": "..."}`.
    """

    code = "repo.genericError"

    def __init__(self, message: str, **info: Any) -> None:
        super().__init__(message)
        self.message = message
        self.info = info


class NotFound(UpdateManagerError):
    """The entity named in the request does not exist (HTTP 404)."""

    code = "repo.entityNotFound"


class AlreadyExists(UpdateManagerError):
    """A unique name is taken (409)."""

    code = "repo.entityAlreadyExists"


class ConstraintViolation(UpdateManagerError):
    """A field is outside its limits (400)."""

    code = "repo.constraintViolation"


class RsqlSyntaxError(UpdateManagerError):
    """The filter cannot be parsed (400); `info["column"]` is 1-based."""

    code = "rest.param.rsqlParamSyntax"


class RsqlUnknownField(UpdateManagerError):
    """The filter names a field that does not exist (400); `info["column"]` is 1-based."""

    code = "rest.param.rsqlInvalidField"


class IllegalRolloutState(UpdateManagerError):
    """The rollout cannot do that in its present state (400)."""

    code = "rollout.illegalState"


class EmptyRollout(UpdateManagerError):
    """No target would receive the rollout (400)."""

    code = "repo.constraintViolation"


class ActionClosed(UpdateManagerError):
    """Feedback for an action that has ended (410)."""

    code = "action.closed"


class ActionNotCancelable(UpdateManagerError):
    """The action is inactive or already canceling (405)."""

    code = "action.notCancelable"


class ActionNotForceQuitable(UpdateManagerError):
    """Force quit needs a soft cancel first (405)."""

    code = "action.notForceQuitable"


class IncompleteDistributionSet(UpdateManagerError):
    """A mandatory module is missing (400)."""

    code = "distributionset.incomplete"


class IncompatibleTargetType(UpdateManagerError):
    """The distribution set is for another product (400)."""

    code = "target.type.incompatible"


class ImageRefused(UpdateManagerError):
    """The image inspector refused an upload (400); `info` has `reason`, `where`, `hint`."""

    code = "artifact.imageRefused"


class QuotaExceeded(UpdateManagerError):
    """Too many or too large (429 for hawkBit's quotas)."""

    code = "quota.tooManyEntries"


class FileTooLarge(UpdateManagerError):
    """An upload above `max_artifact_bytes` (429, hawkBit's quota.fileSizeExceeded)."""

    code = "quota.fileSizeExceeded"


class ArtifactBinaryMissing(UpdateManagerError):
    """The row is there, the bytes are not (410)."""

    code = "artifact.binaryDeleted"


class NotAuthenticated(UpdateManagerError):
    """No or wrong credentials (401)."""

    code = "notAuthenticated"


class StorageFull(UpdateManagerError):
    """The artifact store cannot be written (507)."""

    code = "quota.storageExceeded"


class ChecksumMismatch(UpdateManagerError):
    """The upload has another hash than the sender said (400); `info["algorithm"]`."""

    code = "artifact.uploadFailed.checksum.sha256.match"

    def __init__(self, algorithm: str, said: str, found: str) -> None:
        super().__init__(f"the file's {algorithm} is {found}, not {said}", algorithm=algorithm)
        self.code = f"artifact.uploadFailed.checksum.{algorithm}.match"


class InvalidSortField(UpdateManagerError):
    """There is no such field to sort by (400)."""

    code = "rest.param.invalidField"


class InvalidSortDirection(UpdateManagerError):
    """Sorting goes ASC or DESC (400)."""

    code = "rest.param.invalidDirection"


class InvalidSortSyntax(UpdateManagerError):
    """Sorting is written `field:ASC,field:DESC` (400)."""

    code = "rest.param.sortParamSyntax"


class MalformedBody(UpdateManagerError):
    """The body cannot be read (400)."""

    code = "rest.body.notReadable"


class UnsupportedModule(UpdateManagerError):
    """A set of this type takes no module of that type, or no further one (400)."""

    code = "distributionset.modules.unsupported"


class NotSupportedYet(UpdateManagerError):
    """The request asks for something whose silent omission would do harm (400)."""

    code = "repo.constraintViolation"


class TooManyTries(UpdateManagerError):
    """Too many wrong passwords (429)."""

    code = "tooManyTries"


class EntityLocked(UpdateManagerError):
    """The entity is in use and cannot be changed (423)."""

    code = "locked"


class ServiceUnavailable(UpdateManagerError):
    """A server we depend on is away (503); try again."""

    code = "serviceUnavailable"


class UnsupportedMediaType(UpdateManagerError):
    """The body has a media type this address does not take (415)."""

    code = "mediaType.unsupported"

"""Why a journey ended badly: stable codes, what each Result means for the next attempt, sentences for operators."""

from typing import Final

from lwm2m.firmware import Result, result_text

ROLLED_BACK: Final = "rolled_back"
CONFIRM_TIMEOUT: Final = "confirm_timeout"
DEVICE_SILENT: Final = "device_silent"
DEVICE_REFUSED: Final = "device_refused"
WRONG_VERSION: Final = "wrong_version"
DOWNLOAD_FAILED: Final = "download_failed"

CAUSES: Final[dict[int, str]] = {
    Result.NOT_ENOUGH_FLASH: "not_enough_flash",
    Result.OUT_OF_RAM: "out_of_ram",
    Result.CONNECTION_LOST: "connection_lost",
    Result.INTEGRITY_CHECK_FAILED: "integrity_check_failed",
    Result.UNSUPPORTED_PACKAGE_TYPE: "unsupported_package_type",
    Result.INVALID_URI: "invalid_uri",
    Result.UPDATE_FAILED: "update_failed",
    Result.UNSUPPORTED_PROTOCOL: "unsupported_protocol",
}

# How often a download is tried in all, by the Result that ended the attempt before; one when it would not help.
ATTEMPTS: Final[dict[int, int]] = {
    Result.OUT_OF_RAM: 2,
    Result.CONNECTION_LOST: 5,
    Result.INTEGRITY_CHECK_FAILED: 2,
}


def cause_of(result: int) -> str:
    """Stable code of a Result; one nobody knows counts as a failed update and keeps its number in the text."""
    return CAUSES.get(result, "update_failed")


def text_of(result: int) -> str:
    """What the device said, in words and number."""
    return f"the device reported result {result}: {result_text(result)}"


def worth_another(result: int, attempt: int) -> bool:
    """Whether attempt number `attempt`, ended by `result`, should be followed by one more."""
    return attempt < ATTEMPTS.get(result, 1)

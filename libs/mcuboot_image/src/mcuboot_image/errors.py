"""What can be wrong with an image, in words an operator can act on."""


class DecodeError(ValueError):
    """The bytes are no MCUboot image; `offset` is the byte where they stop being one."""

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(f"{reason} (at byte {offset})")
        self.reason = reason
        self.offset = offset


class VerificationError(ValueError):
    """The image is well formed and must not be trusted.

    `reason` is a stable word: `unsigned`, `hash_missing`, `hash_mismatch`, `foreign_key`, `signature_invalid`,
    `unsupported_signature`; `hint` says what to do.
    """

    def __init__(self, reason: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.hint = hint

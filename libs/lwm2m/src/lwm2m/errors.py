"""Whose fault it is: EncodeError (ours), DecodeError (the peer's, with offset)."""


class EncodeError(ValueError):
    """We were asked to write something the format cannot carry."""


class DecodeError(ValueError):
    """The peer sent something that is not the format it claims; `offset` counts bytes or records."""

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(f"{reason} (at {offset})")
        self.reason = reason
        self.offset = offset

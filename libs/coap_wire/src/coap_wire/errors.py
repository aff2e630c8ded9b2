"""Two sorts of blame: we asked for nonsense (EncodeError), the peer sent nonsense (DecodeError)."""


class EncodeError(ValueError):
    """The caller asked for a message that CoAP cannot carry."""


class DecodeError(ValueError):
    """The datagram is no CoAP message; `offset` is the byte where it stops making sense."""

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(f"{reason} at byte {offset}")
        self.reason = reason
        self.offset = offset

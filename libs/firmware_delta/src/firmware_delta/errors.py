"""What can be wrong with a delta, in the two sorts a device tells apart."""


class DecodeError(ValueError):
    """The bytes are no delta, or not one for this base; LwM2M's result 5 (integrity check failure)."""


class Unsupported(DecodeError):
    """A delta in a form this decoder does not know; LwM2M's result 6 (unsupported package type)."""

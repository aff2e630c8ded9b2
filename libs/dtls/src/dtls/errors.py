"""What can be wrong with a DTLS configuration; what peers send wrong is discarded, never raised."""


class UnusableStack(RuntimeError):
    """The OpenSSL that is linked in lacks something this library is built on."""


class SequenceExhausted(RuntimeError):
    """A session has sent 2**48 records; it has to be made anew (RFC 6347 section 4.1)."""

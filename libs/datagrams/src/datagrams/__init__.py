"""UDP for services that answer many small datagrams: one socket, two readers, a compiled part where it was built."""

from datagrams.transport import Address, Transport, udp_socket

__all__ = ["Address", "Transport", "udp_socket"]

"""Only datagrams that were sent to this host alone: a filter in the kernel for IPv4 UDP sockets (Linux).

A socket bound to 0.0.0.0 also gets broadcasts, and multicasts of any group that some program of the host has joined. A
server that means to be asked by one client at a time must not answer them: all hosts of a network would do so at once,
to an address that is easily forged (RFC 7252 section 8.1 and 11.3).
"""

import ctypes
import socket
import struct
import sys
from typing import Final

# Not in Python's socket module: asm-generic/socket.h.
_SO_ATTACH_FILTER: Final = 26
# Classic BPF (linux/filter.h, linux/bpf_common.h): code, jump if true, jump if false, operand. SKF_AD_OFF and
# SKF_NET_OFF are negative offsets that mean "about the packet" and "from its IP header on".
_LOAD_PACKET_TYPE: Final = (0x30, 0, 0, 0xFFFFF000 + 4)
_LOAD_DESTINATION: Final = (0x20, 0, 0, 0xFFF00000 + 16)
_PROGRAM: Final = (
    _LOAD_PACKET_TYPE,
    (0x15, 0, 3, 0),  # PACKET_HOST: the link layer addressed this host; else to the last line
    _LOAD_DESTINATION,
    (0x35, 1, 0, 224 << 24),  # 224.0.0.0 and above: multicast, reserved, broadcast
    (0x06, 0, 0, 0xFFFFFFFF),  # take it whole
    (0x06, 0, 0, 0),  # drop it
)


class _Filter(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def only_unicast(opened: socket.socket) -> None:
    """Let the kernel drop broadcasts and multicasts for this socket; raises OSError. Does nothing but on Linux."""
    if sys.platform != "linux":
        return
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _PROGRAM))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(_Filter(len(_PROGRAM), ctypes.addressof(code))))

"""A server's socket hears what was sent to it alone, and nothing that was sent to many."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import closing

import pytest

from datagrams import udp_socket
from datagrams.unicast import only_unicast

ALL_COAP_NODES = "224.0.1.187"


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    """Sends to all over the loopback interface."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        yield opened


@pytest.fixture
def member() -> Iterator[socket.socket]:
    """Some other program of this host, which has joined the group."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as opened:
        group = struct.pack("4s4s", socket.inet_aton(ALL_COAP_NODES), socket.inet_aton("127.0.0.1"))
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        yield opened


def heard(opened: socket.socket, sender: socket.socket) -> list[bytes]:
    """What arrives of one datagram to many and one to this socket alone, which comes last."""
    opened.settimeout(10)
    port = opened.getsockname()[1]
    sender.sendto(b"to all", (ALL_COAP_NODES, port))
    sender.sendto(b"to one", ("127.0.0.1", port))
    arrived = [opened.recv(100)]
    while arrived[-1] != b"to one":
        arrived.append(opened.recv(100))
    return arrived


def test_without_the_filter_a_multicast_of_somebody_elses_group_arrives(
    sender: socket.socket, member: socket.socket
) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as opened:
        opened.bind(("0.0.0.0", 0))
        assert heard(opened, sender) == [b"to all", b"to one"]
        only_unicast(opened)
        assert heard(opened, sender) == [b"to one"]


@pytest.mark.rfc("7252 8.1")
@pytest.mark.parametrize("share_port", [False, True])
def test_a_servers_socket_hears_what_was_sent_to_it_alone(
    share_port: bool, sender: socket.socket, member: socket.socket
) -> None:
    with closing(udp_socket("0.0.0.0", 0, share_port)) as opened:
        assert heard(opened, sender) == [b"to one"]


async def test_large_datagrams_arrive_whole(sender: socket.socket) -> None:
    with closing(udp_socket("0.0.0.0", 0)) as opened:
        sender.sendto(bytes(65_507), ("127.0.0.1", opened.getsockname()[1]))
        assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(opened, 65_535), 10) == bytes(65_507)

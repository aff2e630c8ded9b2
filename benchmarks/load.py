"""What load.c does, for a machine without a compiler; two processes, because one is slower than what it measures."""

import multiprocessing
import select
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PROCESSES = 2


@dataclass
class Client:
    """One device with one request under way; `head` is its token and the coded Uri-Path."""

    socket: socket.socket
    head: bytes
    mid: int
    block: int = 0
    request: bytes = b""
    asked_at: float = 0.0

    def ask(self, szx: int, now: float) -> None:
        """Send the GET for `block`."""
        self.mid = (self.mid + 1) & 0xFFFF
        value = self.block << 4 | szx
        raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
        self.request = b"\x44\x01" + self.mid.to_bytes(2, "big") + self.head + bytes((0xC0 | len(raw),)) + raw + b"\x50"
        self.asked_at = now
        self.socket.send(self.request)


def client_of(port: int, number: int, path: str) -> Client:
    """A client on a socket of its own."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setblocking(False)
    one.connect(("127.0.0.1", port))
    coded, delta = b"", 0xB0
    for part in path.encode().split(b"/"):
        length = bytes((len(part) - 13,)) if len(part) > 12 else b""
        coded += bytes((delta | min(len(part), 13),)) + length + part
        delta = 0
    return Client(one, number.to_bytes(4, "big") + coded, number * 61)


def fetch(
    port: int, seconds: float, szx: int, body: bytes, check: bool, paths: list[str]
) -> tuple[int, float, int, int]:
    """Fetch with one client per path; returns blocks, seconds, repeats and wrong answers."""
    step, got, repeats, wrong = 16 << szx, 0, 0, 0
    blocks = -(-len(body) // step)
    clients = {one.socket.fileno(): one for one in (client_of(port, *each) for each in enumerate(paths))}
    poll = select.epoll()
    for number in clients:
        poll.register(number, select.EPOLLIN)
    began = now = looked = time.monotonic()
    for client in clients.values():
        client.ask(szx, now)
    while now - began < seconds:
        for number, _ in poll.poll(0.1):
            client = clients[number]
            try:
                datagram = client.socket.recv(2048)
            except OSError:
                continue
            if datagram[2:4] != client.request[2:4] or (check and datagram[1] == 0):
                continue
            offset = client.block * step
            if check and not (datagram[1] == 0x45 and datagram.endswith(b"\xff" + body[offset : offset + step])):
                wrong += 1
                continue
            got += 1
            client.block = (client.block + 1) % blocks
            client.ask(szx, now)
        now = time.monotonic()
        if now - looked > 0.2:
            looked = now
            for client in clients.values():
                if now - client.asked_at > 1.0:
                    repeats += 1
                    client.asked_at = now
                    client.socket.send(client.request)
    return got, now - began, repeats, wrong


def main() -> None:
    """`load.py PORT SECONDS SZX BODY MODE PATH...`, as load.c."""
    port, seconds, szx, body, mode, *paths = sys.argv[1:]
    common = (int(port), float(seconds), int(szx), Path(body).read_bytes(), mode == "check")
    with multiprocessing.Pool(PROCESSES) as pool:
        parts = pool.starmap(fetch, [(*common, paths[at::PROCESSES]) for at in range(PROCESSES)])
    got, lasted, repeats, wrong = zip(*parts, strict=True)
    sys.stdout.write(f"{sum(got)} {max(lasted):.4f} {sum(repeats)} {sum(wrong)}\n")


if __name__ == "__main__":
    main()

"""What load.c does, for a machine without a compiler; two processes, because one is slower than what it measures."""

import multiprocessing
import select
import socket
import sys
import time
from pathlib import Path

PROCESSES = 2


def fetch(
    port: int, seconds: float, szx: int, body: bytes, check: bool, paths: list[str]
) -> tuple[int, float, int, int]:
    """Fetch with one client per path; returns blocks, seconds, repeats and wrong answers."""
    step, got, repeats, wrong = 16 << szx, 0, 0, 0
    blocks = -(-len(body) // step)
    poll = select.epoll()
    clients = {}
    for number, path in enumerate(paths):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setblocking(False)
        one.connect(("127.0.0.1", port))
        poll.register(one.fileno(), select.EPOLLIN)
        coded, delta = b"", 0xB0
        for part in path.encode().split(b"/"):
            coded += bytes((delta | min(len(part), 13),)) + (bytes((len(part) - 13,)) if len(part) > 12 else b"") + part
            delta = 0
        clients[one.fileno()] = [one, number.to_bytes(4, "big") + coded, 0, number * 61, 0.0, b""]

    def ask(client: list, at: float) -> None:  # type: ignore[type-arg]
        client[3] = (client[3] + 1) & 0xFFFF
        value = client[2] << 4 | szx
        raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
        client[5] = b"\x44\x01" + client[3].to_bytes(2, "big") + client[1] + bytes((0xC0 | len(raw),)) + raw + b"\x50"
        client[4] = at
        client[0].send(client[5])

    began = at = looked = time.monotonic()
    for client in clients.values():
        ask(client, at)
    while at - began < seconds:
        for number, _ in poll.poll(0.1):
            client = clients[number]
            try:
                datagram = client[0].recv(2048)
            except OSError:
                continue
            if datagram[2:4] != client[5][2:4] or (check and datagram[1] == 0):
                continue
            offset = client[2] * step
            if check and not (datagram[1] == 0x45 and datagram.endswith(b"\xff" + body[offset : offset + step])):
                wrong += 1
                continue
            got += 1
            client[2] = (client[2] + 1) % blocks
            ask(client, at)
        at = time.monotonic()
        if at - looked > 0.2:
            looked = at
            for client in clients.values():
                if at - client[4] > 1.0:
                    repeats += 1
                    client[4] = at
                    client[0].send(client[5])
    return got, at - began, repeats, wrong


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

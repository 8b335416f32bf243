"""Many viewers of a live page in one process, until it is killed.

Of ten, six read all they get, two read slowly and two never read.

python examples/benchmarks/delivery/crowd.py 8765 50
"""

from __future__ import annotations

import selectors
import socket
import sys
import time

SLOW_BYTES = 4096  # a second


def watch(port: int, viewers: int) -> None:
    """Open so many connections and read from them, each in its way."""
    eager, slow, asleep = selectors.DefaultSelector(), [], []
    for number in range(viewers):
        viewer = socket.create_connection(("127.0.0.1", port))
        viewer.sendall(b"GET /live.mp4 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if number % 10 < 6:
            eager.register(viewer, selectors.EVENT_READ)
        elif number % 10 < 8:
            viewer.setblocking(False)
            slow.append(viewer)
        else:
            asleep.append(viewer)
    next_sip = time.monotonic()
    while True:
        for key, _ in eager.select(0.2):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if not sock.recv(1 << 16):
                eager.unregister(sock)
        if time.monotonic() >= next_sip:
            next_sip += 1
            for viewer in slow:
                sip(viewer)


def sip(viewer: socket.socket) -> None:
    """Read a little, if there is any."""
    try:
        viewer.recv(SLOW_BYTES)
    except BlockingIOError:
        return


if __name__ == "__main__":
    watch(int(sys.argv[1]), int(sys.argv[2]))

"""Open many connections of viewers to a live page in one process, until it is killed.

Of ten viewers, six read everything, two read slowly and two never read.

python examples/benchmarks/delivery/crowd.py 8765 50
"""

from __future__ import annotations

import selectors
import socket
import sys
import time

SLOW_BYTES = 4096  # per second


def watch(port: int, viewers: int) -> None:
    """Open `viewers` connections and read from them at their speeds."""
    fast, slow, stalled = selectors.DefaultSelector(), [], []
    for number in range(viewers):
        viewer = socket.create_connection(("127.0.0.1", port))
        viewer.sendall(b"GET /live.mp4 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if number % 10 < 6:
            fast.register(viewer, selectors.EVENT_READ)
        elif number % 10 < 8:
            viewer.setblocking(False)
            slow.append(viewer)
        else:
            stalled.append(viewer)
    next_read = time.monotonic()
    while True:
        for key, _ in fast.select(0.2):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if not sock.recv(1 << 16):
                fast.unregister(sock)
        if time.monotonic() >= next_read:
            next_read += 1
            for viewer in slow:
                read_a_little(viewer)


def read_a_little(viewer: socket.socket) -> None:
    """Read up to `SLOW_BYTES` without waiting."""
    try:
        viewer.recv(SLOW_BYTES)
    except BlockingIOError:
        return


if __name__ == "__main__":
    watch(int(sys.argv[1]), int(sys.argv[2]))

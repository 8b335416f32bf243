"""Ports of this machine: a free one, and waiting until one is taken."""

from __future__ import annotations

import socket
import time

TIMEOUT_SECONDS = 120  # generous, for a busy machine


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_taken(port: int, kind: socket.SocketKind) -> None:
    """Wait until a port is in use, without connecting to it."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not _is_taken(port, kind):
        assert time.monotonic() < deadline, "no program listens"
        time.sleep(0.02)


def _is_taken(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False

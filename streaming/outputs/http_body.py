"""The body of an HTTP request as a file: what is written goes to the server in chunks.

libavformat can send it too, but neither checks the certificate of the server nor its answer.
"""

from __future__ import annotations

import base64
import socket
import ssl
import time
from urllib.parse import unquote, urlsplit

_EXPECTING = 1.0  # seconds for a server to take the request, which some do not answer (RFC 9110)
_ANSWERING = 2.0  # seconds for its answer after the end


class HttpBody:
    """A `POST` to an address, whose server may refuse it at once, in between or at the end.

    Raises:
        OSError: there is no connection, or the server refuses the request.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        secure, host = parts.scheme == "https", parts.hostname or ""
        plain = socket.create_connection((host, parts.port or (443 if secure else 80)))
        self._socket = (
            ssl.create_default_context().wrap_socket(plain, server_hostname=host)
            if secure
            else plain
        )
        self._answer = b""
        self._answered = self._over = False
        self._has_status = False  # whether a final answer came, which may be before the end
        user, _, place = parts.netloc.rpartition("@")
        lines = [
            f"POST {parts.path or '/'}{'?' * bool(parts.query)}{parts.query} HTTP/1.1",
            f"Host: {place}",
            "Content-Type: video/mp2t",
            "Transfer-Encoding: chunked",
            "Expect: 100-continue",
        ]
        if user:
            word = base64.b64encode(unquote(user).encode()).decode()
            lines.append(f"Authorization: Basic {word}")
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._await_answer(_EXPECTING)

    def write(self, data: bytes) -> int:
        """Send one chunk."""
        if data and not self._over:
            self._check(0.0)
            chunk = bytes(data)
            self._socket.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        return len(data)

    def finish(self) -> None:
        """Send the end and check the answer; a server that is silent has not refused it."""
        self._over = True
        self._socket.sendall(b"0\r\n\r\n")
        self._answered = False
        self._await_answer(_ANSWERING)
        self._socket.close()

    def _await_answer(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._answered and (left := until - time.monotonic()) > 0:
            self._check(left)

    def _check(self, seconds: float) -> None:
        """Read what the server has answered so far; waits for it, if it has not."""
        self._socket.settimeout(seconds)
        try:
            data = self._socket.recv(1 << 12)
        except (BlockingIOError, TimeoutError, ssl.SSLWantReadError):
            return
        finally:
            self._socket.settimeout(None)
        if not data and not self._has_status:
            raise ConnectionResetError("the server has closed the connection without an answer")
        if not data:
            self._answered = True
        self._answer = (self._answer + data)[-(1 << 16) :]
        while b"\r\n\r\n" in self._answer:
            head, _, self._answer = self._answer.partition(b"\r\n\r\n")
            self._take(head.split(b"\r\n")[0].decode(errors="replace"))

    def _take(self, line: str) -> None:
        _, _, status = line.partition(" ")
        self._answered = True
        if status.startswith("1"):
            return
        if not status.startswith("2"):
            raise OSError(f"server returned {status}")
        self._has_status = True

"""Processes as forks of one that has imported torch and transformers already.

`process_server.py` is that one: each worker of pytest starts it when it needs it first.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
AVAILABLE = sys.platform == "linux"
_LOCK = threading.Lock()


class ForkedProcess(subprocess.Popen[Any]):
    """A started Python script or module; `args` is `[sys.executable, ...]` as for `Popen`.

    Args:
        file_bytes: limit of the size of files that the process may write.
    """

    def __init__(self, args: list[str], *, file_bytes: int | None = None, **more: Any) -> None:
        self._file_bytes = file_bytes
        super().__init__(args, **more)

    def _execute_child(self, args: list[str], *more: Any) -> None:
        """Called by `Popen` with the pipes of the process."""
        _, preexec_fn, _, _, cwd, env = more[:6]
        pipes, new_session = more[9:15], more[20]
        if preexec_fn is not None or args[0] != sys.executable:
            raise ValueError("only a new interpreter can run a preexec_fn, or another program")
        order = {
            "argv": args[1:],
            "cwd": str(cwd or os.getcwd()),
            "env": dict(os.environ if env is None else env),
            "file_bytes": self._file_bytes,
            "new_session": new_session,
        }
        given = (pipes[0], pipes[3], pipes[5])
        ends = [number if end == -1 else end for number, end in enumerate(given)]
        try:
            self.pid = _fork(json.dumps(order).encode(), ends)
        finally:
            self._close_pipe_fds(*pipes)  # pyright: ignore[reportAttributeAccessIssue]
        self._child_created = True


def popen(args: Sequence[str | Path], **more: Any) -> subprocess.Popen[Any]:
    """Stand in for `subprocess.Popen`: a fork where there can be one."""
    words, env = [str(word) for word in args], more.get("env") or os.environ
    same = env.get("PYTHONPATH") == os.environ.get("PYTHONPATH")
    script = words[0] == sys.executable and (words[1] == "-m" or words[1].endswith(".py"))
    if not (AVAILABLE and same and script) or "preexec_fn" in more:
        return _NEW(args, **more)
    return ForkedProcess(words, **more)


_NEW: Any = subprocess.Popen  # before a test replaces it


def _fork(order: bytes, streams: list[int]) -> int:
    """Let the server fork a process; it becomes a child of this one."""
    with _LOCK:
        server, _ = _server()
        prctl = ctypes.CDLL(None).prctl
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # the parent of processes that lose theirs
        try:
            socket.send_fds(server, [order], streams)
            return int(server.recv(20))
        finally:
            prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@cache
def _server() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start the server, which ends when the returned socket to it is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    script = str(Path(__file__).with_name("process_server.py"))
    process = _NEW(
        [sys.executable, script, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    )
    theirs.close()
    return ours, process

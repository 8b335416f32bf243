"""Start processes as forks of one that has imported what they need: `process_server.py SOCKET`.

The imports are most of the time of a process with a tiny model. `tests/forked.py` is the client.
Each message on the socket is a JSON object, with standard input, output and error attached; the
answer is the number of the new process, which is then a child of the client. A process whose own
start is tested must be a new interpreter instead.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import resource
import runpy
import socket
import sys
import threading
import traceback
from importlib import import_module
from typing import Any, NoReturn

from sana_stream.cli.process import silence_libraries

MESSAGE_BYTES = 1 << 20
IMPORTS = (
    *("sana_stream.cli.commands.generate", "sana_stream.cli.commands.resume"),
    *("sana_stream.cli.commands.serve", "sana_stream.engine.engine"),
    *("sana_stream.engine.loading.model", "sana_stream.streaming.outputs.open"),
    *("sana_stream.models.transformer", "sana_stream.models.vae.wan"),
    "transformers.models.gemma2.modeling_gemma2",
)


def serve(connection: socket.socket) -> None:
    """Start a process for every message until the client has closed the socket."""
    while True:
        message, streams, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, 3)
        if not message:
            return
        connection.send(str(spawn(json.loads(message), streams)).encode())
        for stream in streams:
            os.close(stream)


def spawn(order: dict[str, Any], streams: list[int]) -> int:
    """Fork a process that is no child of this one, and return its number."""
    read, write = os.pipe()
    parent = os.fork()
    if not parent:
        child = os.fork()
        if not child:
            become(order, streams)
        os.write(write, str(child).encode())
        os._exit(0)
    os.waitpid(parent, 0)  # then the child's parent is the client, see `forked.py`
    child = int(os.read(read, 20))
    os.close(read)
    os.close(write)
    return child


def become(order: dict[str, Any], streams: list[int]) -> NoReturn:
    """Run the words of a command line after `python`, with its streams and environment; exit."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False, errors="backslashreplace", buffering=1)
    if order["new_session"]:
        os.setsid()
    if order["file_bytes"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_bytes"],) * 2)
    code = 0
    try:
        run(order["argv"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    # waits for threads, as the interpreter does when it ends
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def run(argv: list[str]) -> None:
    """Run a module, code or a script: `-m NAME ...`, `-c CODE ...` or `NAME.py ...`."""
    if argv[0] == "-m":
        sys.argv = argv[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    elif argv[0] == "-c":
        sys.argv = ["-c", *argv[2:]]
        sys.path[0] = os.getcwd()
        exec(compile(argv[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = argv
        sys.path[0] = os.path.dirname(os.path.abspath(argv[0]))
        runpy.run_path(argv[0], run_name="__main__")


if __name__ == "__main__":
    silence_libraries(os.environ)
    for module in IMPORTS:
        import_module(module)
    gc.collect()
    gc.freeze()  # a fork then copies less
    serve(socket.socket(fileno=int(sys.argv[1])))

"""A child process that reads foreign files within limits of memory and time, and tells how it went.

Started by `read_in_bounds`; the child's own part is at the end.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MEMORY = 1 << 30  # bytes of address space beyond what the libraries take
SECONDS = 120  # of processor time, for all files together


def read_in_bounds(readers: list[str], files: Mapping[str, Path], cwd: Path) -> dict[str, Any]:
    """How each reader ended with each file, read by one process of bounded memory and time.

    Args:
        readers: functions of a path, as "module:name".
        files: by what they are.
        cwd: where it works; code that ran would leave traces there.

    Returns:
        By "name | reader": `error` (the class, with those that it derives from), `message` and
        `seconds` of processor time; `rss` under its own name, in bytes.
    """
    job = {"readers": readers, "files": {name: str(path) for name, path in files.items()}}
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return json.loads(done.stdout)


def _child() -> None:
    from importlib import import_module

    job = json.load(sys.stdin)
    readers = {}
    for reader in job["readers"]:
        module, name = reader.split(":")
        readers[name] = getattr(import_module(module), name)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    told: dict[str, Any] = {}
    for name, path in job["files"].items():
        for called, reader in readers.items():
            told[f"{name} | {called}"] = _try(reader, Path(path))
    told["rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(json.dumps(told))


def _try(reader: Any, path: Path) -> dict[str, Any]:
    begun = time.process_time()
    ended: dict[str, Any] = {"error": [], "message": ""}
    try:
        reader(path)
    except BaseException as error:  # a panic of Rust is no Exception
        ended = {"error": [kind.__name__ for kind in type(error).__mro__], "message": str(error)}
    return ended | {"seconds": time.process_time() - begun}


if __name__ == "__main__":
    _child()

"""Reading of untrusted files in a child process with limits on memory and time.

`read_in_bounds` starts the child, whose code is at the end of this file.
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

MEMORY = 1 << 30  # bytes of address space in addition to that of the libraries
SECONDS = 120  # of CPU time for all files together


def read_in_bounds(readers: list[str], files: Mapping[str, Path], cwd: Path) -> dict[str, Any]:
    """Run each reader on each file, in one process of bounded memory and time.

    Args:
        readers: functions of a path, as "module:name".
        files: paths by description.
        cwd: working directory of the process, in which code that ran would leave files.

    Returns:
        By "name | reader": `error` (the class and its base classes), `message` and `seconds` of
        CPU time; the peak of resident memory in bytes by "rss".
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

    sys.path.append(str(Path(__file__).parents[2]))
    from peak_memory import peak_memory

    job = json.load(sys.stdin)
    readers = {}
    for reader in job["readers"]:
        module, name = reader.split(":")
        readers[name] = getattr(import_module(module), name)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    results: dict[str, Any] = {}
    for name, path in job["files"].items():
        for called, reader in readers.items():
            results[f"{name} | {called}"] = _try(reader, Path(path))
    results["rss"] = peak_memory()
    sys.stdout.write(json.dumps(results))


def _try(reader: Any, path: Path) -> dict[str, Any]:
    start = time.process_time()
    ended: dict[str, Any] = {"error": [], "message": ""}
    try:
        reader(path)
    except BaseException as error:  # a panic of Rust is no Exception
        ended = {"error": [kind.__name__ for kind in type(error).__mro__], "message": str(error)}
    return ended | {"seconds": time.process_time() - start}


if __name__ == "__main__":
    _child()

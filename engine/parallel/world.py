"""The processes of one stream: started here, or by torchrun; needs no torch."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import sana_stream
from sana_stream._text import safe_text
from sana_stream.engine.cpu_share import allowed_cores
from sana_stream.errors import ConfigError, ParallelError

LINK = "SANA_STREAM_LINK"  # in the environment of processes started here: address and key
LOOPBACK = "127.0.0.1"
WORKER = ("-m", "sana_stream.engine.parallel")  # arguments of the Python of the other processes
_NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class World:
    """This process among those that torchrun, or another launcher, has started."""

    rank: int
    size: int
    local_rank: int  # the number of this process on its machine
    address: str  # of the first process's machine


def launched_world(environ: Mapping[str, str] = os.environ) -> World | None:
    """The world that a launcher has described in the environment; None for one process.

    Raises:
        ConfigError: numbers that do not describe one.
    """
    if any(name not in environ for name in _NAMES):
        return None
    try:
        rank, size = int(environ["RANK"]), int(environ["WORLD_SIZE"])
        local = int(environ.get("LOCAL_RANK", rank))
    except ValueError:
        rank, size, local = -1, 0, 0
    if not 0 <= rank < size:
        given = f"RANK={environ['RANK']} and WORLD_SIZE={environ['WORLD_SIZE']}"
        raise ConfigError(f"{safe_text(given, 80)} are no rank and size: start with torchrun")
    return None if size == 1 else World(rank, size, local, environ["MASTER_ADDR"])


def is_follower() -> bool:
    """Whether a launcher has started this process to compute a part of the first one's stream."""
    try:
        world = launched_world()
    except ConfigError:  # the first process reports it
        return False
    return world is not None and world.rank > 0


def check_count(devices: int | None) -> int:
    """The number of devices: as given, or that of the launcher, or 1.

    Raises:
        ConfigError: another number than the launcher has started.
    """
    world = launched_world()
    if world is None:
        return 1 if devices is None else devices
    if devices is not None and devices != world.size:
        raise ConfigError(
            f"devices={devices} is given, and torchrun has started {world.size} processes: leave"
            " devices= out"
        )
    return world.size


def check_one_process(what: str) -> None:
    """Refuse what runs on one device in a world of several processes.

    Args:
        what: the command, such as "serve".

    Raises:
        ConfigError: a launcher has started several processes.
    """
    if (world := launched_world()) is not None:
        raise ConfigError(
            f"{what} runs in one process, torchrun has started {world.size}: start it without"
            " torchrun"
        )


class Processes:
    """The other processes of a stream, started on this machine.

    Args:
        count: how many.
        devices: of the stream, this process's included.
        port: of the store, on the loopback address.
        link: host, port and key of the control connection, for the environment.
        on_cpu: the devices share this machine's processors.
    """

    def __init__(self, count: int, devices: int, port: int, link: str, on_cpu: bool) -> None:
        self._logs: list[IO[bytes]] = []
        self._running: list[subprocess.Popen[bytes]] = []
        package = Path(next(iter(sana_stream.__path__))).parent
        path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
        shared = os.environ | {
            "PYTHONPATH": path,
            "WORLD_SIZE": str(devices),
            "MASTER_ADDR": LOOPBACK,
            "MASTER_PORT": str(port),
            LINK: link,
        }
        if on_cpu:
            shared.setdefault("OMP_NUM_THREADS", str(max(1, allowed_cores() // devices)))
        for rank in range(1, count + 1):
            log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
            self._logs.append(log)
            self._running.append(
                subprocess.Popen(
                    [sys.executable, "-P", *WORKER],
                    env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for the first process
                )
            )

    def check(self) -> None:
        """Raise ParallelError if a process has ended, with the last line that it printed."""
        for rank, (process, log) in enumerate(zip(self._running, self._logs, strict=True), 1):
            if process.poll() is not None:
                log.seek(0)
                lines = log.read().decode(errors="replace").strip().splitlines() or ["no message"]
                raise ParallelError(
                    f"process {rank} has ended with code {process.returncode}:"
                    f" {safe_text(lines[-1], 400)}"
                )

    def pids(self) -> list[int]:
        """The numbers of the processes, in the order of their ranks."""
        return [process.pid for process in self._running]

    def stop(self, seconds: float) -> None:
        """Wait for the processes to end, and kill those that have not after some seconds."""
        for process in self._running:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for log in self._logs:
            log.close()

"""CPU affinity and cgroup quota of this process, and how OpenMP threads wait; without torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path

_CHOSEN_BY = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
# rounds that a waiting thread looks again before it sleeps: some microseconds, so that what
# follows at once costs no sleep, and little is taken from other processes
_SPINS = "1000"
_CGROUPS = Path("/sys/fs/cgroup")


def choose_waiting(environ: MutableMapping[str, str]) -> None:
    """Let OpenMP's threads sleep while they wait, unless the environment says how they are to.

    By default they spin for milliseconds. Next to a busy process a thread that spins takes the core
    from the one it waits for. The libraries read the environment once, when they are loaded: this
    is to be called before torch is imported.
    """
    if not any(name in environ for name in _CHOSEN_BY):
        environ["GOMP_SPINCOUNT"] = _SPINS  # GNU's library, in torch's wheels
        environ["KMP_BLOCKTIME"] = "0"  # Intel's and LLVM's, in milliseconds


def allowed_cores(cgroups: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """The processors that this process may use: by its affinity, and by the quota of its cgroup.

    A quota of one and a half counts as two.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quotas = [-(-quota // period) for quota, period in _quotas(cgroups, own) if period > 0]
    return max(1, min([cores, *quotas]))


def _quotas(cgroups: Path, own: Path) -> Iterator[tuple[int, int]]:
    """Quota and period, in microseconds, of the process's cgroup and of all around it."""
    for line in _words(own, "\n"):
        _, colon, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if not colon:
            continue
        group = Path(name.lstrip("/"))
        if ".." in group.parts:  # beyond the namespace: only the root can be seen
            group = Path()
        for place in (group, *group.parents):
            if not controllers:  # version 2
                words = _words(cgroups / place / "cpu.max")
                yield from _pair(words)
            elif "cpu" in controllers.split(","):
                base = cgroups / controllers / place
                base = base if base.is_dir() else cgroups / "cpu" / place
                quota = _words(base / "cpu.cfs_quota_us")
                yield from _pair(quota + _words(base / "cpu.cfs_period_us"))


def _words(path: Path, separator: str | None = None) -> list[str]:
    try:
        return path.read_text("ascii", errors="replace").split(separator)
    except OSError:
        return []


def _pair(words: list[str]) -> Iterator[tuple[int, int]]:
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit():  # "max" and -1: no quota
        yield int(words[0]), int(words[1])

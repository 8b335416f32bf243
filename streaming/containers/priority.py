"""The priority of this process's threads, which an encoder may raise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_TASKS = "/proc/self/task"


@contextmanager
def keep_priority() -> Iterator[None]:
    """Undo a change of the scheduling policy that happens inside the context.

    SVT-AV1, run by root, gives its threads and the one that opens it real-time priority. Every
    process started after that would inherit it, and other programs would wait for all of them.
    """
    if not hasattr(os, "sched_getscheduler"):  # not Linux
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if (raised := os.sched_getscheduler(0)) != policy:
            for thread in (0, *_threads()):
                with suppress(ProcessLookupError, PermissionError):
                    if os.sched_getscheduler(thread) == raised:
                        os.sched_setscheduler(thread, policy, parameters)


def _threads() -> list[int]:
    try:
        return [int(name) for name in os.listdir(_TASKS)]
    except OSError:
        return []

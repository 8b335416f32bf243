"""No output holds the GIL for more than 0.1 s."""

from __future__ import annotations

import ctypes
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from held import HoldMeter
from openers import OPENERS, Opener, pipe
from outputs import hold, synthetic_blocks
from sana_stream.engine.block import Block
from sana_stream.streaming.video_format import VideoFormat

LIMIT = 0.1  # seconds
SMALL = VideoFormat(224, 128, 200)
LARGE = VideoFormat(1280, 704, 200)

needs_schedstat = pytest.mark.skipif(
    not Path("/proc/thread-self/schedstat").exists(),
    reason="the wait of a thread is not counted here: no /proc/thread-self/schedstat",
)


@pytest.fixture(scope="module")
def blocks() -> list[Block]:
    return list(synthetic_blocks(SMALL, 16))


def holds_too_long(opener: Opener, video: VideoFormat, blocks: list[Block]) -> bool:
    """Whether every one of three tries is too long: other load can lengthen one."""
    return all(hold(opener, video, blocks) > LIMIT for _ in range(3))


def test_call_that_keeps_the_gil_is_measured() -> None:
    library = ctypes.PyDLL(None)  # unlike CDLL, its calls do not release the GIL
    with HoldMeter() as held:
        library.usleep(500_000)
    assert held.longest > LIMIT


@needs_schedstat
def test_python_threads_do_not_count_as_holds() -> None:
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            sum(range(1000))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    longest = []
    for _ in range(3):  # other load can lengthen one try
        with HoldMeter() as held:
            time.sleep(0.3)
        longest.append(held.longest)
    done.set()
    for thread in threads:
        thread.join()
    assert min(longest) < LIMIT


@needs_schedstat
@pytest.mark.parametrize("name", OPENERS)
def test_output_holds_the_gil_briefly(name: str, blocks: list[Block]) -> None:
    assert not holds_too_long(OPENERS[name], SMALL, blocks)


@needs_schedstat
@pytest.mark.parametrize("container", ["rawvideo", "y4m"])
def test_raw_output_of_large_frames_holds_the_gil_briefly(
    container: str, blocks: list[Block]
) -> None:
    frames = np.ones((40, LARGE.height, LARGE.width, 3), np.uint8)  # 103 MiB
    assert not holds_too_long(pipe(container), LARGE, [replace(blocks[0], frames=frames)])

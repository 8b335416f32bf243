"""Measure what viewers of the live page cost: blocks with and without viewers, alternately.

The viewers are connections from another process. Of ten, six read everything, two read slowly and
two never read.

python examples/benchmarks/delivery/viewers.py --viewers 50
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import psutil

from sana_stream import Engine
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.video_format import VideoFormat
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import RunStatus

if TYPE_CHECKING:
    from sana_stream.engine.session.session import Session


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--viewers", type=int, default=50, metavar="N")
    parser.add_argument("--blocks", type=int, default=8, metavar="N", help="per turn")
    parser.add_argument("--turns", type=int, default=4, metavar="N", help="with and without")
    args = parser.parse_args(argv)
    measure(args.model, args.viewers, args.blocks, args.turns)


def measure(model: str, viewers: int, blocks: int, turns: int) -> None:
    """Generate blocks with and without viewers alternately, and print the times."""
    engine = Engine.load(model)
    session = engine.session("a red boat on the sea at sunset")
    video = VideoFormat(engine.preset.width, engine.preset.height, engine.preset.fps)
    current, feed = StreamRegistry(), LiveFeed(video)
    current.begin(feed, LiveControl(), RunStatus(video))
    alone: list[float] = []
    watched: list[float] = []
    with WebServer(current, AccessPolicy.on("127.0.0.1", 0)) as server:
        url = server.access.url()
        generate(session, feed, 3)
        for turn in range(turns):
            alone += generate(session, feed, blocks)
            with watching(server.access.port, viewers):
                await_viewers(url, viewers)
                watched += generate(session, feed, blocks)
                memory = psutil.Process().memory_info().rss >> 20
                turn_note = "" if turn else " (in the first turn)"
                print(f"{count(url)} viewers, {memory} MiB{turn_note}", flush=True)
            await_viewers(url, 0)
    print(
        f"a block alone {median(alone) * 1e3:.0f} ms, "
        f"with {viewers} viewers {median(watched) * 1e3:.0f} ms: "
        f"{median(watched) / median(alone):.2f} times as long"
    )


def generate(session: Session, feed: LiveFeed, count: int) -> list[float]:
    """Generate, encode and send `count` blocks; return the seconds of each."""
    seconds = []
    for _ in range(count):
        begun = time.perf_counter()
        feed.write(next(session))
        seconds.append(time.perf_counter() - begun)
    return seconds


@contextmanager
def watching(port: int, viewers: int) -> Iterator[None]:
    """Run viewers in another process."""
    crowd = Path(__file__).with_name("crowd.py")
    process = subprocess.Popen([sys.executable, str(crowd), str(port), str(viewers)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def count(url: str) -> int:
    with urllib.request.urlopen(f"{url}status") as answer:
        return json.load(answer)["viewers"]


def await_viewers(url: str, wanted: int) -> None:
    """Wait for a number of viewers; those that never read may be disconnected meanwhile."""
    until = time.monotonic() + 60
    while count(url) != wanted:
        if time.monotonic() > until:
            raise SystemExit(f"{count(url)} viewers, not {wanted}")
        time.sleep(0.1)


if __name__ == "__main__":
    main()

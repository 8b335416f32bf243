"""What viewers of the live page cost the making of the video: blocks with and without, in turns.

The viewers are connections from a process of their own. Of ten, six read all they get, two read
slowly and two never read, as a phone does that has left the room.

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
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import CurrentStream, RunStatus

if TYPE_CHECKING:
    from sana_stream.engine.session.session import Session


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--viewers", type=int, default=50, metavar="N")
    parser.add_argument("--blocks", type=int, default=8, metavar="N", help="in a turn")
    parser.add_argument("--turns", type=int, default=4, metavar="N", help="with and without")
    args = parser.parse_args(argv)
    measure(args.model, args.viewers, args.blocks, args.turns)


def measure(model: str, viewers: int, blocks: int, turns: int) -> None:
    """Make blocks with and without viewers, in turns, and print what was seen."""
    engine = Engine.load(model)
    session = engine.session("a red boat on the sea at sunset")
    video = VideoFormat(engine.preset.width, engine.preset.height, engine.preset.fps)
    stage, feed = CurrentStream(), LiveFeed(video)
    stage.begin(feed, LiveControl(), RunStatus(video))
    alone: list[float] = []
    watched: list[float] = []
    with WebServer(stage, AccessPolicy.on("127.0.0.1", 0)) as server:
        url = server.access.url()
        make(session, feed, 3)
        for turn in range(turns):
            alone += make(session, feed, blocks)
            with watching(server.access.port, viewers):
                await_viewers(url, viewers)
                watched += make(session, feed, blocks)
                memory = psutil.Process().memory_info().rss >> 20
                told = "" if turn else " (in the first turn)"
                print(f"{count(url)} viewers, {memory} MiB{told}", flush=True)
            await_viewers(url, 0)
    print(
        f"a block alone {median(alone) * 1e3:.0f} ms, "
        f"with {viewers} viewers {median(watched) * 1e3:.0f} ms: "
        f"{median(watched) / median(alone):.2f} times as long"
    )


def make(session: Session, feed: LiveFeed, count: int) -> list[float]:
    """Seconds for each of so many blocks, encoded and handed to the viewers."""
    taken = []
    for _ in range(count):
        begun = time.perf_counter()
        feed.write(next(session))
        taken.append(time.perf_counter() - begun)
    return taken


@contextmanager
def watching(port: int, viewers: int) -> Iterator[None]:
    """Have viewers in a process of their own."""
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
    """Wait until so many are there; those that never read may have been let go meanwhile."""
    until = time.monotonic() + 60
    while count(url) != wanted:
        if time.monotonic() > until:
            raise SystemExit(f"{count(url)} viewers, not {wanted}")
        time.sleep(0.1)


if __name__ == "__main__":
    main()

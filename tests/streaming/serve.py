"""A live page over numbered frames in the colour of the prompt; run as a script by the tests.

Says `at URL` on standard error when it serves.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event

from blocks import colour, make_block

from sana_stream.streaming.control.job_queue import Programme
from sana_stream.streaming.control.live_control import Control
from sana_stream.streaming.control.pacing import Pace
from sana_stream.streaming.outputs.base import Sink
from sana_stream.streaming.outputs.open import open_sink
from sana_stream.streaming.outputs.pump import Pump
from sana_stream.streaming.video_format import Tags, VideoFormat
from sana_stream.streaming.web.auth import Access, Role
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import Board, Cue, Stage

SCALE = 4
VIDEO = VideoFormat(96 * SCALE, 64 * SCALE, 16)
STORY = (
    Cue(0, "A red boat lies in the harbour at dawn"),
    Cue(65, "Fog comes in from the sea & <b>hides</b> the lighthouse"),
    Cue(4800, "The sun breaks through"),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--record", type=Path, default=None)
    parser.add_argument("--blocks", type=int, default=None)
    parser.add_argument("--orders", action="store_true", help="wait to be asked for streams")
    options = parser.parse_args()
    stage, programme = Stage(), Programme() if options.orders else None
    with WebServer(stage, Access.on(options.host, options.port), programme) as server:
        say(f"at {server.access.url()}")
        say(f"watch {server.access.url(Role.WATCH)}")
        while programme and (order := programme.next(Event())):
            control = Control()
            programme.begin(order, control)
            run(stage, control, None, options.blocks, (Cue(0, order.story),))
            programme.end(order)
        run(stage, Control(), options.record, options.blocks, STORY)
        Event().wait()


def run(
    stage: Stage, control: Control, record: Path | None, limit: int | None, story: tuple[Cue, ...]
) -> None:
    feed = LiveFeed(VIDEO)
    board = Board(VIDEO, "A harbour", 7, None, story)
    stage.begin(feed, control, board, record)
    sinks: list[Sink] = [feed]
    if record:
        sinks.append(open_sink(str(record), VIDEO, tags=Tags("A harbour"), overwrite=True))
    stop = control.stop
    pace, start, prompt, index = Pace(VIDEO, stop), 0, story[0].prompt, 0
    with Pump(sinks, say) as pump:
        while not stop.is_set() and index != limit:
            control.await_resume()
            pace.wait()
            planned = [cue.prompt for cue in story if start - 16 < cue.start <= start]
            prompt = control.take().prompt or (planned[-1] if planned else prompt)
            block = make_block(index, start, 16 + (index == 0), prompt)
            frames = block.frames.repeat(SCALE, 1).repeat(SCALE, 2)
            frames[:, 9 * SCALE :] = colour(prompt)
            block = replace(block, frames=frames)
            pump.write(block)
            board.made(block)
            pace.made(len(frames), 0.2)
            index, start = index + 1, start + len(frames)
    board.finish()


def say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()

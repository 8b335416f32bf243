"""A live page over numbered frames in the colour of the prompt; run as a script by the tests.

Says `at URL` on standard error when it serves.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

from blocks import colour, make_block

from sana_stream.streaming.control.job_queue import JobQueue
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.control.pacing import RealtimePacer
from sana_stream.streaming.outputs.base import Output
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.outputs.options import OutputOptions
from sana_stream.streaming.outputs.pump import OutputPump
from sana_stream.streaming.video_format import Metadata, StreamSpec, VideoFormat
from sana_stream.streaming.web.auth import AccessPolicy, Role
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.options import WebOptions
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import RunStatus, ShownPrompt

SCALE = 4
VIDEO = VideoFormat(96 * SCALE, 64 * SCALE, 16)
STORY = (
    ShownPrompt(0, "A red boat lies in the harbour at dawn"),
    ShownPrompt(65, "Fog comes in from the sea & <b>hides</b> the lighthouse"),
    ShownPrompt(4800, "The sun breaks through"),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--record", type=Path, default=None)
    parser.add_argument("--blocks", type=int, default=None)
    parser.add_argument("--jobs", action="store_true", help="wait for jobs")
    parser.add_argument("--second", action="store_true", help="next to a stream without blocks")
    parser.add_argument("--root-path", default="", help="below which the page is served")
    parser.add_argument("--films", type=Path, help="with finished films, and words of a model")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    current, queue = StreamRegistry(), JobQueue() if options.jobs else None
    access = AccessPolicy.on(options.host, options.port, WebOptions(root_path=options.root_path))
    more = {} if options.films is None else model_and_films(options.films)
    with WebServer(current, access, queue, **more) as server:
        say(f"at {server.access.url()}")
        say(f"watch {server.access.url(Role.VIEW)}")
        if options.second:
            current.begin(LiveFeed(VIDEO), LiveControl(), RunStatus(VIDEO, "A night"))
        while queue and (found := queue.next(Event())):
            job, control = found
            run(
                current, control, None, options.blocks, (ShownPrompt(0, job.request.title),), job.id
            )
            queue.end(job)
        run(current, LiveControl(), options.record, options.blocks, STORY)
        Event().wait()


def model_and_films(folder: Path) -> dict[str, Any]:
    """What a server of the embedded model shows besides its streams."""
    from sana_stream.engine.loading.vocabulary import Vocabulary
    from sana_stream.streaming.run.films import RecordedFilms
    from sana_stream.streaming.run.model_facts import EMBEDDED_EXAMPLES, word_finder
    from sana_stream.streaming.run.recordings import Recordings
    from sana_stream.streaming.web.served_model import ServedModel

    recordings = Recordings(folder, keep=True, limit=None)
    recordings.check()
    words = Vocabulary(frozenset(("red", "boat", "sails", "sea")))
    model = ServedModel(word_finder(words), EMBEDDED_EXAMPLES)
    return {"films": RecordedFilms(recordings), "model": model}


def run(
    current: StreamRegistry,
    control: LiveControl,
    record: Path | None,
    limit: int | None,
    story: tuple[ShownPrompt, ...],
    stream_id: int | None = None,
) -> None:
    feed = LiveFeed(VIDEO)
    run_status = RunStatus(VIDEO, "A harbour", 7, None, story)
    current.begin(feed, control, run_status, record, stream_id)
    outputs: list[Output] = [feed]
    if record:
        outputs.append(
            open_output(
                str(record),
                StreamSpec(VIDEO, metadata=Metadata("A harbour")),
                OutputOptions(overwrite=True),
            )
        )
    stop = control.stop
    pace, start, prompt, index = RealtimePacer(VIDEO, stop), 0, story[0].prompt, 0
    with OutputPump(outputs) as pump:
        while not stop.is_set() and index != limit:
            control.wait_while_paused()
            pace.wait()
            planned = [cue.prompt for cue in story if start - 16 < cue.start <= start]
            changes = control.drain()
            prompt = changes.prompt or (planned[-1] if planned else prompt)
            if changes.blend:
                run_status.set_notice(f"over {changes.blend} blocks")
            if changes.image is not None:
                run_status.set_notice(f"a picture of {len(changes.image)} bytes")
            block = make_block(index, start, 16 + (index == 0), prompt)
            frames = block.frames.repeat(SCALE, 1).repeat(SCALE, 2)
            frames[:, 9 * SCALE :] = colour(prompt)
            block = replace(block, frames=frames)
            pump.write(block)
            run_status.on_block(block)
            pace.on_block(len(frames), 0.2)
            index, start = index + 1, start + len(frames)
    run_status.finish()


def say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()

"""A process that delivers numbered frames, to be killed, stalled and piped by the tests.

Run as a script. Says `made N` on standard error after each block that was handed over.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from threading import Event

from blocks import FPS, HEIGHT, WIDTH, blocks

from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.outputs.options import OutputOptions
from sana_stream.streaming.outputs.pipe import claim_stdout
from sana_stream.streaming.outputs.pump import OutputPump
from sana_stream.streaming.video_format import StreamSpec, VideoFormat


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", action="append", required=True)
    parser.add_argument("--format", default=None)
    parser.add_argument("--blocks", type=int, default=None)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that a block takes")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    stop = Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    stdout = claim_stdout() if "-" in options.out else None
    outputs = [
        open_output(
            target,
            StreamSpec(VideoFormat(WIDTH, HEIGHT, FPS)),
            OutputOptions(container=options.format if target == "-" else None),
            stop=stop,
            stdout=stdout,
        )
        for target in options.out
    ]
    print("a stray line that must not get between the pictures", flush=True)  # noqa: T201
    with OutputPump(outputs) as pump:
        for block in blocks(options.blocks):
            if stop.is_set() or not pump.write(block):
                break
            say(f"made {block.start + len(block.frames)}")
            time.sleep(options.delay)
    return 130 if stop.is_set() else 0


def say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError) as error:
        say(f"error: {error}")
        sys.exit(1)

"""`sana-stream` with numbered frames instead of a model's, to test command lines quickly.

Options and outputs are the real ones. It makes five blocks at any given length.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np

from sana_stream.cli.options import STDOUT, Options
from sana_stream.cli.parser import build_parser
from sana_stream.cli.run_config import run_config
from sana_stream.engine.block import BlockPlan
from sana_stream.streaming.outputs.locks import OutputLocks
from sana_stream.streaming.outputs.pipe import claim_stdout
from sana_stream.streaming.outputs.pump import OutputPump
from sana_stream.streaming.run.outputs import audio_of, open_outputs
from sana_stream.streaming.run.plan import NEW_VIDEO
from sana_stream.streaming.video_format import VideoFormat

sys.path.insert(0, str(Path(__file__).parents[1] / "streaming"))
BLOCKS = 5
WIDTH, HEIGHT = 448, 256


def main() -> None:
    from blocks import blocks  # pyright: ignore[reportMissingImports]

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = Options.of(build_parser("").parse(sys.argv[1:]))
    config = run_config(options)
    stdout = claim_stdout() if STDOUT in config.targets else None
    logging.basicConfig(format="%(message)s")
    plan: Any = SimpleNamespace(
        config=config,
        story=config.read_story(),
        blocks=BlockPlan(4),
        origin=NEW_VIDEO,
        id="0" * 16,
        prompts=config.prompts,
        model_name="numbers",
        video_format=VideoFormat(WIDTH, HEIGHT, 16),
    )
    with (
        OutputLocks() as locks,
        open_outputs(plan, locks, Event(), stdout, audio_of(config)) as outputs,
        OutputPump(outputs) as pump,
    ):
        for block in blocks(BLOCKS):
            corner = np.zeros((len(block.frames), HEIGHT, WIDTH, 3), np.uint8)
            corner[:, : block.frames.shape[1], : block.frames.shape[2]] = block.frames
            pump.write(replace(block, frames=corner))


if __name__ == "__main__":
    main()

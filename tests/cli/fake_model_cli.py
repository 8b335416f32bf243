"""`sana-stream` with numbered frames in place of a model's, to try command lines quickly.

Options and outputs are the real ones; whatever length is asked for, it makes five blocks.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np

from sana_stream.cli.options import STDOUT, Options
from sana_stream.cli.parser import build_parser
from sana_stream.streaming.outputs.locks import OutputLocks
from sana_stream.streaming.outputs.pipe import claim_stdout
from sana_stream.streaming.run.config import Job
from sana_stream.streaming.run.outputs import prepare_outputs

sys.path.insert(0, str(Path(__file__).parents[1] / "streaming"))
BLOCKS = 5
WIDTH, HEIGHT = 224, 128


def main() -> None:
    from blocks import blocks  # pyright: ignore[reportMissingImports]

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = Options.of(build_parser("").parse(sys.argv[1:]))
    stdout = claim_stdout() if STDOUT in options.outputs else None
    timeline = SimpleNamespace(cues=options.story().cues)
    request: Any = SimpleNamespace(
        width=WIDTH, height=HEIGHT, fps=Fraction(16), seed=options.seed, timeline=timeline
    )
    with (
        OutputLocks() as locks,
        prepare_outputs(Job(options, options.story()), request, locks, Event(), stdout) as prepared,
        prepared.started() as pump,
    ):
        for block in blocks(BLOCKS):
            corner = np.zeros((len(block.frames), HEIGHT, WIDTH, 3), np.uint8)
            corner[:, : block.frames.shape[1], : block.frames.shape[2]] = block.frames
            pump.write(replace(block, frames=corner))


if __name__ == "__main__":
    main()

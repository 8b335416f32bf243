"""Measure how long each output holds the GIL, which stops all other threads of the process.

Synthetic frames go to every kind of output, three blocks each. A hold of more than 0.1 s is
noticeable on the live page, for Ctrl-C, and in the generation of the next block.

python examples/benchmarks/delivery/outputs.py   # 224x128, blocks of 16 frames
python examples/benchmarks/delivery/outputs.py --size 832x480 --frames 40   # 2B blocks
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from held import HoldMeter
from openers import OPENERS, Opener
from sana_stream.engine.block import Block, BlockStats
from sana_stream.streaming.video_format import VideoFormat

BLOCKS = 3
FPS = 200  # high, so that outputs paced to real time finish soon
_STATS = BlockStats(0.0, 0.0, 0.1, 0.1, 1 << 20, 1 << 20, 1 << 10)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="224x128", metavar="WxH")
    parser.add_argument("--frames", type=int, default=16, metavar="N", help="in a block")
    parser.add_argument("--only", default="", metavar="NAME", help="part of the outputs' names")
    args = parser.parse_args(argv)
    width, height = map(int, args.size.split("x"))
    video = VideoFormat(width, height, FPS)
    blocks = list(synthetic_blocks(video, args.frames))
    print(f"| {args.size}, blocks of {args.frames} frames | longest hold |\n|---|---|")
    for name, opener in OPENERS.items():
        if args.only in name:
            longest = longest_hold(opener, video, blocks)
            shown = f"{longest * 1e3:.0f}" if longest >= 0.01 else "under 10"
            print(f"| {name} | {shown} ms |", flush=True)


def longest_hold(opener: Opener, video: VideoFormat, blocks: list[Block], tries: int = 3) -> float:
    """Measure the longest hold of an output in seconds: the minimum over some tries.

    Other load of the machine can lengthen one try, but rarely all of them.
    """
    return min(hold(opener, video, blocks) for _ in range(tries))


def hold(opener: Opener, video: VideoFormat, blocks: list[Block]) -> float:
    """Measure the longest hold from opening to closing an output, in seconds; 0 below 0.01."""
    with HoldMeter() as meter, opener(video) as output:
        for block in blocks:
            output.write(block)
        output.close()
    return meter.longest


def synthetic_blocks(video: VideoFormat, block_frames: int) -> Iterator[Block]:
    """Blocks of moving texture with some noise, the first one frame longer."""
    y, x = np.mgrid[0 : video.height, 0 : video.width]
    noise = np.random.default_rng(0).integers(0, 16, (video.height, video.width, 3), np.uint8)
    start = 0
    for index in range(BLOCKS):
        frames = np.empty((block_frames + (index == 0), video.height, video.width, 3), np.uint8)
        for number, frame in enumerate(frames, start):
            texture = 110 + 60 * np.sin((x + 3 * number) / 17) * np.cos((y + number) / 29)
            frame[:] = texture.astype(np.uint8)[..., None] + np.roll(noise, number, 1)
        latents = cast(Any, None)  # outputs do not use them
        yield Block(index, start, frames, latents, "a red boat", _STATS)
        start += len(frames)


if __name__ == "__main__":
    main()

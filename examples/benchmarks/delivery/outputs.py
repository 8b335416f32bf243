"""The longest time for which each output keeps all other threads of the process from running.

Made-up pictures go to every kind of output, three blocks each. More than 0.1 s would be felt: on
the live page, by Ctrl-C, in the making of the next block.

python examples/benchmarks/delivery/outputs.py   # 224x128, blocks of 16 pictures
python examples/benchmarks/delivery/outputs.py --size 832x480 --pictures 40   # 2B blocks
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from held import Held
from openers import OPENERS, Opener
from sana_stream.engine.block import Block, BlockStats
from sana_stream.streaming.video_format import VideoFormat

BLOCKS = 3
FPS = 200  # the stream is short in time, so that what is paced is soon done
_STATS = BlockStats(0.0, 0.0, 0.1, 0.1, 1 << 20, 1 << 20, 1 << 10)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="224x128", metavar="WxH")
    parser.add_argument("--pictures", type=int, default=16, metavar="N", help="in a block")
    parser.add_argument("--only", default="", metavar="NAME", help="outputs of such names")
    args = parser.parse_args(argv)
    width, height = map(int, args.size.split("x"))
    video = VideoFormat(width, height, FPS)
    blocks = list(made_up(video, args.pictures))
    print(f"| {args.size}, blocks of {args.pictures} pictures | longest hold |\n|---|---|")
    for name, opener in OPENERS.items():
        if args.only in name:
            held = longest_hold(opener, video, blocks)
            told = f"{held * 1e3:.0f}" if held >= 0.01 else "under 10"
            print(f"| {name} | {told} ms |", flush=True)


def longest_hold(opener: Opener, video: VideoFormat, blocks: list[Block], tries: int = 3) -> float:
    """The longest hold that an output shows in every one of some tries, in seconds.

    What else goes on in the machine can lengthen one try, hardly all of them.
    """
    return min(hold(opener, video, blocks) for _ in range(tries))


def hold(opener: Opener, video: VideoFormat, blocks: list[Block]) -> float:
    """The longest hold from opening an output to its end, in seconds; 0 for less than 0.01."""
    with Held() as held, opener(video) as sink:
        for block in blocks:
            sink.write(block)
        sink.close()
    return held.longest


def made_up(video: VideoFormat, pictures: int) -> Iterator[Block]:
    """Blocks of moving texture and some noise, the first one picture longer."""
    y, x = np.mgrid[0 : video.height, 0 : video.width]
    noise = np.random.default_rng(0).integers(0, 16, (video.height, video.width, 3), np.uint8)
    start = 0
    for index in range(BLOCKS):
        frames = np.empty((pictures + (index == 0), video.height, video.width, 3), np.uint8)
        for number, frame in enumerate(frames, start):
            texture = 110 + 60 * np.sin((x + 3 * number) / 17) * np.cos((y + number) / 29)
            frame[:] = texture.astype(np.uint8)[..., None] + np.roll(noise, number, 1)
        latents = cast(Any, None)  # no output looks at them
        yield Block(index, start, frames, latents, "a red boat", _STATS)
        start += len(frames)


if __name__ == "__main__":
    main()

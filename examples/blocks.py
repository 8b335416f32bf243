"""Iterate over a stream in Python: frames, latents and statistics of each finished block.

python examples/blocks.py --seconds 4
"""

from __future__ import annotations

import argparse

from sana_stream import Engine


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--seconds", type=float, default=4)
    args = parser.parse_args(argv)

    engine = Engine.load(args.model)
    fps = engine.preset.fps
    # A session is endless: leave the loop after enough blocks.
    for block in engine.session("a red balloon over the hills at dawn", seed=1):
        stats = block.stats
        print(
            f"block {block.index} from frame {block.start}: "
            f"frames {block.frames.shape} {block.frames.dtype}, "  # (T, H, W, 3)
            f"latents {tuple(block.latents.shape)}, "  # (1, C, T', h, w)
            f"{len(block.frames) / stats.total_seconds:.1f} frames/s, "
            f"state {stats.state_bytes / 1024:.0f} KiB"  # constant
        )
        if block.start + len(block.frames) >= args.seconds * fps:
            break


if __name__ == "__main__":
    main()

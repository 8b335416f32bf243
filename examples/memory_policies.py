"""Compare two memory policies: two streams next to each other in one video.

Both streams have the same prompt and the same noise. The first block is the same; after it each
stream depends on its own past. `decay=0.6` forgets slowly, `window=1` sees the previous block only.

python examples/memory_policies.py compare.mp4 --seconds 8 --policies decay=0.6 window=1
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from sana_stream import Engine
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.video_format import StreamSpec, VideoFormat


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="a video file, such as compare.mp4")
    parser.add_argument("--policies", nargs=2, default=["decay=0.6", "window=1"])
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--seconds", type=float, default=8)
    args = parser.parse_args(argv)

    engine = Engine.load(args.model)  # one model, any number of sessions
    preset = engine.preset
    prompt = "a purple balloon over a town in the snow"
    left, right = (engine.session(prompt, seed=1, memory=policy) for policy in args.policies)

    output = open_output(
        args.out, StreamSpec(VideoFormat(2 * preset.width, preset.height, preset.fps))
    )
    for one, other in zip(left, right, strict=True):
        both = np.concatenate([one.frames, other.frames], axis=2)  # (T, H, 2 W, 3)
        output.write(replace(one, frames=both))
        difference = np.abs(one.frames.astype(float) - other.frames).mean()
        sizes = " and ".join(f"{b.stats.state_bytes / 1024:.0f} KiB" for b in (one, other))
        print(f"block {one.index}: mean difference {difference:.1f} of 255, states of {sizes}")
        if one.start + len(one.frames) >= args.seconds * preset.fps:
            break
    output.close()


if __name__ == "__main__":
    main()

"""Switch the prompt of a running stream, and write the stream to a video file block by block.

python examples/switch.py switch.mp4 --seconds 8
"""

from __future__ import annotations

import argparse

from sana_stream import Engine
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.video_format import StreamSpec, VideoFormat


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="a video file, such as switch.mp4")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--seconds", type=float, default=8)
    args = parser.parse_args(argv)

    engine = Engine.load(args.model)
    preset = engine.preset
    session = engine.session("a yellow boat on the sea at noon", seed=1)
    frames = round(args.seconds * preset.fps)

    output = open_output(args.out, StreamSpec(VideoFormat(preset.width, preset.height, preset.fps)))
    try:
        while session.next_start < frames:
            if session.next_start >= frames / 2 and "night" not in session.prompt:
                # Takes effect at the next block; finished frames do not change. The previous block
                # is committed to memory under the new prompt, at no extra cost.
                session.switch("a yellow boat on the sea at night")
                print(f"night falls at frame {session.next_start}")
            output.write(next(session))
    finally:
        output.close()
    print(f"{output.frames} frames are in {args.out}")


if __name__ == "__main__":
    main()

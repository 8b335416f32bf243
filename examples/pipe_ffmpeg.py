"""Pipe raw frames from Python to ffmpeg, each block when it is finished.

python examples/pipe_ffmpeg.py kite.gif --seconds 4
"""

from __future__ import annotations

import argparse
import subprocess

from sana_stream import Engine


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="a file in any format of ffmpeg, such as kite.gif")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--seconds", type=float, default=4)
    args = parser.parse_args(argv)

    engine = Engine.load(args.model)
    preset = engine.preset
    session = engine.session("a green kite over the desert", seed=1)
    frames = round(args.seconds * preset.fps)

    raw = f"-f rawvideo -pixel_format rgb24 -video_size {preset.width}x{preset.height}"
    command = f"ffmpeg -loglevel error {raw} -framerate {preset.fps} -i - -y".split()
    with subprocess.Popen([*command, args.out], stdin=subprocess.PIPE) as ffmpeg:
        assert ffmpeg.stdin is not None
        while session.next_start < frames:
            block = next(session)
            # The write blocks while the pipe is full: a slow ffmpeg slows the stream down.
            ffmpeg.stdin.write(block.frames[: frames - block.start].tobytes())
        ffmpeg.stdin.close()
    print(f"{frames} frames are in {args.out}")


if __name__ == "__main__":
    main()

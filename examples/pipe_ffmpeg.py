"""Frames into ffmpeg from Python: bare pictures through a pipe, each block as it is finished.

python examples/pipe_ffmpeg.py kite.gif --seconds 4
"""

from __future__ import annotations

import argparse
import subprocess

from sana_stream import Engine


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="whatever ffmpeg can write, such as kite.gif")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--seconds", type=float, default=4)
    args = parser.parse_args(argv)

    engine = Engine.load(args.model)
    preset = engine.preset
    session = engine.session("a green kite over the desert", seed=1)
    frames = round(args.seconds * preset.fps)

    picture = f"-f rawvideo -pixel_format rgb24 -video_size {preset.width}x{preset.height}"
    command = f"ffmpeg -loglevel error {picture} -framerate {preset.fps} -i - -y".split()
    with subprocess.Popen([*command, args.out], stdin=subprocess.PIPE) as ffmpeg:
        assert ffmpeg.stdin is not None
        while session.next_start < frames:
            block = next(session)
            # The pipe takes no more than ffmpeg can: a slow ffmpeg slows the stream.
            ffmpeg.stdin.write(block.frames[: frames - block.start].tobytes())
        ffmpeg.stdin.close()
    print(f"{frames} frames are in {args.out}")


if __name__ == "__main__":
    main()

"""A stream that a program directs while it runs: prompts, another seed, a step back.

python examples/direct.py directed.mp4 --seconds 12
"""

from __future__ import annotations

import argparse

from sana_stream import Engine, Run, RunConfig


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="a video file, such as directed.mp4")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--seconds", type=float, default=12)
    args = parser.parse_args(argv)

    engine = Engine.load(args.model)
    config = RunConfig("a red boat on the sea at noon", [args.out], endless=True)
    shown = None
    with Run(engine, config) as run:
        for progress in run:
            if progress.prompt != shown:
                shown = progress.prompt
                print(f"block {progress.blocks}: {shown}")
            # What is asked for here takes effect with the next block.
            if progress.blocks == 2:
                run.control.prompt("a yellow balloon over the hills at sunset")
            elif progress.blocks == 4:
                run.control.back(1)  # the stream goes another way from a second ago
                run.control.seed(7)
                run.control.prompt("a yellow balloon over the hills at night")
            if progress.seconds >= args.seconds:
                run.control.end()
    print(f"{run.progress.frames} frames are in {args.out}")


if __name__ == "__main__":
    main()

"""A story as a video in a few lines, as one writes them in a notebook, a cell at a time.

python examples/notebook_style.py morning.mp4 --seconds 6
"""

from __future__ import annotations

import argparse

from sana_stream import Engine, render


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="a video file, such as morning.mp4")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--seconds", type=float, default=6)
    args = parser.parse_args(argv)

    # %% Load a model once.
    engine = Engine.load(args.model)

    # %% Write a story: a prompt a line, with times or without.
    story = """
    a red boat on the sea at dawn
    a red boat on the sea at noon
    a yellow balloon over the hills at sunset
    """

    # %% Make the video; run the cell again with overwrite=True for another take.
    made = render(engine, story, seconds=args.seconds, outputs=[args.out], overwrite=True)
    print(f"{made.frames} frames, {made.seconds:.1f} s of video, in {made.elapsed_seconds:.1f} s")

    # %% In a notebook, show it: from IPython.display import Video; Video(args.out)


if __name__ == "__main__":
    main()

"""A video for every story, with one loaded model; a batch that was interrupted is continued.

python examples/batch.py examples/story.txt examples/seasons.txt --seconds 8
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sana_stream import Engine, Run, RunConfig


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stories", nargs="+", type=Path, help="prompt files")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--seconds", type=float, default=8)
    args = parser.parse_args(argv)

    engine = Engine.load(args.model)
    for story in args.stories:
        video = Path(f"{story.stem}.mp4")
        if video.exists() and not video.with_suffix(".ckpt").exists():
            print(f"{video}: complete")
            continue
        with start(engine, story, video, args.seconds) as run:
            for progress in run:
                print(f"{video}: {progress.seconds:.1f} s, {progress.speed:.1f} frames/s")


def start(engine: Engine, story: Path, video: Path, seconds: float) -> Run:
    """A new video, or the rest of one whose checkpoint is next to it."""
    if video.exists():
        return Run.resume(engine, video)
    # `directed=False`: no prompts come in between, so that one block is sampled ahead.
    config = RunConfig(story, [video], seconds=seconds, checkpoint=True, directed=False)
    return Run(engine, config)


if __name__ == "__main__":
    main()

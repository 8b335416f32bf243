"""Kill a run at random moments, go on with it each time, and compare what becomes of it.

The same video is made twice: once in peace, once by processes that are killed without warning, each
going on with what the one before has left.

python examples/kill_and_resume.py --kills 30
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

STORY = Path(__file__).parent / "story.txt"


def command(*words: str | Path) -> list[str]:
    # the same program as the command's, found even where its folder is not on the path
    return [sys.executable, "-m", "sana_stream.cli", *map(str, words), "--quiet"]


def frames_of(video: Path) -> int:
    with av.open(str(video)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def same_pictures(one: Path, other: Path) -> bool:
    with av.open(str(one)) as first, av.open(str(other)) as second:
        pairs = zip(first.decode(video=0), second.decode(video=0), strict=True)
        return all(np.array_equal(a.to_ndarray(), b.to_ndarray()) for a, b in pairs)


def live(words: list[str], seconds: float) -> int | None:
    """Let a process live so long; its exit code, None when it had to be killed."""
    process = subprocess.Popen(words)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--story", default=STORY)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--longest", type=float, default=15, help="seconds that a process lives")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args(argv)
    chance, begun = random.Random(args.seed), time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        peace, war = Path(folder, "peace.mp4"), Path(folder, "war.mp4")
        begin = ("--prompt-file", args.story, "--minutes", args.minutes, "--model", args.model)
        begin = [str(word) for word in begin]
        subprocess.run(command(*begin, "--out", peace), check=True)
        words = command(*begin, "--out", war, "--checkpoint-every", "1s")
        kills, code = 0, None
        while code is None:
            code = live(words, chance.uniform(0, args.longest) if kills < args.kills else 1e6)
            if code is None:
                kills += 1
                if war.with_suffix(".ckpt").exists():
                    words = command("resume", war)
                else:  # killed before the first block: nothing is lost but the beginning
                    words = command(*begin, "--out", war, "--checkpoint-every", "1s", "--overwrite")
                print(f"killed {kills}: {war.stat().st_size if war.exists() else 0} bytes of video")
        if code:
            sys.exit(f"the run ended with {code}")
        same = same_pictures(peace, war)
        bytes_too = peace.read_bytes() == war.read_bytes()
        spent = time.perf_counter() - begun
        print(
            f"{kills} kills, {frames_of(war)} of {frames_of(peace)} frames, pictures"
            f" {'the same' if same else 'DIFFERENT'}, files"
            f" {'the same' if bytes_too else 'different'}, {spent / 60:.1f} minutes"
        )
        if not same:
            sys.exit(1)


if __name__ == "__main__":
    main()

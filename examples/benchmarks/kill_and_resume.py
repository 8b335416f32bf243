"""Kill a run at random moments, go on with it each time, and compare what becomes of it.

The same video is made twice: once in peace, once by processes that are killed without warning, each
going on with what the one before has left. Kills fall evenly on the start of a process, the time
between writes, a write of the video and a write of the checkpoint. When one falls is counted in
blocks and in the process's own CPU time, so that a busy machine changes nothing.

python examples/benchmarks/kill_and_resume.py --kills 30
"""

from __future__ import annotations

import argparse
import hashlib
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
import psutil

from sana_stream.streaming.containers.mp4_boxes import fragments

STORY = Path(__file__).parents[1] / "story.txt"
DOOMED = str(Path(__file__).parent / "doomed.py")
START, BETWEEN, VIDEO, CHECKPOINT = PLACES = (
    "while starting",
    "between writes",
    "within a write of the video",
    "within a write of the checkpoint",
)


@dataclass(frozen=True, slots=True)
class Pace:
    """CPU seconds that a process takes, measured in peace."""

    start: float  # to its first block
    block: float


def blocks_in(video: Path) -> int:
    """How many whole blocks a growing video has."""
    if not video.exists():
        return 0
    with video.open("rb") as file:
        return sum(1 for _ in fragments(file))


def blocks_of(video: Path) -> int:
    """How many blocks a finished video has: each begins with its only key frame."""
    with av.open(str(video)) as container:
        return sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size)


def digest(video: Path) -> tuple[int, str]:
    """How many frames a video has, and a hash of all their pictures."""
    frames, pictures = 0, hashlib.md5()
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            pictures.update(frame.to_ndarray().data)
            frames += 1
    return frames, pictures.hexdigest()


class Life:
    """One process and the video that it makes or goes on with."""

    def __init__(self, words: list[str], video: Path, doom: tuple[str, ...] = ()) -> None:
        module = (DOOMED, *doom) if doom else ("-m", "sana_stream.cli")
        self._process = psutil.Popen([sys.executable, *module, *words, "--quiet"])
        self._video = video
        self._size = self._now()
        self.grown = 0  # writes to the video that were seen

    def until(self, come: Callable[[], bool]) -> None:
        """Watch until something has come, or the process has ended."""
        while self._process.poll() is None and not come():
            size = self._now()
            self.grown += size > self._size
            self._size = size
            time.sleep(0.002)

    @property
    def seconds(self) -> float:
        """Its CPU time."""
        try:
            return sum(self._process.cpu_times()[:2])
        except psutil.Error:
            return float("inf")

    def kill(self) -> int:
        """Kill it, unless it has ended; its exit code."""
        with suppress(psutil.NoSuchProcess):
            self._process.kill()
        return self._process.wait()

    def end(self) -> int:
        """Wait for its end; its exit code."""
        return self._process.wait()

    def _now(self) -> int:
        return self._video.stat().st_size if self._video.exists() else 1 << 62


def in_peace(words: list[str], video: Path) -> Pace:
    """Make the video, and measure."""
    life = Life(words, video)
    life.until(lambda: blocks_in(video) > 0)
    start = life.seconds
    life.until(lambda: blocks_in(video) > 3)
    block = (life.seconds - start) / 3
    if code := life.end():
        sys.exit(f"the run in peace ended with {code}")
    return Pace(start, block)


def killed(
    words: list[str], video: Path, place: str, reach: int, pace: Pace, chance: random.Random
) -> tuple[int, str]:
    """Let a process live to a random moment of this kind, so many blocks ahead at most.

    Its exit code, and where the kill fell.
    """
    number, share = chance.randint(1, reach), chance.random()
    if place in (VIDEO, CHECKPOINT):
        doom = ("video", number) if place == VIDEO else ("checkpoint", chance.randint(1, 2))
        return Life(words, video, (*map(str, doom), str(share))).end(), place
    life, until = Life(words, video), share * pace.start
    if place == BETWEEN:
        life.until(lambda: life.grown >= number)
        until = life.seconds + share * pace.block
    life.until(lambda: life.seconds >= until)
    return life.kill(), BETWEEN if life.grown else START


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--story", default=STORY)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args(argv)
    began = time.perf_counter()
    begin = ("--prompt-file", args.story, "--minutes", args.minutes, "--model", args.model)
    begin = [*map(str, begin), "--checkpoint-every", "0.5s"]
    with tempfile.TemporaryDirectory() as folder:
        peace, war = Path(folder, "peace.mp4"), Path(folder, "war.mp4")
        pace = in_peace([*begin, "--out", str(peace)], peace)
        fallen = in_war([*begin, "--out", str(war)], war, args, pace, blocks_of(peace))
        for place in PLACES:
            print(f"{fallen[place]} kills {place}")
        (frames, pictures), (there, shown) = digest(peace), digest(war)
        print(
            f"{fallen.total()} kills, {there} of {frames} frames,"
            f" pictures {'the same' if shown == pictures else 'DIFFERENT'} (md5 {shown}), files"
            f" {'the same' if peace.read_bytes() == war.read_bytes() else 'different'},"
            f" {(time.perf_counter() - began) / 60:.1f} minutes"
        )
        if (frames, pictures) != (there, shown):
            sys.exit(1)


def in_war(
    begin: list[str], video: Path, args: argparse.Namespace, pace: Pace, blocks: int
) -> Counter[str]:
    """Make the video of so many blocks with a kill after another; where they fell."""
    chance, fallen, words = random.Random(args.seed), Counter[str](), begin
    places = [PLACES[-1 - number % len(PLACES)] for number in range(args.kills)]
    chance.shuffle(places)
    for number, place in enumerate(places):
        left = args.kills - number  # so many kills shall still fall before the video is whole
        reach = 3 * (blocks - blocks_in(video)) // (2 * left + 4)
        code, fell = killed(words, video, place, max(1, reach), pace, chance)
        if code != -signal.SIGKILL:
            break
        fallen[fell] += 1
        print(f"killed {number + 1}, {fell}: {blocks_in(video)} of {blocks} blocks are there")
        if video.with_suffix(".ckpt").exists():
            words = ["resume", str(video)]
        else:  # killed before the first checkpoint: nothing is lost but the beginning
            words = [*begin, "--overwrite"]
    else:
        code = Life(words, video).end()
    if code:
        sys.exit(f"the run ended with {code}")
    return fallen


if __name__ == "__main__":
    main()

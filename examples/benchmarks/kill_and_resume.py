"""Kill a run at random moments, resume it each time, and compare the result.

The same video is generated twice: once undisturbed, once by processes that are killed without
warning, each resuming from what the previous one has left. Kills are spread evenly over the start
of a process, the time between writes, a write of the video and a write of the checkpoint. Moments
are counted in blocks and in the process's own CPU time, so that other load has no influence.

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
KILLED_RUN = str(Path(__file__).parent / "doomed.py")
START, BETWEEN, VIDEO, CHECKPOINT = PLACES = (
    "while starting",
    "between writes",
    "within a write of the video",
    "within a write of the checkpoint",
)


@dataclass(frozen=True, slots=True)
class Pace:
    """CPU seconds of an undisturbed process."""

    start: float  # to its first block
    block: float


def blocks_in(video: Path) -> int:
    """Count the complete blocks of a growing video."""
    if not video.exists():
        return 0
    with video.open("rb") as file:
        return sum(1 for _ in fragments(file))


def blocks_of(video: Path) -> int:
    """Count the blocks of a finished video: each begins with its only key frame."""
    with av.open(str(video)) as container:
        return sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size)


def digest(video: Path) -> tuple[int, str]:
    """Count a video's frames, and hash their pixels."""
    frames, pixels = 0, hashlib.md5()
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            pixels.update(frame.to_ndarray().data)
            frames += 1
    return frames, pixels.hexdigest()


class RunProcess:
    """A process that generates or resumes a video."""

    def __init__(self, words: list[str], video: Path, kill: tuple[str, ...] = ()) -> None:
        module = (KILLED_RUN, *kill) if kill else ("-m", "sana_stream.cli")
        self._process = psutil.Popen([sys.executable, *module, *words, "--quiet"])
        self._video = video
        self._size = self._video_bytes()
        self.writes = 0  # writes to the video that were observed

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Wait until a condition holds, or the process has ended."""
        while self._process.poll() is None and not reached():
            size = self._video_bytes()
            self.writes += size > self._size
            self._size = size
            time.sleep(0.002)

    @property
    def seconds(self) -> float:
        """CPU time of the process."""
        try:
            return sum(self._process.cpu_times()[:2])
        except psutil.Error:
            return float("inf")

    def kill(self) -> int:
        """Kill the process, unless it has ended; return its exit code."""
        with suppress(psutil.NoSuchProcess):
            self._process.kill()
        return self._process.wait()

    def end(self) -> int:
        """Wait for the process to end; return its exit code."""
        return self._process.wait()

    def _video_bytes(self) -> int:
        return self._video.stat().st_size if self._video.exists() else 1 << 62


def run_undisturbed(words: list[str], video: Path) -> Pace:
    """Generate the video without kills, and measure its CPU time."""
    process = RunProcess(words, video)
    process.wait_until(lambda: blocks_in(video) > 0)
    start = process.seconds
    process.wait_until(lambda: blocks_in(video) > 3)
    block = (process.seconds - start) / 3
    if code := process.end():
        sys.exit(f"the undisturbed run ended with {code}")
    return Pace(start, block)


def run_and_kill(
    words: list[str], video: Path, place: str, reach: int, pace: Pace, chance: random.Random
) -> tuple[int, str]:
    """Run a process and kill it at a random moment of this kind, at most `reach` blocks ahead.

    Returns its exit code, and the kind of moment at which it was killed.
    """
    number, share = chance.randint(1, reach), chance.random()
    if place in (VIDEO, CHECKPOINT):
        kill = ("video", number) if place == VIDEO else ("checkpoint", chance.randint(1, 2))
        return RunProcess(words, video, (*map(str, kill), str(share))).end(), place
    process, until = RunProcess(words, video), share * pace.start
    if place == BETWEEN:
        process.wait_until(lambda: process.writes >= number)
        until = process.seconds + share * pace.block
    process.wait_until(lambda: process.seconds >= until)
    return process.kill(), BETWEEN if process.writes else START


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--story", default=STORY)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    args = parser.parse_args(argv)
    began = time.perf_counter()
    begin = ("--prompt-file", args.story, "--minutes", args.minutes, "--model", args.model)
    begin = [*map(str, begin), "--checkpoint-every", "0.5s"]
    with tempfile.TemporaryDirectory() as folder:
        reference, video = Path(folder, "reference.mp4"), Path(folder, "killed.mp4")
        pace = run_undisturbed([*begin, "--out", str(reference)], reference)
        kills = run_with_kills(
            [*begin, "--out", str(video)], video, args, pace, blocks_of(reference)
        )
        for place in PLACES:
            print(f"{kills[place]} kills {place}")
        (frames, pixels), (found_frames, found_pixels) = digest(reference), digest(video)
        same_pixels = found_pixels == pixels
        same_files = reference.read_bytes() == video.read_bytes()
        print(
            f"{kills.total()} kills, {found_frames} of {frames} frames,"
            f" pixels {'identical' if same_pixels else 'DIFFERENT'} (md5 {found_pixels}),"
            f" files {'identical' if same_files else 'different'},"
            f" {(time.perf_counter() - began) / 60:.1f} minutes"
        )
        if (frames, pixels) != (found_frames, found_pixels):
            sys.exit(1)


def run_with_kills(
    begin: list[str], video: Path, args: argparse.Namespace, pace: Pace, blocks: int
) -> Counter[str]:
    """Generate a video of `blocks` blocks with repeated kills; count the kills by their place."""
    chance, kills, words = random.Random(args.seed), Counter[str](), begin
    places = [PLACES[-1 - number % len(PLACES)] for number in range(args.kills)]
    chance.shuffle(places)
    for number, place in enumerate(places):
        left = args.kills - number  # kills that must still happen before the video is complete
        reach = 3 * (blocks - blocks_in(video)) // (2 * left + 4)
        code, killed_in = run_and_kill(words, video, place, max(1, reach), pace, chance)
        if code != -signal.SIGKILL:
            break
        kills[killed_in] += 1
        print(f"kill {number + 1}, {killed_in}: {blocks_in(video)} of {blocks} blocks written")
        if video.with_suffix(".ckpt").exists():
            words = ["resume", str(video)]
        else:  # killed before the first checkpoint: start again
            words = [*begin, "--overwrite"]
    else:
        code = RunProcess(words, video).end()
    if code:
        sys.exit(f"the run ended with {code}")
    return kills


if __name__ == "__main__":
    main()

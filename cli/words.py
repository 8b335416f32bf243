"""Numbers and lines as the command line writes them."""

from __future__ import annotations

import errno
import re
import shlex
import shutil
import sys

from sana_stream._text import safe_text

from ..engine.story import Story, clock
from .options import is_live
from .progress import Progress
from .request import Request

LONGEST_LINE = 1000  # characters
NO_MEMORY = (
    "there is not enough memory: end other programs, or ask for a smaller picture (--size), shorter"
    " blocks (--block-frames) or fewer frames decoded at once (--decode-frames 1)"
)
_NO_MEMORY = re.compile(
    r"can.?t allocate memory|cannot allocate memory|not enough memory|out of memory|bad_alloc", re.I
)


def one_line(error: BaseException) -> str:
    """The message of an error on one line, safe for a terminal and never empty."""
    return safe_text(_said(error), LONGEST_LINE) or "no reason is known"


def _said(error: BaseException) -> str:
    if is_out_of_memory(error):
        return NO_MEMORY
    if isinstance(error, OSError) and error.strerror and type(error).__str__ is OSError.__str__:
        reason = error.strerror.lower()
        return reason if error.filename is None else f"{safe_text(error.filename)}: {reason}"
    return str(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine had no memory left, whoever noticed it."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None


def megabytes(count: int) -> str:
    """Bytes in MiB, or in GiB from 10 GiB on."""
    mebi = count / (1 << 20)
    return f"{mebi:.0f} MiB" if mebi < 10240 else f"{mebi / 1024:.1f} GiB"


def rounded_clock(seconds: float) -> str:
    """A time to the second, as 1:05."""
    return clock(round(seconds))


def speed(frames_per_second: float, fps: float) -> str:
    """Frames a second, and against real time."""
    return f"{frames_per_second:.1f} frames/s ({frames_per_second / fps:.2f}x real time)"


def headline(request: Request) -> str:
    """What is about to be made."""
    length = "endless"
    if request.frames is not None:
        play = clock(request.seconds or 0.0)
        length = (
            f"{_count(request.frames, 'frame')} ({play}) in {_count(request.blocks or 1, 'block')}"
        )
    return (
        f"{request.model}, {request.width}x{request.height} at {float(request.fps):g} frames/s, "
        f"{length}, seed {request.seed}"
    )


def not_understood(prompt: str, request: Request) -> str | None:
    """What is to be said of a prompt of which the model knows no word, if it is one."""
    if request.vocabulary is None or not request.vocabulary.knows_nothing_of(prompt):
        return None
    return (
        f'of "{safe_text(prompt)}" no word is known to this model, it will show what it likes;'
        f" sana-stream info {shlex.quote(request.model)} lists what it knows"
    )


def story_notes(story: Story, request: Request) -> list[str]:
    """What is to be said of a story: what was left out or understood, what has no effect."""
    negative = any(cue.negative for cue in story.cues)
    if not negative or request.guidance != 1:
        return list(story.notes)
    told = "its negative prompts have no effect at guidance 1 and are left out: add --guidance 4"
    return [*story.notes, f"{story.name}: {told}"]


def progress_line(progress: Progress) -> str:
    """How far a run is, on one line."""
    of_blocks = "" if progress.blocks_total is None else f"/{progress.blocks_total}"
    of_time = (
        "" if progress.total is None else f" of {rounded_clock(progress.total / progress.fps)}"
    )
    left = "" if progress.left_seconds is None else f", {rounded_clock(progress.left_seconds)} left"
    return (
        f"block {progress.blocks}{of_blocks}, {rounded_clock(progress.made_seconds)}{of_time}, "
        f"{speed(progress.recent, progress.fps)}{left}, "
        f"memory {megabytes(progress.memory)} (peak {megabytes(progress.peak)}), "
        f"drift {progress.drift:.1f}x"
    )


def closing_lines(progress: Progress, outputs: tuple[str, ...]) -> list[str]:
    """What was made, where it is, how fast it came and how to play it."""
    made = f"{_count(progress.frames, 'frame')}, {clock(progress.made_seconds)} of video"
    took = f"{rounded_clock(progress.spent)}: {speed(progress.speed, progress.fps)}"
    lines = [f"{made} in {took}, peak memory {megabytes(progress.peak)}"]
    files = [output for output in outputs if not is_live(output)]
    lines += [f"the video is in {file}" for file in files]
    if files and (player := _player()):
        lines.append(f"play it: {player} {shlex.quote(files[0])}")
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _player() -> str | None:
    if sys.platform == "win32":
        return "start"
    known = ["open"] if sys.platform == "darwin" else ["mpv", "ffplay", "vlc", "xdg-open"]
    return next((name for name in known if shutil.which(name)), None)

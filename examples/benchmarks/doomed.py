"""Run `sana-stream` and kill it within a write, of which only a part reaches the file.

python examples/benchmarks/doomed.py video 3 0.5 --prompt "a red boat" --out boat.mp4
python examples/benchmarks/doomed.py checkpoint 1 0.9 resume boat.mp4
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from sana_stream.cli.main import main as sana_stream
from sana_stream.streaming.outputs.unbuffered_file import UnbufferedFile


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in_video(number: int, share: float) -> None:
    """Kill the process after this share of the `number`-th write to the video."""
    write, left = UnbufferedFile.write, [number]

    def write_part(file: UnbufferedFile, data: Any) -> int:
        left[0] -= not str(file.name).endswith(".vtt")
        if left[0]:
            return write(file, data)
        write(file, data[: int(share * len(data))])
        kill_self()
        raise AssertionError

    UnbufferedFile.write = write_part


def kill_in_checkpoint(number: int, share: float) -> None:
    """Kill the process within the `number`-th checkpoint.

    Shares below 0.5 are a part of its data, larger ones are before or after its rename.
    """
    original_open, original_replace, left = Path.open, os.replace, [number]

    def open_part(path: Path, *given: Any, **more: Any) -> Any:
        file = original_open(path, *given, **more)
        if path.name.endswith(".ckpt.sana-stream.part"):
            left[0] -= 1
            if not left[0] and share < 0.5:
                return PartialFile(file, 2 * share)
        return file

    def replace(part: Path, path: Path) -> None:
        if left[0] or share > 0.75:
            original_replace(part, path)
        if not left[0] and str(path).endswith(".ckpt"):
            kill_self()

    Path.open, os.replace = open_part, replace  # type: ignore[method-assign,assignment]


class PartialFile:
    """A file that writes a share of its data and then kills the process."""

    def __init__(self, file: BinaryIO, share: float) -> None:
        self._file, self._share = file, share

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        self._file.write(data[: int(self._share * len(data))])
        self._file.flush()
        kill_self()


PLACES: dict[str, Callable[[int, float], None]] = {
    "video": kill_in_video,
    "checkpoint": kill_in_checkpoint,
}


def main(argv: list[str]) -> int:
    place, number, share, *words = argv
    PLACES[place](int(number), float(share))
    return sana_stream(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

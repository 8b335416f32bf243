"""`sana-stream`, killed within a write: part of it reaches the file, the rest never does.

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


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_video(number: int, share: float) -> None:
    """Write that share of the `number`-th write to the video."""
    write, left = UnbufferedFile.write, [number]

    def torn(file: UnbufferedFile, data: Any) -> int:
        left[0] -= not str(file.name).endswith(".vtt")
        if left[0]:
            return write(file, data)
        write(file, data[: int(share * len(data))])
        die()
        raise AssertionError

    UnbufferedFile.write = torn


def die_in_checkpoint(number: int, share: float) -> None:
    """Half of the way is writing the `number`-th checkpoint, the rest is giving it its name."""
    opened, replaced, left = Path.open, os.replace, [number]

    def open_part(path: Path, *given: Any, **more: Any) -> Any:
        file = opened(path, *given, **more)
        if path.name.endswith(".ckpt.sana-stream.part"):
            left[0] -= 1
            if not left[0] and share < 0.5:
                return Torn(file, 2 * share)
        return file

    def replace(part: Path, path: Path) -> None:
        if left[0] or share > 0.75:
            replaced(part, path)
        if not left[0] and str(path).endswith(".ckpt"):
            die()

    Path.open, os.replace = open_part, replace  # type: ignore[method-assign,assignment]


class Torn:
    """A file of which only a share is written."""

    def __init__(self, file: BinaryIO, share: float) -> None:
        self._file, self._share = file, share

    def __enter__(self) -> Torn:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        self._file.write(data[: int(self._share * len(data))])
        self._file.flush()
        die()


PLACES: dict[str, Callable[[int, float], None]] = {
    "video": die_in_video,
    "checkpoint": die_in_checkpoint,
}


def main(argv: list[str]) -> int:
    place, number, share, *words = argv
    PLACES[place](int(number), float(share))
    return sana_stream(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

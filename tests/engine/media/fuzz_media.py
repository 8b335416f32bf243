"""Read damaged images and clips, in a separate process with little memory.

python fuzz_media.py FOLDER SEED COUNT: each of COUNT files is a damaged copy of one in the folder.
The process ends at any error other than ConfigError.
"""

from __future__ import annotations

import random
import resource
import sys
from fractions import Fraction
from itertools import islice
from pathlib import Path

from sana_stream.engine.media.clip import inspect_clip
from sana_stream.engine.media.image_file import read_image
from sana_stream.errors import ConfigError

MEMORY = 3 << 30  # bytes of address space in addition to that of the imports
SECONDS = 20  # of CPU time per file
PIECES = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0")


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Truncate data or change some of its bytes, more often near its start."""
    if chance.random() < 0.25:
        return data[: chance.randrange(len(data))]
    out = bytearray(data)
    region = len(out) if chance.random() < 0.5 else min(len(out), 512)
    for _ in range(chance.choice((1, 1, 2, 4, 16, 64))):
        place = chance.randrange(region)
        match chance.randrange(4):
            case 0:
                out[place] = chance.randrange(256)
            case 1:
                out[place] ^= 1 << chance.randrange(8)
            case 2:
                out[place : place + 4] = chance.choice(PIECES)
            case 3:
                out[place:place] = out[: chance.randrange(1, 64)]
    return bytes(out)


def read(file: Path) -> None:
    """Read an image or a clip, depending on the file's name."""
    if file.name.startswith("picture"):
        read_image(file, lambda note: None)
        return
    clip = inspect_clip(file, Fraction(16), lambda note: None)
    for picture in islice(clip.pictures(32, 48), 50):
        assert picture.shape == (32, 48, 3)


def main(folder: Path, seed: int, count: int) -> None:
    """Read `count` damaged files."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    sources = sorted(folder.iterdir())
    for number in range(count):
        chance = random.Random(seed * 1_000_003 + number)
        source = sources[number % len(sources)]
        file = Path(f"{source.name}")  # in the current folder
        file.write_bytes(damaged(source.read_bytes(), chance))
        spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        resource.setrlimit(resource.RLIMIT_CPU, (int(spent) + SECONDS, resource.RLIM_INFINITY))
        sys.stderr.write(f"{number} {source.name}\n")
        try:
            read(file)
        except ConfigError:
            continue


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

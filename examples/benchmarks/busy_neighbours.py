"""Measure a live stream's speed next to busy processes, for several wait policies of OpenMP.

OpenMP's threads wait for one another thousands of times a second. "spinning" is OpenMP's default,
"default" the setting of sana-stream.

python examples/benchmarks/busy_neighbours.py                    # in about ten minutes
python examples/benchmarks/busy_neighbours.py --repeats 1 --frames 64 --neighbours 0 2
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

WAYS = {
    "spinning": {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"},
    "default": {},
    "sleeping": {"GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
_SPEED = re.compile(r"of video in \S+ ([\d.]+) frames/s")
_CHOSEN = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Run `count` processes that use one core each."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def frames_per_second(way: dict[str, str], frames: int, model: str) -> float:
    """Measure one live stream, not paced to real time."""
    environ = {name: value for name, value in os.environ.items() if name not in _CHOSEN}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "sana_stream.cli", "--prompt", "a red boat"),
                *("--interactive", "--no-realtime", "--frames", str(frames)),
                *("--model", model, "--checkpoint-every", "off", "--out", "a.mp4"),
            ],
            cwd=folder,
            env=environ | way,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
    speed = _SPEED.search(done.stderr)
    assert speed is not None, done.stderr
    return float(speed[1])


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--neighbours", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    parser.add_argument("--model", default="pocket")
    args = parser.parse_args(argv)
    cores = os.cpu_count() or 1
    print(f"{cores} cores; median frames/s, and relative to the first way")
    for count in args.neighbours:
        found: dict[str, list[float]] = {name: [] for name in args.ways}
        with busy(count):
            for _ in range(args.repeats):
                for name, speeds in found.items():
                    speeds.append(frames_per_second(WAYS[name], args.frames, args.model))
        first = median(found[args.ways[0]])
        for name, speeds in found.items():
            rate = median(speeds)
            spread = f"{min(speeds):.1f} to {max(speeds):.1f}"
            print(f"{count} busy, {name}: {rate:.1f} ({spread}), {rate / first:.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

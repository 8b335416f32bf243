"""Time from starting a run to its first frame in a pipe, of this checkout and others, alternately.

    python examples/benchmarks/first_picture.py ../before --decode-frames 1

Each run is a process of its own that loads the embedded model, makes one block to warm up, and then
measures a run of its own. The frames are raw, so no encoder adds to the time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
MEASURE = "--measure"


def measure(decode_frames: int | None, seconds: float) -> float:
    """Seconds from entering a run to the first frame that a reader of its pipe has."""
    from sana_stream import Engine, Run, RunConfig

    engine = Engine.load(device="cpu", dtype="float32", decode_frames=decode_frames)
    next(engine.session("a lighthouse in a storm"))
    size = engine.preset.width * engine.preset.height * 3 // 2  # 4:2:0
    with tempfile.TemporaryDirectory() as folder:
        pipe = os.path.join(folder, "video.y4m")
        os.mkfifo(pipe)
        arrived: list[float] = []
        reader = threading.Thread(target=_read, args=(pipe, size, arrived))
        reader.start()
        config = RunConfig(story="a lighthouse in a storm", seconds=seconds, outputs=[pipe])
        with Run(engine, config) as run:
            begun = time.perf_counter()
            for _ in run:
                pass
        reader.join()
    return arrived[0] - begun


def _read(pipe: str, size: int, arrived: list[float]) -> None:
    with open(pipe, "rb") as file:
        file.read(size)
        arrived.append(time.perf_counter())
        while file.read(1 << 20):
            pass


def main(argv: list[str] | None = None) -> None:
    """Measure this checkout and others alternately and print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("others", nargs="*", type=Path, help="other checkouts")
    parser.add_argument("--decode-frames", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of the video")
    parser.add_argument(MEASURE, action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        print(measure(args.decode_frames, args.seconds))
        return
    checkouts = [*args.others, HERE]
    times: dict[Path, list[float]] = {checkout: [] for checkout in checkouts}
    options = [] if args.decode_frames is None else ["--decode-frames", str(args.decode_frames)]
    for _ in range(args.repeats):
        for checkout in checkouts:
            paths = filter(None, (str(checkout.resolve() / ".src"), os.environ.get("PYTHONPATH")))
            found = subprocess.run(
                [sys.executable, __file__, MEASURE, "--seconds", str(args.seconds), *options],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
                capture_output=True,
                text=True,
            )
            if found.returncode:
                sys.exit(f"{checkout}: {found.stderr.strip().splitlines()[-1]}")
            times[checkout].append(float(found.stdout.split()[-1]))
    own = statistics.median(times[HERE])
    for checkout, measured in times.items():
        middle = statistics.median(measured)
        ratio = f"{own / middle:.2f} of it in this checkout"
        print(f"{checkout}: first frame after {middle * 1000:.0f} ms; {ratio}")


if __name__ == "__main__":
    main()

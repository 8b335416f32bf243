"""Compare two versions of the code by the CPU time of a block's latents, measured alternately.

git worktree add ../before COMMIT
python examples/benchmarks/compare.py ../before
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parents[2]


def serve(model: str, dtype: str) -> None:
    """Sample a block's latents for each line read, and write the seconds of CPU time."""
    from sana_stream import Engine

    session = Engine.load(model, "cpu", dtype).session("a red boat on the sea", seed=1)
    next(session)
    snapshot = session.snapshot()
    for _ in sys.stdin:
        begun = time.process_time()
        session.sample(snapshot)
        sys.stdout.write(f"{time.process_time() - begun}\n")
        sys.stdout.flush()


class Version:
    """A process that runs one version of the code."""

    def __init__(self, tree: Path, *options: str) -> None:
        paths = filter(None, (str(tree / ".src"), os.environ.get("PYTHONPATH")))
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(tree), "--serve", *options],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compare two versions of the code.")
    parser.add_argument("before", type=Path, help="a folder with the other version's source")
    parser.add_argument("--model", default=str(HERE / "models" / "pocket"))
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.serve:
        serve(args.model, args.dtype)
        return
    options = ("--model", args.model, "--dtype", args.dtype)
    before, current = (Version(tree.resolve(), *options) for tree in (args.before, HERE))
    for version in (before, current):
        version.seconds()
    rounds = [(before.seconds(), current.seconds(), before.seconds()) for _ in range(args.rounds)]
    for version in (before, current):
        version.close()
    low, middle, high = statistics.quantiles([2 * b / (a + c) for a, b, c in rounds], n=4)
    print(f"current / before: {middle:.3f}, half of the rounds from {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()

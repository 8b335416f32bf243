"""Measure a machine and a model within ten minutes: probe, checks, speed, memory and profiles.

python examples/benchmarks/measure.py --shapes 2b-480p      # random 2B weights on a GPU
python examples/benchmarks/measure.py                       # the small model on this machine

It runs in a checkout: nothing needs to be installed but torch, numpy, pillow and safetensors. Steps
run in the order of their worth, each in a process of its own with a time limit, so that a step that
fails or takes too long ends no other. Every figure is printed and written as it comes:
`figures.jsonl` has all, `speed.md`, `probe.md` and `profile.md` have the tables.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path

from measuring.records import Record, parse_record
from measuring.report import Report, shown
from measuring.runner import Clock, run_script
from measuring.steps import MINUTES, NAMES, Step, chosen_steps

HERE = Path(__file__).resolve().parent
# what is compiled in one step need not be compiled in the next
COMPILED = Path(tempfile.gettempdir()) / "sana-stream-compiled"


def run_step(step: Step, seconds: float, report: Report) -> None:
    """Run a step and report its records, and then how it ended."""
    script, *options = step.words
    report.add_command(shlex.join(["python", f"examples/benchmarks/{script}", *options]))
    print(f"{step.name}, at most {max(0.0, seconds):.0f} s", flush=True)

    def take(line: str) -> None:
        record = parse_record(line)
        if record is None:
            print(line, flush=True)
        else:
            add(report, record)

    begun = time.monotonic()
    outcome = "no time was left"
    try:
        if seconds > 0:
            cache = {"TORCHINDUCTOR_CACHE_DIR": str(COMPILED)}
            outcome = run_script([str(HERE / script), *options], seconds, take, cache)
    except BaseException:
        outcome = "interrupted"
        raise
    finally:
        took = time.monotonic() - begun
        add(report, {"table": "steps", "name": step.name, "outcome": outcome, "seconds": took})


def add(report: Report, record: Record) -> None:
    """Print and report a record."""
    print(shown(record), flush=True)
    report.add(record)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure a machine and a model.")
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--shapes", help="random weights: 2b-480p, 2b-720p, pocket")
    model.add_argument("--model", default="pocket", help="a checkpoint: without checks")
    parser.add_argument(
        "--steps", nargs="*", choices=NAMES, default=[], metavar="STEP",
        help=f"default: all that apply, of {', '.join(NAMES)}",
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for everything")
    parser.add_argument("--out", type=Path, default=Path("measured"), help="folder of the report")
    args = parser.parse_args(argv)
    steps = chosen_steps(args.steps, args.model, args.shapes)
    if absent := set(args.steps) - {step.name for step in steps}:
        parser.error(f"{', '.join(sorted(absent))}: checks need random weights; give --shapes")
    clock = Clock(args.minutes)
    report = Report(args.out, f"{datetime.date.today()}, {args.shapes or args.model}")
    try:
        for step in steps:
            run_step(step, min(step.seconds * args.minutes / MINUTES, clock.left), report)
    finally:
        print(f"\n{report.summary()}\n\nThe report is in {args.out}", flush=True)
        report.close()


def entry() -> None:
    """Run `main`; SIGTERM ends it as an interrupt does: with the running step, and a report."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    entry()

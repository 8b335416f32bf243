"""Measure every configuration of a model: checks, a profile and a speed table, within ten minutes.

python examples/benchmarks/measure.py                          # the small model on this machine
python examples/benchmarks/measure.py --shapes 2b-480p         # random 2B weights on a GPU

Each check and each configuration is a separate process, so that a failure affects no other; the
report is rewritten after each of them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
CHECKS = ("float32", "bfloat16", "pipelined", "compiled", "graphs")
BFLOAT16 = ["--dtype", "bfloat16"]
WAYS = {
    "bfloat16": BFLOAT16,
    "compiled": [*BFLOAT16, "--compile"],
    "graphs": [*BFLOAT16, "--graphs"],
    "compiled, graphs": [*BFLOAT16, "--compile", "--graphs"],
    "fp8, compiled, graphs": [*BFLOAT16, "--quantize", "fp8", "--compile", "--graphs"],
    "small decoder": [*BFLOAT16, "--decoder", "tiny"],
    "fp8, small decoder, compiled, graphs": [
        *BFLOAT16, "--quantize", "fp8", "--decoder", "tiny", "--compile", "--graphs"
    ],
    "float32": ["--dtype", "float32", "--repeats", "1", "--warmup", "1"],
}  # fmt: skip
COLUMNS = ("first frame", "denoising call ms", "commit ms", "decode ms", "encode ms", "block ms",
           "overlapped ms", "frames/s", "peak", "share of floor")  # fmt: skip
GIB = 1 << 30


@dataclass
class Report:
    """Results so far."""

    title: str = ""
    checks: list[str] = field(default_factory=list)
    ways: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The report as Markdown."""
        heads = ("check", "largest difference", "allowed", "")
        parts = [self.title or f"{datetime.date.today()}"]
        parts += [_table(heads, self.checks)] if self.checks else []
        parts += [_table(("", *COLUMNS), self.ways)] if self.ways else []
        return "\n\n".join((*parts, "\n".join(f"    {line}" for line in self.commands), ""))


class Clock:
    """Time budget of all measurements."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + minutes * 60

    def run(self, *command: str) -> tuple[str, str]:
        """Run a child process; return its standard output, or the reason of its failure."""
        left = self._end - time.monotonic()
        if left <= 0:
            return "", "no time was left"
        try:
            done = subprocess.run(
                [sys.executable, *command], capture_output=True, text=True, timeout=left
            )
        except subprocess.TimeoutExpired:
            return "", "it took longer than the time that was left"
        reason = (done.stderr.strip().splitlines() or ["it ended without a message"])[-1]
        return (done.stdout, "") if not done.returncode else ("", reason.rpartition("Error: ")[2])


def run_check(clock: Clock, name: str, options: list[str], report: Report) -> None:
    """Run one check of `measure_checks.py`."""
    command = ["measure_checks.py", name, *options]
    output, failure = clock.run(str(HERE / command[0]), *command[1:])
    report.commands.append(f"python examples/benchmarks/{shlex.join(command)}")
    if failure:
        report.checks.append(_row(name, failure, "", ""))
        return
    check = json.loads(output)
    verdict = "holds" if check["difference"] <= check["allowed"] else "FAILS"
    report.checks.append(
        _row(check["what"], f"{check['difference']:.1e}", f"{check['allowed']:.0e}", verdict)
    )


def run_profile(clock: Clock, options: list[str], out: Path, report: Report) -> None:
    """Write the table of `measure_profile.py` next to the report."""
    output, failure = clock.run(str(HERE / "measure_profile.py"), *options)
    report.commands.append(f"python examples/benchmarks/measure_profile.py {shlex.join(options)}")
    (out / "profile.txt").write_text(output or f"{failure}\n", encoding="utf-8")


def run_way(clock: Clock, name: str, options: list[str], repeats: int, report: Report) -> str:
    """Benchmark one configuration; return the figures as JSON, empty after a failure."""
    words = ["bench", *options, "--repeats", str(repeats), *WAYS[name], "--json"]
    # the command's program, started as a module since its folder may not be on the path
    output, failure = clock.run("-m", "sana_stream.cli", *words)
    report.commands.append(shlex.join(["sana-stream", *words]))
    if failure:
        report.ways.append(
            _row(name, failure.removeprefix("sana-stream: "), *[""] * (len(COLUMNS) - 1))
        )
        return ""
    figures = json.loads(output)
    machine = [text for kind, text in figures["machine"].items() if kind != "dtype"]
    size = f"{figures['width']}x{figures['height']}, blocks of {figures['pictures']} frames"
    report.title = f"{datetime.date.today()}, {', '.join(machine)}, {size}"
    report.ways.append(_row(name, *_cells(figures)))
    return output


def _cells(figures: dict) -> Iterator[str]:
    yield f"{figures['first_picture']:.2f} s"
    for key in ("denoise_call", "commit", "decode", "encode", "block", "block_overlapped"):
        yield f"{figures[key] * 1e3:.1f}"
    yield f"{figures['frames_a_second']:.1f}"
    yield f"{figures['peak_memory'] / GIB:.2f} GiB"
    yield f"{figures['share']:.0%}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _table(heads: tuple[str, ...], rows: list[str]) -> str:
    return "\n".join((_row(*heads), "|" + "---|" * len(heads), *rows))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Fill the speed table.")
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--shapes", help="random weights: 2b-480p, 2b-720p, pocket")
    model.add_argument("--model", default="pocket", help="a checkpoint: without checks and profile")
    parser.add_argument("--repeats", type=int, default=4, help="blocks a median")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS), metavar="WAY")
    parser.add_argument("--checks", nargs="*", choices=CHECKS, default=list(CHECKS))
    parser.add_argument("--minutes", type=float, default=9.5, help="for everything")
    parser.add_argument("--out", type=Path, default=Path("measured"), help="folder of the report")
    args = parser.parse_args(argv)
    chosen = ["--shapes", args.shapes] if args.shapes else ["--model", args.model]
    args.out.mkdir(parents=True, exist_ok=True)
    clock, report = Clock(args.minutes), Report()

    def write() -> None:
        (args.out / "speed.md").write_text(report.text(), encoding="utf-8")

    if args.shapes:
        for name in args.checks:
            run_check(clock, name, chosen, report)
            write()
        run_profile(clock, chosen, args.out, report)
    with (args.out / "figures.jsonl").open("w", encoding="utf-8") as lines:
        for name in args.ways:
            lines.write(run_way(clock, name, chosen, args.repeats, report))
            lines.flush()
            write()
    print(report.text())


if __name__ == "__main__":
    main()

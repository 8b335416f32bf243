"""Fill the speed table: checks, a profile, and every way to run a shape, in under ten minutes.

python examples/benchmarks/measure.py                          # the small model on this machine
python examples/benchmarks/measure.py --shapes 2b-480p         # random 2B weights on a GPU

Each check and each way is a process of its own, so that one that fails costs no other; the report
is written anew after each of them.
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
COLUMNS = ("first picture", "denoising call ms", "commit ms", "decode ms", "encode ms", "block ms",
           "overlapped ms", "pictures/s", "peak", "share of floor")  # fmt: skip
GIB = 1 << 30


@dataclass
class Report:
    """What has been measured so far."""

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
    """The time that is left for everything."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + minutes * 60

    def run(self, *command: str) -> tuple[str, str]:
        """A child's standard output, and why there is none."""
        left = self._end - time.monotonic()
        if left <= 0:
            return "", "no time was left"
        try:
            done = subprocess.run(
                [sys.executable, *command], capture_output=True, text=True, timeout=left
            )
        except subprocess.TimeoutExpired:
            return "", "it took longer than the time that was left"
        why = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        return (done.stdout, "") if not done.returncode else ("", why.rpartition("Error: ")[2])


def checked(clock: Clock, name: str, what: list[str], report: Report) -> None:
    """Run one check of `measure_checks.py`."""
    command = ["measure_checks.py", name, *what]
    told, why = clock.run(str(HERE / command[0]), *command[1:])
    report.commands.append(f"python examples/benchmarks/{shlex.join(command)}")
    if why:
        report.checks.append(_row(name, why, "", ""))
        return
    check = json.loads(told)
    verdict = "holds" if check["difference"] <= check["allowed"] else "FAILS"
    report.checks.append(
        _row(check["what"], f"{check['difference']:.1e}", f"{check['allowed']:.0e}", verdict)
    )


def profiled(clock: Clock, what: list[str], out: Path, report: Report) -> None:
    """Write the table of `measure_profile.py` beside the report."""
    told, why = clock.run(str(HERE / "measure_profile.py"), *what)
    report.commands.append(f"python examples/benchmarks/measure_profile.py {shlex.join(what)}")
    (out / "profile.txt").write_text(told or f"{why}\n", encoding="utf-8")


def measured(clock: Clock, name: str, what: list[str], repeats: int, report: Report) -> str:
    """Run one way; returns the figures as JSON, empty where there are none."""
    words = ["bench", *what, "--repeats", str(repeats), *WAYS[name], "--json"]
    # the same program as the command's, found even where its folder is not on the path
    told, why = clock.run("-m", "sana_stream.cli", *words)
    report.commands.append(shlex.join(["sana-stream", *words]))
    if why:
        report.ways.append(
            _row(name, why.removeprefix("sana-stream: "), *[""] * (len(COLUMNS) - 1))
        )
        return ""
    figures = json.loads(told)
    machine = [text for kind, text in figures["machine"].items() if kind != "dtype"]
    size = f"{figures['width']}x{figures['height']}, blocks of {figures['pictures']} pictures"
    report.title = f"{datetime.date.today()}, {', '.join(machine)}, {size}"
    report.ways.append(_row(name, *_cells(figures)))
    return told


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
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--shapes", help="random weights: 2b-480p, 2b-720p, pocket")
    what.add_argument("--model", default="pocket", help="a checkpoint: without checks and profile")
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
            checked(clock, name, chosen, report)
            write()
        profiled(clock, chosen, args.out, report)
    with (args.out / "figures.jsonl").open("w", encoding="utf-8") as lines:
        for name in args.ways:
            lines.write(measured(clock, name, chosen, args.repeats, report))
            lines.flush()
            write()
    print(report.text())


if __name__ == "__main__":
    main()

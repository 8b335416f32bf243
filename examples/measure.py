"""Fill the speed table: every way to run a shape, one after the other, as a Markdown table.

python examples/measure.py                          # the small model on this machine
python examples/measure.py --shapes 2b-480p         # random 2B weights on a GPU, under 10 minutes
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import subprocess
import sys

WAYS = {
    "float32": ["--dtype", "float32"],
    "bfloat16": ["--dtype", "bfloat16"],
    "bfloat16, compiled": ["--dtype", "bfloat16", "--compile"],
}
GIB = 1 << 30


def measure(what: list[str], way: list[str], repeats: int) -> tuple[str, dict]:
    """The command that was run, and the figures it gave."""
    command = ["sana-stream", "bench", *what, *way, "--repeats", str(repeats), "--json"]
    # the same program as the command's, found even where its folder is not on the path
    done = subprocess.run(
        [sys.executable, "-m", "sana_stream.cli", *command[1:]], capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{shlex.join(command)}: {done.stderr.strip()}")
    return shlex.join(command), json.loads(done.stdout)


def row(name: str, figures: dict) -> str:
    milliseconds = [
        figures[key] * 1e3
        for key in ("denoise_call", "commit", "decode", "encode", "block", "block_overlapped")
    ]
    cells = [
        name,
        f"{figures['first_picture']:.2f} s",
        *(f"{value:.1f}" for value in milliseconds),
        f"{figures['frames_a_second']:.1f}",
        f"{figures['peak_memory'] / GIB:.2f} GiB",
        f"{figures['share']:.0%}",
    ]
    return f"| {' | '.join(cells)} |"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Fill the speed table.")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--shapes", help="random weights: 2b-480p, 2b-720p, pocket")
    what.add_argument("--model", default="pocket", help="a checkpoint")
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    args = parser.parse_args(argv)
    chosen = ["--shapes", args.shapes] if args.shapes else ["--model", args.model]

    measured = {name: measure(chosen, WAYS[name], args.repeats) for name in args.ways}
    commands = [command for command, _ in measured.values()]
    rows = [row(name, figures) for name, (_, figures) in measured.items()]
    _, first = measured[args.ways[0]]
    machine = [text for name, text in first["machine"].items() if name != "dtype"]
    print(f"{datetime.date.today()}, {', '.join(machine)}\n")
    print("| | first picture | denoising call ms | commit ms | decode ms | encode ms | block ms"
          " | overlapped ms | pictures/s | peak | share of floor |")  # fmt: skip
    print("|" + "---|" * 11)
    print("\n".join(rows), "\n", *(f"    {command}" for command in commands), sep="\n")


if __name__ == "__main__":
    main()

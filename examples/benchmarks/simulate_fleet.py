"""Simulate a fleet in virtual time: use of the GPUs, late blocks and waits, against load.

python examples/benchmarks/simulate_fleet.py --plot fleet.svg

Streams are watched in real time, end and are replaced; GPUs are lost and come back. The table of
homes and the pace of streams are those of the program, the cost of a block is counted or measured
(`fleet_model/costs.py`). Load is the time that all streams need of all GPUs. Nothing sleeps, and a
seed gives the same figures on every machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet_model.chart import Panel, svg
from fleet_model.costs import COSTS, FleetSettings
from fleet_model.simulation import Results, Simulation
from sana_stream.streaming.control.pacing import LEAD_SECONDS

HEADS = (
    *("GPUs", "streams", "load", "in use", "late blocks", "longest wait", "lost", "made again"),
)
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Point:
    """One simulated fleet."""

    gpus: int
    streams: int
    load: float
    results: Results

    @property
    def use(self) -> float:
        """The share of the GPUs' time that was worked."""
        return self.results.busy / (self.results.seconds * self.gpus)

    @property
    def late(self) -> float:
        """The share of blocks that came late."""
        return self.results.late / max(1, self.results.blocks)

    @property
    def longest_wait(self) -> float:
        """Of any viewer, in seconds."""
        return max(self.results.waits, default=0.0)

    def row(self) -> str:
        """The point as a row of a table."""
        cells = (
            f"{self.gpus:,}",
            f"{self.streams:,}",
            f"{self.load:.2f}",
            f"{self.use:.1%}",
            f"{self.late:.2%}",
            f"{self.longest_wait:.1f} s",
            f"{self.results.losses}",
            f"{self.results.remade:,}",
        )
        return f"| {' | '.join(cells)} |"


def simulate(settings: FleetSettings, load: float, seconds: float, seed: int) -> Point:
    """A fleet with as many streams as come nearest to a load, at least one."""
    streams = max(1, round(load * settings.gpus * settings.cost.capacity))
    simulation = Simulation(settings, seed)
    simulation.watch(streams)
    exact = streams / (settings.gpus * settings.cost.capacity)
    return Point(settings.gpus, streams, exact, simulation.run(seconds))


def chart(points: Iterable[Point]) -> str:
    """Use, late blocks and longest wait against load, a line for each size of fleet."""
    lines: dict[str, list[Point]] = {}
    for point in points:
        name = "1 GPU" if point.gpus == 1 else f"{point.gpus:,} GPUs"
        lines.setdefault(name, []).append(point)
    longest = max(point.longest_wait for line in lines.values() for point in line)
    late = max(point.late for line in lines.values() for point in line)
    panels = (
        ("GPUs' time in use, %", lambda point: 100 * point.use, 100.0),
        ("late blocks, %", lambda point: 100 * point.late, min(100.0, _round_up(100 * late))),
        ("longest wait of a viewer, s", lambda point: point.longest_wait, _round_up(longest)),
    )
    return svg(
        [
            Panel(
                title,
                {name: [(p.load, value(p)) for p in line] for name, line in lines.items()},
                top,
                "load",
            )
            for title, value, top in panels
        ]
    )


def _round_up(value: float) -> float:
    """The next of 4, 8, 20, 40, 80, ..., which four lines divide evenly."""
    top = 4.0
    while top < value:
        top *= 2.5 if str(top).startswith("8") else 2
    return top


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument(
        "--loads", type=float, nargs="+", default=[0.4, 0.6, 0.75, 0.8, 0.9, 1.0, 1.1]
    )
    parser.add_argument("--costs", choices=sorted(COSTS), default="2b-480p")
    parser.add_argument(
        "--policy", choices=("edf", "fifo"), default="edf", help="earliest deadline, or first come"
    )
    parser.add_argument("--every", type=int, default=8, help="blocks between two snapshots")
    parser.add_argument(
        "--lead", type=float, default=LEAD_SECONDS, help="seconds of video in reserve"
    )
    parser.add_argument(
        "--gpu-hours", type=float, default=100.0, help="simulated of each fleet, at least"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="simulated, at least")
    parser.add_argument(
        "--hours-between-losses", type=float, default=24.0, help="of one GPU; 0: none is lost"
    )
    parser.add_argument("--restart", type=float, default=60.0, help="seconds of a lost GPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the charts as SVG")
    args = parser.parse_args(argv)
    points = []
    print(f"| {' | '.join(HEADS)} |\n{'|---' * len(HEADS)}|")
    for gpus in args.gpus:
        settings = FleetSettings(
            *(gpus, COSTS[args.costs], args.policy, args.every, args.lead),
            restart=args.restart,
            between_losses=args.hours_between_losses * HOUR or None,
        )
        seconds = max(args.minutes * 60, args.gpu_hours * HOUR / gpus)
        seen: set[int] = set()
        for load in args.loads:
            point = simulate(settings, load, seconds, args.seed)
            if point.streams not in seen:
                points.append(point)
                print(point.row(), flush=True)
            seen.add(point.streams)
    if args.plot is not None:
        args.plot.write_text(chart(points), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

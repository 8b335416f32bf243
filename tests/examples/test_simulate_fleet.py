"""`simulate_fleet.py` against results of queueing theory and cases that can be counted by hand."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean
from xml.etree import ElementTree

import pytest

BENCHMARKS = Path(__file__).parents[2] / "examples" / "benchmarks"
sys.path.append(str(BENCHMARKS))

import simulate_fleet  # noqa: E402 - on the path since the line above
from fleet_model.costs import COSTS, BlockCost, FleetSettings  # noqa: E402
from fleet_model.simulation import Results, Simulation  # noqa: E402

SECOND = BlockCost(calls=3, call_seconds=0.25, decode_seconds=0.25, video_seconds=4.0)
ONE = FleetSettings(1, SECOND)


def watched(settings: FleetSettings, streams: int, blocks: int, seconds: float) -> Results:
    """Streams that all begin at 0."""
    simulation = Simulation(settings)
    for _ in range(streams):
        simulation.begin(0.0, blocks)
    return simulation.run(seconds)


@pytest.mark.parametrize("use", [0.5, 0.8])
def test_random_arrivals_wait_as_an_m_d_1_queue(use: float) -> None:
    """Streams of one block that arrive at random wait use / (2 (1 - use)) of its time."""
    arrivals, simulation, time = random.Random(1), Simulation(ONE), 0.0
    for _ in range(8_000):
        time += arrivals.expovariate(use)
        simulation.begin(time, 1)
    results = simulation.run(time + 1000)
    wait = mean(results.starts) - SECOND.seconds
    assert wait == pytest.approx(use / (2 * (1 - use)), rel=0.08)
    assert results.busy == pytest.approx(8_000 * SECOND.seconds)


@pytest.mark.parametrize("policy", ["fifo", "edf"])
def test_streams_that_fit_are_never_late(policy: str) -> None:
    """Four seconds of video a block of one second: four streams take all of the time."""
    settings = replace(ONE, policy=policy, lead=4.0)
    results = watched(settings, 4, 100, 1000)
    assert sorted(results.starts) == pytest.approx([1, 2, 3, 4])
    assert (results.blocks, results.late) == (4 * 99, 0)
    assert results.busy == pytest.approx(400)


@pytest.mark.parametrize("policy", ["fifo", "edf"])
def test_streams_that_do_not_fit_share_the_time(policy: str) -> None:
    """Eight streams at half of real time: each viewer waits as long as it watches."""
    results = watched(replace(ONE, policy=policy), 8, 10_000, 4000)
    assert results.busy == pytest.approx(4000)
    assert results.blocks == pytest.approx(4000 - 8, abs=1)
    assert results.late > 0.99 * results.blocks
    assert sum(results.waits) == pytest.approx(8 * 4000 / 2, rel=0.02)


def test_a_lost_gpu_costs_the_blocks_since_the_snapshot() -> None:
    """Block 6 is asked for at 23.6 s and lost at 23.8 s; two blocks are made again elsewhere."""
    cost = replace(SECOND, load_seconds=0.125)
    settings = FleetSettings(2, cost, every=4, lead=0.4, lost_after=0.5, restart=60)
    simulation = Simulation(settings)
    simulation.begin(0.0, 8)
    simulation.lose(23.8, 0)
    results = simulation.run(100)
    assert (results.losses, results.remade, results.moves) == (1, 2, 1)
    # played out at 25.0; 3 blocks and the loading from 24.3 on
    assert results.waits == pytest.approx([24.3 + 3 + 0.125 - 25.0])


def test_the_only_gpu_is_waited_for() -> None:
    settings = FleetSettings(1, SECOND, every=4, restart=60)
    simulation = Simulation(settings)
    simulation.begin(0.0, 8)
    simulation.lose(10.0, 0)  # between two blocks, of which the fourth is next
    results = simulation.run(100)
    assert results.waits == pytest.approx([70 + 4 - 13.0])  # all four from the beginning


def test_use_is_the_share_of_time_that_gpus_are_there() -> None:
    """The alternating renewal process: up / (up + down)."""
    cost = BlockCost(1, 100.0, 0.0, 100.0)
    settings = FleetSettings(10, cost, every=1, restart=1000, between_losses=4000)
    simulation = Simulation(settings, seed=2)
    simulation.watch(40)
    results = simulation.run(4e5)
    assert results.losses > 500
    assert results.busy / 4e6 == pytest.approx(0.8, rel=0.03)


def test_earliest_deadline_first_makes_fewer_blocks_late() -> None:
    late = {}
    for policy in ("fifo", "edf"):
        settings = FleetSettings(20, COSTS["2b-480p"], policy)
        late[policy] = simulate_fleet.simulate(settings, 0.75, 600, seed=3).late
    assert late["edf"] < late["fifo"] / 3


def test_the_table_and_the_charts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ("--gpus", "1", "4", "--loads", "0.4", "0.75", "--gpu-hours", "0.5")
    simulate_fleet.main([*few, "--plot", str(tmp_path / "fleet.svg")])
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[:2] for row in rows[2:]] == [["1", "1"], ["1", "2"], ["4", "4"], ["4", "8"]]
    chart = ElementTree.parse(tmp_path / "fleet.svg").getroot()
    words = [each.text for each in chart.iter() if each.tag.endswith("text")]
    assert {"late blocks, %", "load", "1 GPU", "4 GPUs"} <= set(words)
    simulate_fleet.main([*few, "--plot", str(tmp_path / "again.svg")])
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "fleet.svg").read_bytes()

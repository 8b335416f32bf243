"""The first block reaches live outputs in parts; files, records and checkpoints are per block."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sana_stream.engine.block import Block, BlockPart
from sana_stream.engine.engine import Engine
from sana_stream.streaming.outputs.pump import OutputPump
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.runner import Run


class Collector:
    """An output that keeps what it is given."""

    name, durable = "frames", False

    def __init__(self, takes_parts: bool) -> None:
        self.takes_parts = takes_parts
        self.frames = 0
        self.taken: list[Any] = []

    def write(self, block: Block | BlockPart) -> None:
        self.taken.append(block)
        self.frames += len(block.frames)

    def close(self) -> None:
        pass

    @property
    def video(self) -> np.ndarray:
        return np.concatenate([block.frames for block in self.taken])


@pytest.fixture
def pieces(tiny_folder: Path) -> Engine:
    """The tiny model, which decodes one latent frame at a time."""
    return Engine.load(tiny_folder, "cpu", "float32", decode_frames=1)


def make(engine: Engine, config: RunConfig, *outputs: Collector) -> list[int]:
    run = Run(engine, config)
    run.use_outputs(outputs)
    with run:
        return [progress.frames for progress in run]


@pytest.mark.parametrize("directed", [False, True])
def test_live_output_gets_the_first_block_in_parts(pieces: Engine, directed: bool):
    live, other = Collector(True), Collector(False)
    config = RunConfig(story="a red boat", frames=25, outputs=(), directed=directed)
    assert make(pieces, config, live, other) == [9, 17, 25]
    assert [len(each.frames) for each in live.taken] == [1, 4, 4, 8, 8]
    assert [each.start for each in live.taken] == [0, 1, 5, 9, 17]
    assert [len(each.frames) for each in other.taken] == [9, 8, 8]
    assert np.array_equal(live.video, other.video)
    assert {each.prompt for each in live.taken} == {"a red boat"}


@pytest.mark.parametrize("frames", [1, 3, 6])
def test_parts_end_with_the_video(pieces: Engine, frames: int):
    live, other = Collector(True), Collector(False)
    config = RunConfig(story="a red boat", frames=frames, outputs=())
    assert make(pieces, config, live, other) == [frames]
    assert np.array_equal(live.video, other.video)
    assert len(live.video) == frames


def test_rest_of_a_block_follows_its_parts():
    """Where the parts do not reach its end; later blocks are complete."""
    live = Collector(True)
    pump = OutputPump([live])
    frames = np.arange(9 * 12, dtype=np.uint8).reshape(9, 2, 2, 3)
    pump.write_part(BlockPart(0, 5, 0, frames[:4], "a"))
    nothing: Any = None
    pump.write(Block(0, 5, frames, nothing, "a", nothing))
    pump.write(Block(1, 14, frames, nothing, "b", nothing))
    pump.close()
    assert [(each.start, len(each.frames)) for each in live.taken] == [(5, 4), (9, 5), (14, 9)]
    assert np.array_equal(live.video, np.concatenate([frames, frames]))


def test_parts_do_not_wait_for_a_slow_output():
    """They are queued on the thread that decodes."""
    live = Collector(True)
    pump = OutputPump([live])
    frames = np.zeros((4, 2, 2, 3), np.uint8)
    for number in range(20):
        pump.write_part(BlockPart(0, 4 * number, 4 * number, frames, "a"))
    pump.close()
    assert live.frames == 80


@pytest.mark.parametrize("name", ["a.mp4", "a.ts", "a.y4m", "a.m3u8"])
def test_files_do_not_depend_on_parts(
    pieces: Engine, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    made: list[dict[str, bytes]] = []
    same_id = lambda plan: replace(plan, id="00" * 8)  # noqa: E731
    monkeypatch.setattr("sana_stream.streaming.run.runner.with_new_id", same_id)
    for folder in ("parts", "blocks"):
        (tmp_path / folder).mkdir()
        if folder == "blocks":
            monkeypatch.setattr(OutputPump, "write_part", lambda pump, part: None)
        target = tmp_path / folder / name
        config = RunConfig(story="a red boat", frames=25, outputs=[str(target)], checkpoint=False)
        with Run(pieces, config) as run:
            assert len(list(run)) == 3
        made.append({file.name: file.read_bytes() for file in (tmp_path / folder).iterdir()})
    assert made[0] == made[1]

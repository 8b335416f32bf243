"""Streams that begin with a client's picture or cut to one, also when they are resumed."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_stream import Engine, Run, RunConfig
from sana_stream.streaming.control.job_queue import JobQueue
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.serving.job_files import JobFiles

from ...command import pictures

BLOCKS = 4


def png(seed: int) -> bytes:
    """A picture of noise, not of the size of a stream."""
    pixels = np.random.default_rng(seed).integers(0, 255, (70, 90, 3), np.uint8)
    Image.fromarray(pixels).save(data := BytesIO(), "png")
    return data.getvalue()


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(data)))


def config(folder: str) -> RunConfig:
    return RunConfig(
        "a red boat", [f"{folder}/%04d.png"], seconds=30, directed=True, checkpoint=True
    )


def made(
    engine: Engine, folder: str, control: LiveControl, cuts: dict[int, bytes], blocks: int = BLOCKS
) -> None:
    """Make blocks of a video; before some of them, a client sends a picture."""
    with Run(engine, config(folder), control=control) as run:
        follow(run, cuts, blocks)


def follow(run: Run, cuts: dict[int, bytes], blocks: int) -> None:
    for count in range(blocks):
        if count in cuts:
            run.control.cut(cuts[count])
        next(run)


@pytest.mark.parametrize("at", [0, 2])
def test_a_cut_is_that_of_a_session(
    tiny_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.chdir(tmp_path)
    image = png(1)
    made(tiny_engine, "live", LiveControl(), {at: image})
    session, frames = tiny_engine.session("a red boat"), []
    for count in range(BLOCKS):
        if count == at:
            session.cut(pixels_of(image))
        frames.append(next(session).frames)
    assert np.array_equal(pictures(tmp_path / "live"), np.concatenate(frames))


def test_a_resumed_stream_equals_an_undisturbed_one(
    tiny_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal holds all pictures, the checkpoint is from before the last two."""
    monkeypatch.chdir(tmp_path)
    folder, cuts = tmp_path / "jobs", {0: png(1), 2: png(2), 3: png(3)}
    files = JobFiles(folder)
    job = JobQueue(store=files).submit({"prompt": "a red boat"})
    files.begin(job, None)
    made(tiny_engine, "whole", files.control(job), cuts)
    made(tiny_engine, "killed", LiveControl(), cuts, blocks=2)
    again = JobFiles(folder)
    again.load()
    with Run.resume(tiny_engine, "killed/%04d.png", control=again.control(job)) as run:
        follow(run, {}, BLOCKS - run.progress.blocks)
    assert np.array_equal(pictures(tmp_path / "killed"), pictures(tmp_path / "whole"))
    again.remove(job)
    assert not list(folder.iterdir())


def test_a_damaged_picture_changes_nothing(
    tiny_engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    made(tiny_engine, "plain", LiveControl(), {}, 2)
    made(tiny_engine, "damaged", LiveControl(), {1: png(1)[:90]}, 2)
    assert np.array_equal(pictures(tmp_path / "plain"), pictures(tmp_path / "damaged"))
    assert "the video continues without a cut" in caplog.text

"""Parts of a block: delivered as they are decoded, together the block, each frame once."""

from __future__ import annotations

import itertools
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sana_stream.engine.block import BlockPart
from sana_stream.engine.engine import Engine
from sana_stream.engine.noise import counter_noise
from sana_stream.engine.sampling import decode
from sana_stream.engine.session import block_generator
from sana_stream.engine.session.lookahead import generate_ahead
from sana_stream.errors import HealthError

from .test_session import same


@pytest.fixture
def pieces(tiny_folder: Path) -> Engine:
    """The tiny model, which decodes one latent frame at a time: the first block has three."""
    return Engine.load(tiny_folder, "cpu", "float32", decode_frames=1)


@pytest.mark.parametrize("ahead", [False, True])
def test_parts_are_the_blocks(pieces: Engine, ahead: bool):
    session, parts = pieces.session("a red boat"), list[BlockPart]()
    session.deliver_parts(parts.append)
    if ahead:
        with closing(generate_ahead(session)) as made:
            blocks = list(itertools.islice(made, 3))
    else:
        blocks = list(itertools.islice(session, 3))
    parts = [part for part in parts if part.index < 3]
    places = [(part.index, part.offset) for part in parts]
    assert places[:5] == [(0, 0), (0, 1), (0, 5), (1, 0), (1, 4)]
    for block in blocks:
        own = [part for part in parts if part.index == block.index]
        assert np.array_equal(np.concatenate([part.frames for part in own]), block.frames)
        assert all(part.start == block.start + part.offset for part in own)
        assert {part.prompt for part in own} == {block.prompt}


def test_part_is_delivered_before_the_next_piece_is_decoded(
    pieces: Engine, monkeypatch: pytest.MonkeyPatch
):
    events: list[str] = []
    run = pieces.decoder.decode

    def decode_piece(*args: Any):
        events.append("decode")
        return run(*args)

    monkeypatch.setattr(pieces.decoder, "decode", decode_piece)
    session = pieces.session("a red boat")
    session.deliver_parts(lambda part: events.append("part"))
    next(session)
    assert events == ["decode", "part"] * 3


def test_whole_block_is_one_part(tiny_engine: Engine):
    session, parts = tiny_engine.session("a red boat"), list[BlockPart]()
    session.deliver_parts(parts.append)
    block = next(session)
    assert [len(part.frames) for part in parts] == [len(block.frames)]


@pytest.mark.parametrize("failing", [1, 2])
def test_frames_are_delivered_once_where_memory_runs_out(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, failing: int
):
    """The block is decoded again in smaller pieces and keeps the frames that were delivered."""
    engine = Engine.load(tiny_folder, "cpu", "float32", decode_frames=2)
    calls, real = itertools.count(), decode.to_pixels

    def to_pixels(frames: torch.Tensor) -> torch.Tensor:
        number = next(calls)
        if number in range(failing, 3):  # also the attempt after waiting for the other stage
            raise torch.OutOfMemoryError("no memory")
        return real(frames).add_(number == 0)  # decoded otherwise the second time

    monkeypatch.setattr(decode, "to_pixels", to_pixels)
    session, parts = engine.session("a red boat", block_frames=4), list[BlockPart]()
    session.deliver_parts(parts.append)
    block = next(session)
    starts = [part.start for part in parts]
    assert starts == sorted(set(starts))
    assert np.array_equal(np.concatenate([part.frames for part in parts]), block.frames)


def test_parts_end_before_frames_that_are_not_finite(
    pieces: Engine, monkeypatch: pytest.MonkeyPatch
):
    finite = iter([True, False, True])
    monkeypatch.setattr(decode, "is_finite", lambda frames: torch.tensor(next(finite)))
    session, parts = pieces.session("a red boat"), list[BlockPart]()
    session.deliver_parts(parts.append)
    with pytest.raises(HealthError):
        next(session)
    assert [part.offset for part in parts] == [0]
    assert session.next_index == 0


def test_no_part_waits_where_none_is_asked_for(pieces: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(block_generator, "PartDelivery", None)
    assert next(pieces.session("a red boat")).index == 0


def test_decoding_without_memory_waits_for_the_block_being_sampled(
    pieces: Engine, monkeypatch: pytest.MonkeyPatch
):
    expected = list(itertools.islice(pieces.session("a red boat"), 2))
    failed, sampling, sampled = threading.Event(), threading.Event(), threading.Event()
    sound, real = counter_noise(0), decode.to_pixels

    def noise(index: int, step: int, shape: tuple[int, ...]) -> torch.Tensor:
        if index == 1 and not failed.is_set():
            sampling.set()
            assert failed.wait(20)
            assert not sampled.wait(0.2), "the decode does not wait"
            failing.clear()
        return sound(index, step, shape)

    def to_pixels(frames: torch.Tensor) -> torch.Tensor:
        assert sampling.wait(20)
        if failing:
            failed.set()
            raise torch.OutOfMemoryError("no memory while the other stage runs")
        sampled.set()
        return real(frames)

    failing = [True]
    monkeypatch.setattr(decode, "to_pixels", to_pixels)
    with closing(generate_ahead(pieces.session("a red boat", noise=noise))) as made:
        blocks = list(itertools.islice(made, 2))
    assert same(blocks, expected)

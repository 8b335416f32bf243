"""The piece length belongs to the stream: a resumed one equals the undisturbed one, bit for bit."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.snapshot.file import read_header
from sana_stream.engine.snapshot.header import checksum
from sana_stream.errors import SnapshotError

from ..session.test_session import same


def choose(monkeypatch: pytest.MonkeyPatch, frames: int) -> None:
    """As many latent frames at once as if that much memory were free."""
    monkeypatch.setattr(LoadedModel, "decode_frames_for", lambda *_: frames)


@pytest.mark.parametrize(("before", "after"), [(2, 5), (5, 1), (1, 5)])
def test_resumed_stream_is_decoded_in_the_same_pieces(
    tiny_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int
):
    choose(monkeypatch, before)
    session = tiny_engine.session("a red boat", block_frames=4)
    next(session)
    session.save(tmp_path / "s.ckpt")
    assert read_header(tmp_path / "s.ckpt").decode_frames == before
    expected = list(itertools.islice(session, 2))
    choose(monkeypatch, after)
    split: list[int] = []
    decode = tiny_engine.decoder.decode

    def decode_piece(latents: torch.Tensor, *rest: Any):
        split.append(latents.shape[2])
        return decode(latents, *rest)

    monkeypatch.setattr(tiny_engine.decoder, "decode", decode_piece)
    resumed = tiny_engine.resume(tmp_path / "s.ckpt")
    assert same(list(itertools.islice(resumed, 2)), expected)
    assert max(split) == min(before, 4)


def test_given_limit_holds_for_a_resumed_stream(
    tiny_folder: Path, tiny_engine: Engine, tmp_path: Path
):
    """`decode_frames` of `Engine.load` is the most, so that a smaller card can continue."""
    session = tiny_engine.session("a red boat", block_frames=4)
    next(session)
    session.save(tmp_path / "s.ckpt")
    other = Engine.load(tiny_folder, "cpu", "float32", decode_frames=1)
    resumed = other.resume(tmp_path / "s.ckpt")
    next(resumed)
    assert resumed.snapshot().decode_frames == 1


def test_pieces_after_memory_ran_out_are_stored(
    tiny_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    decode, free = tiny_engine.decoder.decode, [4]

    def decode_piece(latents: torch.Tensor, *rest: Any):
        if latents.shape[2] > free[0]:
            raise torch.OutOfMemoryError("no memory")
        return decode(latents, *rest)

    monkeypatch.setattr(tiny_engine.decoder, "decode", decode_piece)
    session = tiny_engine.session("a red boat", block_frames=4)
    next(session)
    session.save(tmp_path / "s.ckpt")
    expected = next(session)
    free[0] = 9
    resumed = tiny_engine.resume(tmp_path / "s.ckpt")
    assert read_header(tmp_path / "s.ckpt").decode_frames == 2
    assert np.array_equal(next(resumed).frames, expected.frames)


def rewrite(path: Path, **values: str | None) -> None:
    """Change or remove values of a checkpoint's header."""
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    tensors = load_file(path)
    for name, value in values.items():
        metadata.pop(name) if value is None else metadata.update({name: value})
    del metadata["checksum"]
    save_file(tensors, path, metadata | {"checksum": checksum(metadata, tensors)})


def test_file_without_pieces_is_resumed_by_the_free_memory(
    tiny_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    session = tiny_engine.session("a red boat", block_frames=4)
    next(session)
    session.save(tmp_path / "s.ckpt")
    rewrite(tmp_path / "s.ckpt", decode_frames=None)
    assert read_header(tmp_path / "s.ckpt").decode_frames is None
    choose(monkeypatch, 2)
    resumed = tiny_engine.resume(tmp_path / "s.ckpt")
    next(resumed)
    assert resumed.snapshot().decode_frames == 2


@pytest.mark.parametrize("value", [0, -1, 1 << 40, 1.5, "two"])
def test_damaged_pieces_are_refused(tiny_engine: Engine, tmp_path: Path, value: object):
    session = tiny_engine.session("a red boat")
    next(session)
    session.save(tmp_path / "s.ckpt")
    rewrite(tmp_path / "s.ckpt", decode_frames=json.dumps(value))
    with pytest.raises(SnapshotError, match="decode_frames"):
        read_header(tmp_path / "s.ckpt")

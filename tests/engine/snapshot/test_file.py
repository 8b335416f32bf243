"""Saved streams resume bit for bit; invalid files are refused with the file named."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sana_stream.engine.block import Block
from sana_stream.engine.engine import Engine
from sana_stream.engine.session.session import Session
from sana_stream.engine.snapshot.file import load_snapshot, read_header
from sana_stream.engine.snapshot.header import checksum
from sana_stream.engine.snapshot.snapshot import blocks_to_keep
from sana_stream.errors import SnapshotError

from ..session.test_session import same, take

FIXTURES = [HealthCheck.function_scoped_fixture]


@pytest.fixture(scope="module")
def saved(tiny_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after two blocks."""
    path = tmp_path_factory.mktemp("saved") / "story.ckpt"
    session = tiny_engine.session("a red boat", memory="window=2,sink=1")
    take(session, 2)
    session.save(path, {"outputs": ["story.mp4"], "frames": 17})
    return path


@pytest.mark.parametrize(
    ("guidance", "memory"),
    [(3.0, "cumulative"), (3.0, "window=2,sink=1"), (1.0, "window=2,sink=1")],
)
def test_resume_at_every_block_equals_the_straight_stream(
    tiny_engine: Engine, tmp_path: Path, guidance: float, memory: str
):
    def resume_at(session: Session, until: int) -> Iterator[Block]:
        while (i := session.next_index) < until:
            if i == 3:
                session.switch("night falls over the sea")
            session.save(tmp_path / f"{i}.ckpt")
            yield next(session)

    session = tiny_engine.session("a red boat", seed=3, guidance=guidance, memory=memory)
    blocks = list(resume_at(session, 5))
    for i in range(5):
        count = min(5 - i, 2)
        resumed = list(resume_at(tiny_engine.resume(tmp_path / f"{i}.ckpt"), i + count))
        assert same(resumed, blocks[i : i + count])
        assert [b.prompt for b in resumed] == [b.prompt for b in blocks[i : i + count]]
        assert [b.stats.drift for b in resumed] == [b.stats.drift for b in blocks[i : i + count]]


def test_stream_without_stored_decoder_cache_resumes_exactly(
    tiny_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Latents older than the decoder's context are not stored; frames do not change."""
    monkeypatch.setattr("sana_stream.engine.snapshot.snapshot.CACHE_LIMIT", 0)
    session = tiny_engine.session("a red boat", block_frames=8, timesteps=(1000,))
    kept = blocks_to_keep(8, tiny_engine.vae.config)
    take(session, kept + 1)
    assert len(session.snapshot().recent_latents) == kept
    session.save(tmp_path / "long.ckpt")
    assert load_snapshot(tmp_path / "long.ckpt", tiny_engine).cache is None
    assert same(take(tiny_engine.resume(tmp_path / "long.ckpt"), 2), take(session, 2))


def test_small_decoder_cache_is_stored_with_its_strides(tiny_engine: Engine, tmp_path: Path):
    session = tiny_engine.session("a red boat")
    take(session, 2)
    session.save(tmp_path / "a.ckpt")
    written, read = session.snapshot().cache, load_snapshot(tmp_path / "a.ckpt", tiny_engine).cache
    assert written is not None
    assert read is not None
    for tail, again in zip(written.tails, read.tails, strict=True):
        assert torch.equal(tail, again)
        assert tail[0].stride() == again[0].stride()


@torch.no_grad()
def test_decoder_context_bounds_its_dependency(tiny_engine: Engine):
    vae = tiny_engine.vae
    context = vae.config.decoder_context
    latents = torch.randn(1, 4, context + 1, 2, 2, generator=torch.Generator().manual_seed(0))
    disturbed = latents.clone()
    disturbed[:, :, 0] += 1
    last = torch.zeros(1, 4, 2, 2, 2)

    def ending(past: torch.Tensor) -> tuple[torch.Tensor, ...]:
        _, cache = vae.decode(past)
        frames, cache = vae.decode(last, cache)
        return frames, *cache.tails

    assert all(torch.equal(a, b) for a, b in zip(ending(latents), ending(disturbed), strict=True))
    later = ending(torch.cat((latents[:, :, :3], disturbed[:, :, :1], latents[:, :, 4:]), dim=2))
    assert not all(torch.equal(a, b) for a, b in zip(ending(latents), later, strict=True))


def test_header_describes_the_stream(saved: Path):
    header = read_header(saved)
    assert (header.prompt, header.index, header.frames) == ("a red boat", 2, 17)
    assert header.extra == {"outputs": ["story.mp4"], "frames": 17}
    assert (header.settings.memory, header.dtype, header.device, header.model) == (
        "window=2,sink=1",
        "float32",
        "cpu",
        "tiny",
    )
    with safe_open(saved, framework="pt") as file:  # as any other program sees it
        assert file.metadata()["format"] == "sana-stream checkpoint"
        assert json.loads(file.metadata()["settings"])["seed"] == 0


def test_file_is_replaced_atomically(
    tiny_engine: Engine, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "story.ckpt"
    shutil.copy(saved, path)
    before = path.read_bytes()
    session = tiny_engine.session("night falls")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SnapshotError, match=r"story.ckpt cannot be written: no space left"):
            session.save(path)
    assert path.read_bytes() == before
    session.save(path)
    assert read_header(path).prompt == "night falls"
    assert [file.name for file in tmp_path.iterdir()] == ["story.ckpt"]


def test_missing_folder_is_reported(tiny_engine: Engine, tmp_path: Path):
    with pytest.raises(SnapshotError, match="cannot be written: no such file or directory"):
        tiny_engine.session("night falls").save(tmp_path / "none" / "story.ckpt")


def test_missing_file_is_reported(tiny_engine: Engine, tmp_path: Path):
    with pytest.raises(SnapshotError, match=r"nothing.ckpt does not exist: give the path"):
        tiny_engine.resume(tmp_path / "nothing.ckpt")


@settings(max_examples=60, deadline=None, suppress_health_check=FIXTURES)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(
    tiny_engine: Engine, saved: Path, tmp_path: Path, place: float, bit: int
):
    data = bytearray(saved.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    (tmp_path / "bad.ckpt").write_bytes(data)
    with pytest.raises(SnapshotError, match=r"bad\.ckpt"):
        tiny_engine.resume(tmp_path / "bad.ckpt")


@settings(max_examples=30, deadline=None, suppress_health_check=FIXTURES)
@given(place=st.floats(0, 1, exclude_max=True))
def test_truncated_file_is_refused(tiny_engine: Engine, saved: Path, tmp_path: Path, place: float):
    data = saved.read_bytes()
    (tmp_path / "short.ckpt").write_bytes(data[: int(place * len(data))])
    with pytest.raises(SnapshotError, match=r"short\.ckpt is not a complete checkpoint"):
        tiny_engine.resume(tmp_path / "short.ckpt")


def test_foreign_file_is_refused(tiny_engine: Engine, tmp_path: Path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "weights.ckpt")
    with pytest.raises(SnapshotError, match="not a checkpoint of a stream"):
        tiny_engine.resume(tmp_path / "weights.ckpt")
    (tmp_path / "video.ckpt").write_bytes(struct.pack(">I4s", 24, b"ftyp") + bytes(100))
    with pytest.raises(SnapshotError, match="not a complete checkpoint"):
        tiny_engine.resume(tmp_path / "video.ckpt")


def test_newer_version_is_refused(tiny_engine: Engine, saved: Path, tmp_path: Path):
    with safe_open(saved, framework="pt") as file:
        metadata = file.metadata() | {"version": "3"}
    save_file(load_file(saved), tmp_path / "new.ckpt", metadata)
    message = "version 3, this program reads 1 to 2; update sana-stream"
    with pytest.raises(SnapshotError, match=message):
        tiny_engine.resume(tmp_path / "new.ckpt")


def test_version_1_is_resumed(tiny_engine: Engine, saved: Path, tmp_path: Path):
    """Version 1 has no state of the drift guard."""
    with safe_open(saved, framework="pt") as file:
        metadata = file.metadata() | {"version": "1"}
    del metadata["watch"]
    tensors = load_file(saved)
    metadata["checksum"] = checksum(metadata, tensors)
    save_file(tensors, tmp_path / "old.ckpt", metadata)
    old = tiny_engine.resume(tmp_path / "old.ckpt")
    assert old.snapshot().drift_reference is None
    assert same(take(old, 2), take(tiny_engine.resume(saved), 2))


@pytest.mark.parametrize("missing", ["watch", "prompt"])
def test_incomplete_header_is_refused(
    tiny_engine: Engine, saved: Path, tmp_path: Path, missing: str
):
    with safe_open(saved, framework="pt") as file:
        metadata = {name: word for name, word in file.metadata().items() if name != missing}
    save_file(load_file(saved), tmp_path / "bad.ckpt", metadata)
    with pytest.raises(SnapshotError, match=f"its header cannot be read .*{missing}"):
        tiny_engine.resume(tmp_path / "bad.ckpt")


def test_stream_of_another_model_is_refused(
    tiny_engine: Engine, tiny_folder: Path, saved: Path, tmp_path: Path
):
    other = tmp_path / "other"
    shutil.copytree(tiny_folder, other)
    weights = other / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor * 1.1 for name, tensor in tensors.items()}, weights)
    engine = Engine.load(other, device="cpu", dtype="float32")
    with pytest.raises(SnapshotError, match="a stream of another model"):
        engine.resume(saved)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_stream_resumes_in_another_dtype(
    tiny_folder: Path, tiny_engine: Engine, saved: Path, dtype: str
):
    """Not bit for bit, but the same stream: the next block is close to what it would have been."""
    engine = Engine.load(tiny_folder, device="cpu", dtype=dtype)
    assert engine.fingerprint.matches(tiny_engine.fingerprint)
    here, there = next(tiny_engine.resume(saved)), next(engine.resume(saved))
    assert (here.index, here.start, here.prompt) == (there.index, there.start, there.prompt)
    error = (here.latents - there.latents).norm() / here.latents.norm()
    assert 0 < error < 0.1


def test_stream_resumes_with_a_decoder_of_another_dtype(tiny_folder: Path, saved: Path):
    """As on a GPU without bfloat16, where only the decoder is in float16."""
    engine = Engine.load(tiny_folder, device="cpu", dtype="float32")
    engine.vae.decoder.half()
    engine.vae.post_quant_conv.half()  # type: ignore[union-attr]
    assert (engine.dtype, engine.decoder_dtype) == (torch.float32, torch.float16)
    session = engine.resume(saved)
    assert session.snapshot().cache is None
    assert next(session).frames.shape == (8, 32, 48, 3)

"""A stream of recorded calls equals a stream of plain calls."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sana_stream.engine.block import Block
from sana_stream.engine.engine import Engine
from sana_stream.engine.performance import cuda_graphs
from sana_stream.engine.performance.cuda_graphs import GraphedTransformer, capture_graphs
from sana_stream.engine.session.lookahead import generate_ahead
from sana_stream.errors import ConfigError

from ..fake_graph_capture import TapeRecorder
from ..session.test_session import same, take

STEPS = 4


@pytest.fixture(scope="module")
def tape() -> TapeRecorder:
    return TapeRecorder()


@pytest.fixture(scope="module")
def recorded(tiny_folder: Path, tape: TapeRecorder) -> Engine:
    engine = Engine.load(tiny_folder, device="cpu", dtype="float32")
    capture_graphs(engine, recorder=tape)
    return engine


@pytest.fixture(scope="module")
def plain(tiny_folder: Path) -> Engine:
    """An engine without recording, with prompts padded as for recorded calls."""
    engine = Engine.load(tiny_folder, device="cpu", dtype="float32")
    engine.transformer_calls = GraphedTransformer(engine.transformer, TapeRecorder())
    return engine


def story(engine: Engine, **settings) -> list[Block]:
    """Generate four blocks with a switch before the last."""
    session = engine.session("a red boat", seed=3, **settings)
    blocks = take(session, 3)
    session.switch("night falls over the sea")
    return blocks + take(session, 1)


@pytest.mark.parametrize("memory", ["cumulative", "window=2", "window=1,sink=1", "decay=0.9"])
def test_recorded_stream_is_equal_for_every_memory_policy(
    recorded: Engine, plain: Engine, tape: TapeRecorder, memory: str
):
    before = tape.repeated
    assert same(story(recorded, memory=memory), story(plain, memory=memory))
    # all but the first block's decode: steps of four blocks, three commits and decodes
    assert tape.repeated - before == 4 * STEPS + 3 + 3


def test_recorded_guidance_uses_both_prompts(recorded: Engine, plain: Engine, tape: TapeRecorder):
    before = tape.repeated
    settings = {"guidance": 2.0, "negative_prompt": "rain"}
    assert same(story(recorded, **settings), story(plain, **settings))
    assert tape.repeated - before == 2 * (4 * STEPS + 3) + 3


def test_prompt_padding_changes_only_rounding(recorded: Engine, tiny_engine: Engine):
    for padded, trimmed in zip(story(recorded), story(tiny_engine), strict=True):
        error = (padded.latents - trimmed.latents).norm() / trimmed.latents.norm()
        assert error < 1e-5


def test_recorded_blocks_generated_ahead_are_equal(recorded: Engine):
    session = recorded.session("a red boat", seed=3)
    ahead = [block for _, block in zip(range(3), generate_ahead(session), strict=False)]
    assert same(ahead, take(recorded.session("a red boat", seed=3), 3))


def test_another_size_runs_without_recording(recorded: Engine, plain: Engine, tape: TapeRecorder):
    before = tape.repeated
    assert same(story(recorded, width=64), story(plain, width=64))
    assert tape.repeated == before


def test_recorded_stream_resumes_bit_for_bit(recorded: Engine, tmp_path: Path):
    session = recorded.session("a red boat", seed=3)
    take(session, 2)
    session.save(tmp_path / "boat.ckpt")
    straight = take(session, 2)
    assert same(take(recorded.resume(tmp_path / "boat.ckpt"), 2), straight)


def test_smaller_decoding_steps_are_recorded(tiny_folder: Path, plain: Engine):
    engine = Engine.load(tiny_folder, device="cpu", dtype="float32", decode_frames=1)
    own = TapeRecorder()
    capture_graphs(engine, recorder=own)
    before = own.repeated
    blocks = story(engine)
    # all but one of the first block's decoding steps
    assert own.repeated - before == 4 * STEPS + 3 + (2 + 3 * 2)
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(blocks, story(plain), strict=True))


def test_decoding_with_large_cache_is_not_recorded(
    tiny_folder: Path, plain: Engine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cuda_graphs, "CACHE_LIMIT", 0)
    engine = Engine.load(tiny_folder, device="cpu", dtype="float32")
    own = TapeRecorder()
    capture_graphs(engine, recorder=own)
    assert same(story(engine), story(plain))
    assert own.repeated == 4 * STEPS + 3


def test_recordings_share_text_and_past(recorded: Engine):
    calls = recorded.transformer_calls
    assert isinstance(calls, GraphedTransformer)
    graphs = [graph for part in (calls._denoise, calls._commit) for graph in part._graphs.values()]
    assert len(graphs) == 4
    held = [{tensor.data_ptr() for tensor in graph.inputs} for graph in graphs]
    own = 4  # latents, the two of the rotation, and of denoising the timestep
    assert all(len(memory & held[0]) >= len(held[0]) - own for memory in held)


def test_missing_cuda_and_invalid_size_are_refused(tiny_engine: Engine):
    with pytest.raises(ConfigError, match="graphs need a CUDA device"):
        capture_graphs(tiny_engine)
    with pytest.raises(ConfigError, match="33"):
        capture_graphs(tiny_engine, height=33, recorder=TapeRecorder())
    assert tiny_engine.transformer_calls is tiny_engine.transformer
    assert tiny_engine.decoder_calls is tiny_engine.vae

"""A stream from recorded calls is the stream from plain ones."""

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
    """Without any recording, its prompts padded as those of recorded calls are."""
    engine = Engine.load(tiny_folder, device="cpu", dtype="float32")
    engine.transformer_calls = GraphedTransformer(engine.transformer, TapeRecorder())
    return engine


def story(engine: Engine, **settings) -> list[Block]:
    """Four blocks with a switch before the last."""
    session = engine.session("a red boat", seed=3, **settings)
    blocks = take(session, 3)
    session.switch("night falls over the sea")
    return blocks + take(session, 1)


@pytest.mark.parametrize("memory", ["cumulative", "window=2", "window=1,sink=1", "decay=0.9"])
def test_every_policy_gives_the_same_stream_bit_for_bit(
    recorded: Engine, plain: Engine, tape: TapeRecorder, memory: str
):
    before = tape.repeated
    assert same(story(recorded, memory=memory), story(plain, memory=memory))
    # all of it but the first block's pictures: steps of four blocks, three commits and decodes
    assert tape.repeated - before == 4 * STEPS + 3 + 3


def test_guidance_takes_both_prompts_through_the_recordings(
    recorded: Engine, plain: Engine, tape: TapeRecorder
):
    before = tape.repeated
    settings = {"guidance": 2.0, "negative_prompt": "rain"}
    assert same(story(recorded, **settings), story(plain, **settings))
    assert tape.repeated - before == 2 * (4 * STEPS + 3) + 3


def test_padding_of_prompts_changes_no_more_than_rounding(recorded: Engine, tiny_engine: Engine):
    for padded, trimmed in zip(story(recorded), story(tiny_engine), strict=True):
        error = (padded.latents - trimmed.latents).norm() / trimmed.latents.norm()
        assert error < 1e-5


def test_blocks_made_ahead_are_the_same(recorded: Engine):
    session = recorded.session("a red boat", seed=3)
    ahead = [block for _, block in zip(range(3), generate_ahead(session), strict=False)]
    assert same(ahead, take(recorded.session("a red boat", seed=3), 3))


def test_another_size_runs_as_it_is(recorded: Engine, plain: Engine, tape: TapeRecorder):
    before = tape.repeated
    assert same(story(recorded, width=64), story(plain, width=64))
    assert tape.repeated == before


def test_a_stream_goes_on_from_a_file_bit_for_bit(recorded: Engine, tmp_path: Path):
    session = recorded.session("a red boat", seed=3)
    take(session, 2)
    session.save(tmp_path / "boat.ckpt")
    straight = take(session, 2)
    assert same(take(recorded.resume(tmp_path / "boat.ckpt"), 2), straight)


def test_smaller_pieces_are_recorded_too(tiny_folder: Path, plain: Engine):
    engine = Engine.load(tiny_folder, device="cpu", dtype="float32", decode_frames=1)
    own = TapeRecorder()
    capture_graphs(engine, recorder=own)
    before = own.repeated
    blocks = story(engine)
    # of the first block's pieces all but one
    assert own.repeated - before == 4 * STEPS + 3 + (2 + 3 * 2)
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(blocks, story(plain), strict=True))


def test_a_large_cache_is_not_carried_through_recordings(
    tiny_folder: Path, plain: Engine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cuda_graphs, "CACHE_LIMIT", 0)
    engine = Engine.load(tiny_folder, device="cpu", dtype="float32")
    own = TapeRecorder()
    capture_graphs(engine, recorder=own)
    assert same(story(engine), story(plain))
    assert own.repeated == 4 * STEPS + 3


def test_a_machine_without_cuda_and_a_wrong_size_are_told(tiny_engine: Engine):
    with pytest.raises(ConfigError, match="graphs need a CUDA device"):
        capture_graphs(tiny_engine)
    with pytest.raises(ConfigError, match="33"):
        capture_graphs(tiny_engine, height=33, recorder=TapeRecorder())
    assert tiny_engine.transformer_calls is tiny_engine.transformer
    assert tiny_engine.decoder_calls is tiny_engine.vae

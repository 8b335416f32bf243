"""Cuts to an image within a stream, against streams that start from that image."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.engine.block import BlockPlan, PlanView, Shot
from sana_stream.engine.engine import Engine
from sana_stream.engine.noise import NoiseSource, counter_noise
from sana_stream.engine.session.drift import DriftGuard
from sana_stream.engine.session.lookahead import generate_ahead
from sana_stream.engine.story.story import Cue
from sana_stream.engine.story.timeline import Timeline
from sana_stream.errors import ConfigError

from .test_conditioning import pictures
from .test_session import same, take

PICTURE = pictures(5, 40, 48)[4]  # larger than the stream's 48x32
NIGHT = "night falls over the sea"


def later(blocks: int, seed: int = 3) -> NoiseSource:
    """Create the noise of a stream from block `blocks` on."""
    source = counter_noise(seed)
    return lambda block, step, shape: source(block + blocks, step, shape)


@pytest.mark.parametrize("memory", ["cumulative", "window=2,sink=1"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_blocks_after_cut_equal_stream_from_image(
    tiny_engine: Engine, memory: str, guidance: float
):
    settings = {"memory": memory, "guidance": guidance}
    session = tiny_engine.session("a red boat", seed=3, **settings)  # type: ignore[arg-type]
    before = take(session, 2)
    session.cut(PICTURE, NIGHT)
    assert (session.prompt, session.next_start, session.next_frames) == (NIGHT, 17, 9)
    after = take(session, 3)
    fresh = tiny_engine.session(NIGHT, image=PICTURE, noise=later(2), **settings)  # type: ignore[arg-type]
    for cut, whole in zip(after, take(fresh, 3), strict=True):
        assert np.array_equal(cut.frames, whole.frames)
        assert torch.equal(cut.latents, whole.latents)
        assert (cut.index, cut.start) == (whole.index + 2, whole.start + 17)
        assert cut.stats.drift == whole.stats.drift
    frames = [*before, *after]
    assert [block.start for block in frames] == [0, 9, 17, 26, 34]
    assert all(a.start + len(a.frames) == b.start for a, b in itertools.pairwise(frames))


def test_stream_with_cut_resumes_from_every_block(tiny_engine: Engine, tmp_path: Path):
    def stream():
        session = tiny_engine.session("a red boat", seed=3)
        for index in range(5):
            if index == 2:
                session.save(tmp_path / "before.ckpt")
                session.cut(PICTURE, NIGHT)
            session.save(tmp_path / f"{index}.ckpt")
            yield next(session)

    expected = list(stream())
    for index in range(5):
        resumed = tiny_engine.resume(tmp_path / f"{index}.ckpt")
        assert resumed.next_start == expected[index].start
        if index >= 2:
            assert same(take(resumed, 5 - index), expected[index:])
    resumed = tiny_engine.resume(tmp_path / "before.ckpt")
    resumed.cut(PICTURE, NIGHT)
    assert same(take(resumed, 3), expected[2:])


def at(frame: int, picture: np.ndarray) -> Callable[[int], np.ndarray | None]:
    return lambda start: picture if start == frame else None


def test_generate_ahead_applies_cut_and_snapshots_before_it(tiny_engine: Engine):
    """Snapshots kept while a block is held back can be resumed without the cut."""
    session = tiny_engine.session("a red boat", seed=3)
    expected = take(session, 2)
    session.cut(PICTURE, NIGHT)
    expected += take(session, 2)
    session = tiny_engine.session("a red boat", seed=3)
    prompts = {17: NIGHT}.get
    blocks_out, kept = [], []
    with closing(generate_ahead(session, prompts, 34, at(17, PICTURE))) as blocks:
        for block in blocks:
            blocks_out.append(block)
            kept.append(session.snapshot())
    assert same(blocks_out, expected)
    assert [snapshot.shot.index for snapshot in kept] == [0, 0, 2, 2]
    straight = take(tiny_engine.session("a red boat", seed=3), 2)
    branch = tiny_engine.session_from(replace(kept[1], prompt="a red boat"))
    assert same([branch_block := next(branch)], [_third(tiny_engine)])
    assert branch_block.start == straight[1].start + 8


def _third(engine: Engine):
    return take(engine.session("a red boat", seed=3), 3)[2]


def test_rewind_over_a_cut_equals_first_run(tiny_engine: Engine):
    session = tiny_engine.session("a red boat", seed=3)
    session.keep_history(10)
    expected = take(session, 2)
    session.cut(PICTURE)
    take(session, 2)
    assert session.rewind(25 / tiny_engine.preset.fps) == 9
    assert same([next(session)], expected[1:])


def test_published_models_use_euler_after_a_cut(dpm_engine: Engine, tmp_path: Path):
    session = dpm_engine.session("a red boat", seed=3)
    next(session)
    session.save(tmp_path / "s.ckpt")
    for stream in (session, dpm_engine.resume(tmp_path / "s.ckpt")):
        stream.cut(PICTURE)
        fresh = dpm_engine.session("a red boat", image=PICTURE, noise=later(1))
        assert stream.snapshot().settings.solver == "euler"
        assert torch.equal(next(stream).latents, next(fresh).latents)
    chosen = dpm_engine.session("a red boat", solver="dpm++")
    chosen.cut(PICTURE)
    assert chosen.snapshot().settings.solver == "dpm++"


def test_drift_guard_resets_at_a_cut(tiny_engine: Engine):
    """The new image is not drift, even under the same prompt."""
    session = tiny_engine.session("a red boat", seed=3)
    guard = DriftGuard(session, tiny_engine, "restart", limit=1.05)
    guard.check(next(session))
    session.cut(np.full((32, 48, 3), 250, np.uint8))
    assert guard.check(next(session)) is None


@pytest.mark.parametrize(
    "image", [np.zeros((32, 48), np.uint8), np.zeros((32, 48, 3), np.float32)], ids=["flat", "real"]
)
def test_cut_to_invalid_image_raises_and_changes_nothing(tiny_engine: Engine, image: np.ndarray):
    session = tiny_engine.session("a red boat")
    before = session.snapshot()
    with pytest.raises(ConfigError, match="give uint8"):
        session.cut(image, NIGHT)
    assert session.snapshot() is before


@given(
    block_frames=st.integers(1, 5),
    cuts=st.lists(st.integers(1, 12), unique=True, max_size=4).map(sorted),
    first=st.integers(0, 5),
)
def test_plan_with_cuts_has_contiguous_blocks(block_frames: int, cuts: list[int], first: int):
    whole = BlockPlan(block_frames)
    for index in cuts:
        whole = whole.cut(index)
    plan = PlanView(whole, first) if first else whole
    end = 0
    for index in range(15 - first):
        block = plan.block(index)
        opens = first + index in (0, *cuts)
        assert block.start == end
        assert block.latent_frames == block_frames + opens
        assert block.frames == 4 * block_frames + opens
        assert (block.latent_start == 0) == opens
        for frames in (block.start + 1, block.start + block.frames):
            assert plan.blocks_for(frames) == index + 1
        end = block.start + block.frames


def test_story_with_images_is_placed_with_cuts():
    """At 16 frames per second in blocks of 9, 8, 8 …: after a cut everything is a frame later."""
    cues = tuple(
        Cue(seconds, name, image=image)
        for seconds, name, image in [
            (0.0, "a", "a.png"),
            (1.0, "b", None),
            (2.0, "c", "c.png"),
            (2.05, "d", None),  # same block as the cue before it, with that cue's image
            (4.0, "e", "e.png"),
        ]
    )
    timeline = Timeline(cues, 16)
    plan = timeline.with_cuts(BlockPlan(2))
    assert isinstance(plan, BlockPlan)
    assert plan.shots == (Shot(0, 0), Shot(4, 33), Shot(8, 66))
    placed = [placement.frame for placement in timeline.place(plan, None)]
    assert placed == [0, 17, None, 33, 66]
    starts = [plan.block(index).start for index in range(10)]
    cut = [
        timeline.image_between(before, start) for before, start in itertools.pairwise([-1, *starts])
    ]
    assert {s: image for s, image in zip(starts, cut, strict=True) if image} == {
        0: "a.png",
        33: "c.png",
        66: "e.png",
    }

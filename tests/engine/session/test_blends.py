"""Changes of prompt over several blocks: their mixtures, resuming, rewinding, overlap."""

from __future__ import annotations

import itertools
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sana_stream._prompts import MOST_PROMPTS
from sana_stream.engine.engine import Engine
from sana_stream.engine.prompt_blend import PromptBlend
from sana_stream.engine.sampling.denoise import encode_prompts
from sana_stream.engine.session.drift import settling_blocks
from sana_stream.engine.session.lookahead import generate_ahead
from sana_stream.engine.session.session import Session
from sana_stream.engine.snapshot.file import read_header
from sana_stream.errors import ConfigError, SnapshotError

from .test_session import same, take

BOAT, NIGHT, FOX = "a red boat", "night falls over the sea", "a fox"
FAST = {"timesteps": (1000, 700), "memory": "window=2,sink=1"}


def begin(engine: Engine, **given: object) -> Session:
    return engine.session(BOAT, **(FAST | given))  # type: ignore[arg-type]


def test_no_blocks_are_a_switch(tiny_engine: Engine):
    runs = []
    none: dict[str, int] = {"transition_blocks": 0}
    for arguments in ({}, none):
        session = begin(tiny_engine)
        blocks = take(session, 1)
        session.switch(NIGHT, None, **arguments)
        runs.append(blocks + take(session, 2))
    assert same(*runs)


@pytest.mark.parametrize("blocks", [1, 3])
def test_blend_equals_switches_to_the_prompts_at_weights(tiny_engine: Engine, blocks: int):
    blended, by_hand = begin(tiny_engine), begin(tiny_engine)
    assert same(take(blended, 1), take(by_hand, 1))
    blended.switch(NIGHT, transition_blocks=blocks)
    expected = []
    for number in range(1, blocks + 1):
        share = number / (blocks + 1)
        by_hand.switch(f"{BOAT} :{1 - share:g} | {NIGHT} :{share:g}")
        expected += take(by_hand, 1)
    by_hand.switch(NIGHT)
    found = take(blended, blocks + 2)
    assert same(found, expected + take(by_hand, 2))
    assert {block.prompt for block in found} == {NIGHT}
    assert blended.snapshot().blend is None


@given(blocks=st.integers(1, 9))
def test_shares_ascend_evenly_between_the_exact_prompts(blocks: int):
    blend: PromptBlend | None = PromptBlend(((BOAT, 1.0),), (("", 1.0),), blocks)
    assert blend.last_mixes(NIGHT, "") == (((BOAT, 1.0),), (("", 1.0),))
    shares = []
    while blend is not None:
        (before, after), negative = blend.mixes(NIGHT, "")
        assert negative == (("", 1.0),)
        assert (before[0], after[0]) == (BOAT, NIGHT)
        assert before[1] + after[1] == pytest.approx(1)
        shares.append(after[1])
        blend = blend.advanced()
    assert shares == pytest.approx([k / (blocks + 1) for k in range(1, blocks + 1)])


@settings(max_examples=5, deadline=None)
@given(
    blocks=st.integers(1, 4),
    again=st.none() | st.integers(1, 3),
    stops=st.lists(st.integers(0, 5), min_size=1, max_size=2, unique=True),
)
def test_resuming_in_a_blend_changes_no_bit(
    tiny_engine: Engine,
    tmp_path_factory: pytest.TempPathFactory,
    blocks: int,
    again: int | None,
    stops: list[int],
):
    """`again`: the block before which another blend begins."""
    path = tmp_path_factory.getbasetemp() / "blend.ckpt"
    runs = []
    for interrupted in (False, True):
        session, made = begin(tiny_engine, guidance=2.0), []
        for number in range(6):
            if number == 1:
                session.switch(NIGHT, "rain", transition_blocks=blocks)
            if number - 1 == again:
                session.switch(FOX, transition_blocks=2)
            if interrupted and number in stops:
                session.save(path)
                session = tiny_engine.resume(path)
            made += take(session, 1)
        runs.append(made)
    assert same(*runs)


def test_snapshots_rewinds_and_branches_in_a_blend(tiny_engine: Engine):
    session = begin(tiny_engine)
    session.keep_history(seconds=100)
    take(session, 1)
    session.switch(NIGHT, transition_blocks=3)
    take(session, 1)
    middle = session.snapshot()
    rest = take(session, 4)
    assert same(take(tiny_engine.session_from(middle), 4), rest)
    session.rewind((session.next_start - rest[0].start) / tiny_engine.preset.fps)
    assert session.snapshot().blend == middle.blend
    assert same(take(session, 4), rest)
    branch = tiny_engine.session_from(middle)
    branch.switch(FOX)
    assert branch.snapshot().blend is None
    assert not same(take(branch, 1), rest[:1])


def test_overlapped_blend_equals_the_sequential_one(tiny_engine: Engine):
    plan = {9: (NIGHT, 2), 25: (FOX, 3)}
    by_hand, expected = begin(tiny_engine), []
    for _ in range(7):
        prompt, blocks = plan.get(by_hand.next_start, (by_hand.prompt, 0))
        by_hand.switch(prompt, transition_blocks=blocks)
        expected += take(by_hand, 1)
    blocks = generate_ahead(
        begin(tiny_engine),
        lambda start: plan.get(start, (None, 0))[0],
        blend_at=lambda start: plan.get(start, (None, 0))[1],
    )
    with closing(blocks):
        assert same(list(itertools.islice(blocks, 7)), expected)


def test_own_prompt_continues_a_blend_and_a_negative_one_changes_at_once(tiny_engine: Engine):
    session = begin(tiny_engine, guidance=2.0)
    session.switch(NIGHT, transition_blocks=3)
    take(session, 1)
    blend = session.snapshot().blend
    session.switch(NIGHT)
    assert session.snapshot().blend == blend
    session.switch(NIGHT, "rain")
    prompt, negative = session.snapshot().mixes
    assert dict(prompt) == {BOAT: 0.5, NIGHT: 0.5}
    assert negative == (("rain", 1.0),)


def test_another_blend_begins_with_the_mixture_that_is_reached(tiny_engine: Engine):
    session = begin(tiny_engine)
    session.switch(NIGHT, transition_blocks=3)
    take(session, 2)
    session.switch(FOX, transition_blocks=1)
    assert dict(session.snapshot().mixes[0]) == {BOAT: 0.25, NIGHT: 0.25, FOX: 0.5}
    session.switch(BOAT)
    assert session.snapshot().mixes[0] == ((BOAT, 1.0),)


def test_interrupted_blends_stay_bounded(tiny_engine: Engine):
    now = tiny_engine.session("prompt 0").snapshot()
    for number in range(1, 30):
        now = now.with_prompts(f"prompt {number}", blocks=3)
        assert now.blend is not None
        now = replace(now, blend=now.blend.advanced())
        mix = now.mixes[0]
        assert len(mix) <= MOST_PROMPTS
        assert sum(share for _, share in mix) == pytest.approx(1)
        assert mix[-1][0] == f"prompt {number}"


def test_cut_ends_a_blend(tiny_engine: Engine):
    session = begin(tiny_engine)
    session.switch(NIGHT, transition_blocks=4)
    take(session, 1)
    session.cut(torch.zeros(32, 48, 3, dtype=torch.uint8).numpy())
    assert session.snapshot().mixes[0] == ((NIGHT, 1.0),)


def test_blocks_of_a_blend_do_not_count_as_drift(tiny_engine: Engine):
    session = begin(tiny_engine)
    before = settling_blocks(session.snapshot())
    session.switch(NIGHT, transition_blocks=30)
    assert settling_blocks(session.snapshot()) == before + 30


def test_embeddings_are_computed_once_in_a_blend(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    session, embedded = begin(tiny_engine), []
    encode = tiny_engine.encode_prompt
    monkeypatch.setattr(
        tiny_engine, "encode_prompt", lambda text: embedded.append(text) or encode(text)
    )
    take(session, 1)
    session.switch(NIGHT, transition_blocks=3)
    take(session, 5)
    assert embedded == [BOAT, NIGHT]


@pytest.mark.parametrize(
    ("prompt", "blocks", "message"),
    [
        ("a boat :0.7 | a fox :0.5", 0, r"weights 0\.7 \+ 0\.5 add up to 1\.2, not to 1"),
        ("a boat :0.7 | a fox", 0, "'a fox' has no weight"),
        (":0.7 | a fox :0.3", 0, "a weight has no prompt before it"),
        (" | ".join(["a fox :0.1"] * 10), 0, "at most 8 are mixed"),
        (NIGHT, -1, "transition_blocks"),
        (NIGHT, 1001, "transition_blocks"),
        (NIGHT, 1.5, "transition_blocks"),
    ],
)
def test_wrong_blends_are_refused(tiny_engine: Engine, prompt: str, blocks: int, message: str):
    session = begin(tiny_engine)
    before = session.snapshot()
    with pytest.raises(ConfigError, match=message):
        session.switch(prompt, transition_blocks=blocks)
    assert session.snapshot() is before
    if blocks == 0:
        with pytest.raises(ConfigError, match=message):
            tiny_engine.session(prompt)


def test_damaged_blend_in_a_checkpoint_is_refused(tiny_engine: Engine, tmp_path: Path):
    session = begin(tiny_engine)
    session.switch(NIGHT, transition_blocks=2)
    session.save(tmp_path / "a.ckpt")
    assert read_header(tmp_path / "a.ckpt").blend == session.snapshot().blend
    data = (tmp_path / "a.ckpt").read_bytes()
    for wrong in (b'\\"done\\": 2', b'\\"done\\":-1'):
        (tmp_path / "b.ckpt").write_bytes(data.replace(b'\\"done\\": 0', wrong))
        with pytest.raises(SnapshotError, match=r"b\.ckpt is damaged: its header .*done"):
            read_header(tmp_path / "b.ckpt")


def test_mixture_of_equal_prompts_is_the_prompt(tiny_engine: Engine):
    one = encode_prompts(tiny_engine, tiny_engine.session(BOAT).snapshot())
    two = encode_prompts(tiny_engine, tiny_engine.session(f"{BOAT} :.5 | {BOAT} :.5").snapshot())
    assert torch.equal(one[0].keys[0], two[0].keys[0])
    assert one[0].bias is two[0].bias is None


def test_night_falls_step_by_step_in_the_embedded_model():
    session = Engine.load("pocket", dtype="float32").session(
        "a red boat on the sea by day", height=128, width=224
    )
    blocks = take(session, 1)
    session.switch("a red boat on the sea at night", transition_blocks=4)
    looks = [block.stats.look for block in blocks + take(session, 5)]
    light = [look.brightness for look in looks if look is not None]
    steps = [before - after for before, after in itertools.pairwise(light)]
    assert len(steps) == 5
    assert min(steps) > 0
    assert max(steps) < 0.6 * sum(steps)

"""Complete runs on a tiny random model: the video and the log."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.inspect import inspect_model
from sana_stream.engine.session.session import Session
from sana_stream.engine.snapshot.snapshot import Snapshot
from sana_stream.engine.story.read import read_story

from ...command import pictures, run

PICTURES = ("--out", "frames/%04d.png")  # exact, unlike video


def frames_of(engine: Engine, count: int, switches: dict[int, str], **settings: Any) -> np.ndarray:
    """Return the first frames of a session with prompt switches before the given blocks."""
    session = engine.session(switches[0], **settings)
    made = []
    for index in itertools.count():
        if index in switches:
            session.switch(switches[index])
        made.append(next(session).frames)
        if sum(map(len, made)) >= count:
            return np.concatenate(made)[:count]
    raise AssertionError


def test_video_equals_the_session(tiny: tuple[str, ...], tiny_engine: Engine) -> None:
    Path("story.txt").write_text("a red boat\n0:01 the night falls\n")
    argv = ("--prompt-file", "story.txt", "--seconds", "1.5", "--seed", "5")
    assert run(*argv, *PICTURES, *tiny) == 0
    # blocks start at frames 0, 9, 17, ...: 0:01 is frame 16, so block 2 is the first after it
    expected = frames_of(tiny_engine, 24, {0: "a red boat", 2: "the night falls"}, seed=5)
    assert np.array_equal(pictures("frames"), expected)


@pytest.mark.parametrize(
    ("length", "frames"),
    [
        (("--frames", "1"), 1),
        (("--seconds", "1"), 16),
        (("--minutes", "0.02"), 19),
        (("--frames", "17"), 17),
        (("--frames", "18"), 18),
    ],
)
def test_video_has_exactly_the_given_length(
    tiny: tuple[str, ...], length: tuple[str, str], frames: int
) -> None:
    assert run("--prompt", "a red boat", *length, *tiny, "--quiet") == 0
    assert len(pictures(Path("a-red-boat.mp4"))) == frames


def test_second_video_of_a_prompt_gets_a_number(tiny: tuple[str, ...]) -> None:
    """The prompt needs no option, before or after others, and an earlier video is not touched."""
    assert run("A red boat, at dusk!", "--frames", "9", *tiny, "--quiet") == 0
    first = Path("a-red-boat-at-dusk.mp4").read_bytes()
    assert run("--frames", "17", *tiny, "--quiet", "A red boat, at dusk!") == 0
    assert Path("a-red-boat-at-dusk.mp4").read_bytes() == first
    assert len(pictures(Path("a-red-boat-at-dusk-2.mp4"))) == 17
    assert run("A red boat, at dusk!", "--frames", "9", "--overwrite", *tiny, "--quiet") == 0
    assert not Path("a-red-boat-at-dusk-3.mp4").exists()


def test_prompts_share_the_length_equally(tiny: tuple[str, ...]) -> None:
    prompts = ("--prompt", "a red boat", "--prompt", "a fox", "--prompt", "the moon")
    assert run(*prompts, "--seconds", "3", "--out", "a.mp4", *tiny) == 0
    story = read_story("a.vtt")
    assert [cue.prompt for cue in story.cues] == ["a red boat", "a fox", "the moon"]
    # 16 frames each, taken over by the first block that starts at or after them: 17 and 33
    assert [cue.start_seconds for cue in story.cues] == pytest.approx(
        [0, 17 / 16, 33 / 16], abs=1e-3
    )


def test_length_follows_from_the_story(tiny: tuple[str, ...]) -> None:
    assert run("--prompt", "a", "--prompt", "b", "--every", "1", *tiny) == 0
    assert len(pictures(Path("a.mp4"))) == 32


def test_captions_of_a_video_make_the_same_video(tiny: tuple[str, ...]) -> None:
    Path("story.txt").write_text("a red boat\n0:00.7 the <moon> & sun\n0:01.9 a fox\n")
    length = ("--seconds", "2.5", *tiny)
    assert run("--prompt-file", "story.txt", "--out", "one.mkv", *length) == 0
    assert run("--prompt-file", "one.vtt", "--out", "two.mkv", *length) == 0
    assert np.array_equal(pictures(Path("one.mkv")), pictures(Path("two.mkv")))
    one, two = (Path(f"{name}.vtt").read_text() for name in ("one", "two"))
    assert one.split("\n\n")[2:] == two.split("\n\n")[2:]  # but the id of the run


def test_seed_determines_the_video(tiny: tuple[str, ...]) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        argv = ("--prompt", "a fox", "--frames", "9", "--seed", seed, "--out", f"{name}/%d.png")
        assert run(*map(str, argv), *tiny) == 0
    a, b, c = map(pictures, "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize(
    ("option", "setting"),
    [
        (("--size", "64x32"), {"width": 64, "height": 32}),
        (("--steps", "2"), {"steps": 2}),
        (("--steps", "900,500,100"), {"timesteps": (900, 500, 100)}),
        (("--memory", "window=1"), {"memory": "window=1"}),
        (("--block-frames", "1"), {"block_frames": 1}),
        (
            ("--guidance", "3", "--negative-prompt", "the sea"),
            {"guidance": 3.0, "negative_prompt": "the sea"},
        ),
    ],
)
def test_options_reach_the_session(
    tiny: tuple[str, ...], tiny_engine: Engine, option: tuple[str, ...], setting: dict[str, Any]
) -> None:
    assert run("--prompt", "a fox", "--frames", "18", *PICTURES, *tiny, *option) == 0
    expected = frames_of(tiny_engine, 18, {0: "a fox"}, **setting)
    assert np.array_equal(pictures("frames"), expected)


def test_fps_changes_timestamps_only(tiny: tuple[str, ...]) -> None:
    argv = ("--prompt", "a fox", "--seconds", "1", "--codec", "ffv1", *tiny)
    assert run(*argv, "--fps", "24", "--out", "a.mkv") == 0
    assert run(*argv, "--out", "b.mkv") == 0
    one, two = pictures(Path("a.mkv")), pictures(Path("b.mkv"))
    assert (len(one), len(two)) == (24, 16)
    assert np.array_equal(one[:16], two)
    with av.open("a.mkv") as video:
        assert video.streams.video[0].average_rate == 24


def test_several_outputs_get_the_same_frames(tiny: tuple[str, ...]) -> None:
    outs = ("--out", "a.mp4", "--out", "b.ts", "--out", "c/%03d.png")
    assert run("--prompt", "a fox", "--frames", "12", *outs, *tiny) == 0
    assert len(pictures(Path("a.mp4"))) == len(pictures(Path("b.ts"))) == 12
    assert len(list(Path("c").glob("*.png"))) == 12


def test_video_is_named_after_its_story_and_has_metadata(
    tiny: tuple[str, ...],
) -> None:
    Path("tale.txt").write_text("a fox\n")
    assert run("--prompt-file", "tale.txt", "--frames", "9", "--seed", "7", *tiny) == 0
    with av.open("tale.mp4") as video:
        assert video.metadata["title"] == "tale"
        assert video.metadata["description"] == "a fox"
        assert '"seed": 7' in video.metadata["comment"]


def test_overwriting_replaces_the_video(tiny: tuple[str, ...]) -> None:
    argv = ("--prompt", "a fox", "--out", "a.mp4", *tiny)
    assert run(*argv, "--frames", "20") == 0
    assert run(*argv, "--frames", "9") == 2
    assert run(*argv, "--frames", "9", "--overwrite") == 0
    assert len(pictures(Path("a.mp4"))) == 9


def test_run_logs_prompts_and_summary(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    Path("story.txt").write_text("a red boat\n0:00.9 the [bold]night\n0:01 a fox\n")
    assert run("--prompt-file", "story.txt", "--seconds", "2", *tiny) == 0
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert ", 48x32 at 16 frames/s, 32 frames (0:02) in 4 blocks, seed 0" in lines[0]
    assert lines[1] == "to story.mp4"
    rows = [" ".join(line.split()) for line in lines[3:6]]
    assert rows == [
        "0:00 0:00 (block 1) a red boat",
        "0:00.9 never: no block starts while it is due the [bold]night",
        "0:01 0:01.062 (block 3) a fox",
    ]
    assert "from frame 17 (0:01.062): a fox" in lines
    assert any(line.startswith("block 4/4, 0:02 of 0:02, ") for line in lines)
    assert any(line.startswith("32 frames, 0:02 of video in ") for line in lines)
    assert "the video is in story.mp4" in lines


def test_quiet_prints_nothing(tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--prompt", "a fox", "--frames", "9", "--quiet", *tiny) == 0
    assert capfd.readouterr() == ("", "")


def test_prompt_suffix_of_the_model_is_not_shown(
    tiny: tuple[str, ...], tiny_folder: Path, tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = inspect_model(tiny_folder)
    preset = dataclasses.replace(described.preset, motion_score=" the night falls")
    changed = dataclasses.replace(described, preset=preset)
    monkeypatch.setattr("sana_stream.engine.loading.inspect.inspect_model", lambda *_: changed)
    outs = (*PICTURES, "--out", "a.mkv")
    assert run("--prompt", "a fox", "--frames", "9", *outs, *tiny) == 0
    expected = frames_of(tiny_engine, 9, {0: "a fox the night falls"})
    assert np.array_equal(pictures("frames"), expected)
    assert [cue.prompt for cue in read_story("a.vtt").cues] == ["a fox"]


def test_failure_keeps_finished_blocks(
    tiny: tuple[str, ...],
    tiny_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    draft = Session.sample

    def fail_at_two(session: Session, head: Snapshot) -> object:
        if head.next_index == 2:
            raise RuntimeError("gone\nastray")
        return draft(session, head)

    monkeypatch.setattr(Session, "sample", fail_at_two)
    assert run("--prompt", "a fox", "--seconds", "3", "--out", "a.mp4", *tiny) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("sana-stream: unexpected error: gone astray (--debug")
    assert len(pictures(Path("a.mp4"))) == 17


def test_video_in_segments_of_equal_length(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    outs = ("--out", "a.mkv", "--out", "b.ts", "--out", "c/%04d.png", "--segment", "1s")
    assert run("--prompt", "a fox", "--frames", "40", *outs, *tiny) == 0
    assert [len(pictures(f"a-000{n}.mkv")) for n in (1, 2, 3)] == [17, 16, 7]
    assert [len(pictures(f"b-000{n}.ts")) for n in (1, 2, 3)] == [17, 16, 7]
    assert len(pictures("c")) == 40
    assert not list(Path().glob("*.ckpt"))  # these segment files cannot be resumed
    assert "the video is in a-0001.mkv" in capfd.readouterr().err


def test_playlist_keeps_the_last_blocks(tiny: tuple[str, ...]) -> None:
    outs = ("--out", "live/live.m3u8", "--window", "3", "--out", "a.mp4")
    assert run("--prompt", "a fox", "--frames", "49", *outs, *tiny) == 0
    assert len(list(Path("live").glob("segment*.m4s"))) == 3
    assert len(pictures("live/live.m3u8")) == 24
    assert len(pictures("a.mp4")) == 49


def test_cpu_encodes_without_a_gpu_encoder(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no encoder")

    monkeypatch.setattr("sana_stream.streaming.containers.encoder._try_one_frame", fail)
    assert run("--prompt", "a fox", "--frames", "9", "--nvenc", "--out", "a.mp4", *tiny) == 0
    assert len(pictures("a.mp4")) == 9
    assert "the GPU cannot encode h264 (no encoder); the CPU encodes" in capfd.readouterr().err


def test_model_is_loaded_and_compiled_as_given(
    tiny: tuple[str, ...], tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, compiled = [], []

    def load(*given: object, **more: object) -> Engine:
        asked.append(more["decode_frames"])
        return tiny_engine

    monkeypatch.setattr(Engine, "load", load)
    monkeypatch.setattr("sana_stream.engine.performance.compile.compile_networks", compiled.append)
    argv = ("--prompt", "a fox", "--frames", "9", "--out", "a.mp4", "--overwrite", *tiny)
    assert run(*argv) == 0
    assert (asked, compiled) == ([None], [])
    assert run(*argv, "--compile", "--decode-frames", "2") == 0
    assert (asked, compiled) == ([None, 2], [tiny_engine])

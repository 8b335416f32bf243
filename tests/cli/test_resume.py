"""Runs that were interrupted go on, and end as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sana_stream.engine.block import Block
from sana_stream.engine.engine import Engine
from sana_stream.engine.session import Draft, Session
from sana_stream.engine.snapshot import Snapshot
from sana_stream.engine.snapshot_file import read_header
from sana_stream.engine.snapshot_header import SnapshotError
from sana_stream.streaming.control import Changes, Control

from .run import pictures, run, start

STORY = ("--prompt", "a red boat", "--prompt", "night falls over the sea")
FRAMES = 60  # of the tiny model: blocks of 9, 8, 8 ... frames
posix = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


@pytest.fixture
def tiny(
    tmp_path: Path, tiny_folder: Path, tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, ...]:
    """The options for the tiny model, already loaded; the current folder is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sana_stream.cli.model.load", lambda *_, **__: tiny_engine)
    return ("--model", str(tiny_folder))


def at_block(monkeypatch: pytest.MonkeyPatch, block: int, what: Callable[[], None]) -> None:
    """Something happens while the block is decoded."""
    finish = Session.finish

    def disturbed(session: Session, draft: Draft, before: Snapshot) -> tuple[Block, Snapshot]:
        if draft.planned.index == block:
            what()
        return finish(session, draft, before)

    monkeypatch.setattr(Session, "finish", disturbed)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def collapse() -> None:
    raise RuntimeError("the roof has come down")


def make(name: str, *more: str) -> int:
    return run(*STORY, "--frames", str(FRAMES), "--out", name, *more)


def make_interrupted(monkeypatch: pytest.MonkeyPatch, block: int, name: str, *more: str) -> None:
    """A video that is interrupted in a block: that one is still finished."""
    with monkeypatch.context() as patch:
        at_block(patch, block, interrupt)
        assert make(name, *more) == 130


def test_a_whole_video_leaves_no_checkpoint(tiny: tuple[str, ...]):
    assert make("a.mp4", *tiny) == 0
    assert sorted(os.listdir()) == ["a.mp4", "a.vtt"]
    assert make("b.mp4", "--keep-checkpoint", *tiny) == 0
    assert read_header(Path("b.ckpt")).frames == 65  # the last block's end, not the video's


@posix
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.y4m", "a/%04d.png"])
def test_an_interrupted_video_ends_as_if_it_had_not_been(
    tiny: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
):
    other = name.replace("a", "b", 1)
    shown = [file.split("/%")[0] for file in (name, other)]
    assert make(other, *tiny) == 0
    make_interrupted(monkeypatch, 3, name, *tiny)
    assert f"go on with it: sana-stream resume {name}" in capfd.readouterr().err
    assert len(pictures(shown[0])) == 33
    assert read_header(Path("a.ckpt")).frames == 33
    assert run("resume", name) == 0
    assert np.array_equal(pictures(shown[0]), pictures(shown[1]))
    assert not Path("a.ckpt").exists()
    if name == "a.mp4":
        assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()
        assert Path("a.vtt").read_bytes() == Path("b.vtt").read_bytes()


@posix
def test_a_row_of_files_goes_on(tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    assert make("b.mp4", "--segment", "1s", *tiny) == 0
    make_interrupted(monkeypatch, 3, "a.mp4", "--segment", "1s", *tiny)
    assert run("resume", "a.mp4") == 0
    ours, theirs = (sorted(Path().glob(f"{name}-*.mp4")) for name in "ab")
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert not Path("a.ckpt").exists()


@posix
def test_a_playlist_goes_on(tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    assert make("b/live.m3u8", *tiny) == 0
    make_interrupted(monkeypatch, 3, "a/live.m3u8", *tiny)
    assert run("resume", "a/live.m3u8") == 0
    assert np.array_equal(pictures("a/live.m3u8"), pictures("b/live.m3u8"))
    assert sorted(os.listdir("a")) == sorted(os.listdir("b"))


@pytest.mark.parametrize("every", ["0.001s", "1h"])
def test_a_run_that_fell_over_goes_on_from_its_last_checkpoint(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, every: str
):
    """At the end of every run that can still write, the checkpoint is as far as the video."""
    assert make("b.mp4", *tiny) == 0
    with monkeypatch.context() as patch:
        at_block(patch, 4, collapse)
        assert make("a.mp4", "--checkpoint-every", every, *tiny) == 1
    assert read_header(Path("a.ckpt")).frames == 33
    assert run("resume", "a.ckpt") == 0
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


@posix
def test_a_video_that_is_ahead_of_its_checkpoint_is_cut_back(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    assert make("b.mp4", *tiny) == 0
    make_interrupted(monkeypatch, 1, "a.mp4", *tiny)
    early = Path("a.ckpt").read_bytes()
    with monkeypatch.context() as patch:
        at_block(patch, 5, interrupt)
        assert run("resume", "a.mp4") == 130
    assert len(pictures("a.mp4")) == 49
    Path("a.ckpt").write_bytes(early)
    assert run("resume", "a.mp4") == 0
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


@posix
def test_a_video_that_is_short_of_its_checkpoint_is_refused(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    make_interrupted(monkeypatch, 1, "a.mp4", *tiny)
    short, captions = Path("a.mp4").read_bytes(), Path("a.vtt").read_bytes()
    with monkeypatch.context() as patch:
        at_block(patch, 3, interrupt)
        assert run("resume", "a.mp4") == 130
    Path("a.mp4").write_bytes(short)
    Path("a.vtt").write_bytes(captions)
    assert run("resume", "a.mp4") == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.endswith("cannot be gone on with: only 17 whole frames are in it, 33 are needed")
    assert Path("a.mp4").read_bytes()[-100:] != b""
    assert len(pictures("a.mp4")) == 17


@posix
def test_video_and_checkpoint_may_move_together(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    assert make("b.mp4", *tiny) == 0
    make_interrupted(monkeypatch, 2, "a.mp4", *tiny)
    Path("elsewhere").mkdir()
    for suffix in (".mp4", ".vtt", ".ckpt"):
        shutil.move(f"a{suffix}", "elsewhere")
    assert run("resume", "elsewhere/a.mp4") == 0
    assert Path("elsewhere/a.mp4").read_bytes() == Path("b.mp4").read_bytes()


def test_nothing_to_go_on_with_is_told(tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str]):
    assert make("a.mp4", *tiny) == 0
    assert run("resume", "a.mp4") == 2
    assert "a.mp4 has no checkpoint (a.ckpt): it is whole, or" in capfd.readouterr().err
    Path("a.ckpt").write_bytes(b"something else")
    assert run("resume", "a.mp4") == 1
    assert "a.ckpt is not a whole checkpoint" in capfd.readouterr().err


@posix
def test_a_new_video_does_not_take_an_interrupted_ones_place_by_accident(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    make_interrupted(monkeypatch, 2, "a.mp4", *tiny)
    before = Path("a.ckpt").read_bytes()
    assert make("a.mkv", *tiny) == 2
    assert "a.ckpt exists, the checkpoint of an interrupted video" in capfd.readouterr().err
    assert Path("a.ckpt").read_bytes() == before
    assert make("a.mp4", "--overwrite", *tiny) == 0
    assert not Path("a.ckpt").exists()


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def refuse(path: Path, *_: object) -> None:
        raise SnapshotError(f"checkpoint {path} cannot be written: no space left on device")

    monkeypatch.setattr("sana_stream.engine.snapshot_file.save_snapshot", refuse)
    assert make("a.mp4", "--checkpoint-every", "0.001s", *tiny) == 0
    said = capfd.readouterr().err
    assert "a.ckpt cannot be written: no space left on device; the run goes on" in said
    assert len(pictures("a.mp4")) == FRAMES


def test_checkpoints_can_be_left_out(tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        at_block(patch, 4, collapse)
        assert make("a.mp4", "--checkpoint-every", "off", *tiny) == 1
    assert not Path("a.ckpt").exists()


@posix
def test_a_branch_goes_another_way_from_the_same_place(
    tiny: tuple[str, ...], tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    make_interrupted(monkeypatch, 2, "a.mp4", *tiny)
    session = tiny_engine.resume("a.ckpt")
    session.switch("a fox runs")
    wanted = np.concatenate([next(session).frames for _ in range(3)])[:20]
    before = Path("a.ckpt").read_bytes()
    branch = ("branch", "a.ckpt", "--prompt", "a fox runs", "--frames", "20")
    assert run(*branch, "--out", "b/%04d.png") == 0
    assert np.array_equal(pictures("b"), wanted)
    assert run(*branch, "--out", "other.mp4", "--seed", "9") == 0
    assert not np.array_equal(pictures("other.mp4")[0], pictures("b")[0])
    assert Path("a.ckpt").read_bytes() == before
    assert run("resume", "a.mp4") == 0


@posix
def test_a_branch_that_is_interrupted_goes_on_too(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    make_interrupted(monkeypatch, 2, "a.mp4", *tiny)
    prompts = ("--prompt", "a fox runs", "--prompt", "the moon rises")
    branch = ("branch", "a.mp4", *prompts, "--frames", "30", "--out")
    assert run(*branch, "c.mp4") == 0
    with monkeypatch.context() as patch:
        at_block(patch, 4, interrupt)
        assert run(*branch, "b.mp4") == 130
    assert run("resume", "b.mp4") == 0
    assert Path("b.mp4").read_bytes() == Path("c.mp4").read_bytes()
    assert Path("b.vtt").read_bytes() == Path("c.vtt").read_bytes()


def test_a_stream_saved_from_python_can_be_branched_and_not_resumed(
    tiny: tuple[str, ...], tiny_engine: Engine, capfd: pytest.CaptureFixture[str]
):
    session = tiny_engine.session("a red boat", memory="window=2,sink=1", timesteps=(1000, 700))
    next(session)
    session.save("own.ckpt")
    session.switch("night falls")
    assert run("resume", "own.ckpt") == 2
    assert "sana-stream branch own.ckpt --prompt TEXT --out FILE" in capfd.readouterr().err
    branch = ("branch", "own.ckpt", "--prompt", "night falls", "--frames", "8")
    assert run(*branch, "--out", "b/%04d.png", *tiny) == 0
    assert np.array_equal(pictures("b"), next(session).frames)


def test_a_branch_needs_a_name_of_its_own(tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str]):
    assert make("a.mp4", "--keep-checkpoint", *tiny) == 0
    branch = ("branch", "a.mp4", "--prompt", "a fox")
    assert run(*branch) == 2
    assert run(*branch, "--out", "a.mkv") == 2
    assert run("branch", "a.mp4", "--out", "b.mp4") == 2
    said = capfd.readouterr().err
    assert "give it a name with --out FILE" in said
    assert "--out a.mkv is the video that is branched: give another name" in said
    assert "nothing to show: give --prompt" in said


def say_before(monkeypatch: pytest.MonkeyPatch, block: int, said: Changes) -> None:
    """Something is asked for before the block, which is the so many-th that is made."""
    calls = iter(range(1000))
    monkeypatch.setattr(Control, "take", lambda _: said if next(calls) == block else Changes())


LIVE = ("--prompt", "a red boat", "--interactive", "--no-realtime")


def frames_under(engine: Engine, prompts: list[str]) -> list[np.ndarray]:
    session, made = engine.session(prompts[0]), []
    for prompt in prompts:
        session.switch(prompt)
        made.append(next(session).frames)
    return made


def test_a_live_stream_goes_back_and_takes_another_turn(
    tiny: tuple[str, ...], tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    """Half a second back after four blocks: the video goes on with the stream's fourth block."""
    say_before(monkeypatch, 4, Changes(prompt="a fox runs", back=0.5))
    assert run(*LIVE, "--frames", "57", "--out", "a/%04d.png", *tiny) == 0
    first = frames_under(tiny_engine, ["a red boat"] * 4)
    second = frames_under(tiny_engine, ["a red boat"] * 3 + ["a fox runs"] * 3)
    assert np.array_equal(pictures("a"), np.concatenate(first + second[3:]))


@posix
def test_a_stream_that_has_gone_back_can_be_resumed(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    options = (*LIVE, "--frames", "60", *tiny)
    with monkeypatch.context() as patch:
        say_before(patch, 4, Changes(back=0.5))
        assert run(*options, "--out", "b.mp4") == 0
    with monkeypatch.context() as patch:
        say_before(patch, 4, Changes(back=0.5))
        at_block(patch, 4, interrupt)
        assert run(*options, "--out", "a.mp4") == 130
    assert run("resume", "a.mp4") == 0
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


def test_further_back_than_the_history_is_told(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    say_before(monkeypatch, 4, Changes(back=2.0))
    assert run(*LIVE, "--frames", "41", "--history", "1s", "--out", "a.mp4", *tiny) == 0
    assert "cannot go back 2 s: the history holds 1.5 s" in capfd.readouterr().err
    assert len(pictures("a.mp4")) == 41


def test_a_moment_is_kept_and_branched(
    tiny: tuple[str, ...],
    tiny_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    with monkeypatch.context() as patch:
        say_before(patch, 3, Changes(branch="here"))
        assert run(*LIVE, "--frames", "41", "--out", "a.mp4", *tiny) == 0
    assert "kept: sana-stream branch here.ckpt --prompt TEXT --out FILE" in capfd.readouterr().err
    assert run("resume", "here.ckpt") == 2
    branch = ("branch", "here.ckpt", "--prompt", "a fox runs", "--frames", "16")
    assert run(*branch, "--out", "b/%04d.png") == 0
    wanted = frames_under(tiny_engine, ["a red boat"] * 3 + ["a fox runs"] * 2)
    assert np.array_equal(pictures("b"), np.concatenate(wanted[3:]))
    with monkeypatch.context() as patch:
        say_before(patch, 1, Changes(branch="here"))
        assert run(*LIVE, "--frames", "17", "--out", "c.mp4", *tiny) == 0
    assert "here.ckpt exists: give another name" in capfd.readouterr().err


@posix
def test_a_killed_process_is_gone_on_with(tmp_path: Path, tiny_folder: Path):
    begin = (*STORY, "--frames", "200", "--model", str(tiny_folder), "--device", "cpu")
    assert run(*begin, "--out", tmp_path / "b.mp4", "--quiet") == 0
    process = start(*begin, "--out", "a.mp4", "--checkpoint-every", "0.05s", cwd=tmp_path)
    wait_for_checkpoint(tmp_path / "a.ckpt")
    time.sleep(0.3)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert run("resume", tmp_path / "a.mp4", "--quiet") == 0
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "a.vtt", "b.mp4", "b.vtt"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a copy of this process, its model loaded")
@pytest.mark.parametrize(("seed", "name"), [(1, "a.mp4"), (2, "a.mkv"), (3, "a.ts")])
def test_killed_again_and_again_it_still_becomes_the_same_video(
    tiny: tuple[str, ...], seed: int, name: str
):
    """Each process is killed at a random moment of its own; the next one goes on.

    Now while it opens the files of the one before it, now after it has made some blocks.
    """
    chance = random.Random(seed)
    words = ("--frames", "100", "--checkpoint-every", "0.02s", "--quiet", *tiny)
    assert run(*STORY, *words, "--out", f"whole{name[1:]}") == 0
    child = fork(*STORY, *words, "--out", name)
    wait_for_checkpoint(Path("a.ckpt"))
    for _ in range(6):
        time.sleep(chance.uniform(0, 0.3))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or not Path("a.ckpt").exists():
            break  # it was whole before the signal came
        child = fork("resume", name, "--quiet")
        if chance.random() < 0.5:
            wait_for_checkpoint(Path("a.ckpt"), after=Path("a.ckpt").stat().st_mtime_ns)
    else:
        assert os.waitpid(child, 0)[1] == 0
    assert not Path("a.ckpt").exists()
    assert np.array_equal(pictures(name), pictures(f"whole{name[1:]}"))
    assert Path("a.vtt").read_bytes() == Path("whole.vtt").read_bytes()


def fork(*argv: str) -> int:
    """The command in a copy of this process; its number."""
    child = os.fork()
    if child == 0:
        os._exit(run(*argv))
    return child


def wait_for_checkpoint(file: Path, after: int = 0) -> None:
    """Until there is a checkpoint, later than this; or none any more."""
    until = time.monotonic() + 120
    while not file.exists() if not after else file.exists() and file.stat().st_mtime_ns == after:
        assert time.monotonic() < until, "no checkpoint came"
        time.sleep(0.01)


def test_the_checkpoint_says_what_the_run_is(tiny: tuple[str, ...]):
    assert make("a.mp4", "--keep-checkpoint", "--fps", "24000/1001", *tiny) == 0
    header = read_header(Path("a.ckpt"))
    assert header.watch is not None
    assert (header.watch["prompt"], header.watch["good"]) == (STORY[3], False)
    told = json.loads(json.dumps(header.extra))["run"]
    assert told["options"]["fps"] == "24000/1001"
    assert told["options"]["outputs"] == [str(Path("a.mp4").absolute())]
    assert [cue[1] for cue in told["story"]["cues"]] == ["a red boat", "night falls over the sea"]

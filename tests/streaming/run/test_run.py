"""Runs through the Python interface: their outputs, how they end, what they refuse."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sana_stream import Engine, Progress, Run, RunConfig, render
from sana_stream.engine.session.session import Session
from sana_stream.engine.story.read import read_story
from sana_stream.engine.story.story import Story
from sana_stream.errors import ConfigError, InvalidOutputError, SanaStreamError, SnapshotError

from ...command import pictures
from ...command import run as command_line
from ...shown_html import Shown
from .folder_contents import FOREIGN, files

STORY = ["a red boat", "night falls over the sea"]
FRAMES = 60  # of the tiny model: blocks of 9, 8, 8 ... frames


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def config(**more: Any) -> RunConfig:
    return RunConfig(**{"story": STORY, "frames": FRAMES, "outputs": ["a.mp4"]} | more)


def whole(engine: Engine, name: str, **more: Any) -> np.ndarray:
    render(engine, STORY, frames=FRAMES, outputs=[name], **more)
    return pictures(name)


def test_render_equals_the_command_line(
    tiny: tuple[str, ...], tiny_folder: Path, tiny_engine: Engine
) -> None:
    Path("story.txt").write_text("a red boat\n0:01 the night falls\n")
    words = ("--prompt-file", "story.txt", "--seconds", "2", "--seed", "5", "--out", "one/a.mp4")
    Path("one").mkdir()
    assert command_line(*words, *tiny) == 0
    Path("two").mkdir()
    last = render(
        tiny_engine, "story.txt", seconds=2, seed=5, outputs=["two/a.mp4"], model=tiny_folder
    )
    for name in ("a.mp4", "a.vtt"):
        assert Path("two", name).read_bytes() == Path("one", name).read_bytes()
    assert isinstance(last, Progress)
    assert (last.frames, last.seconds, last.complete) == (32, 2.0, True)
    assert last.prompt == "the night falls"
    assert not list(Path().glob("*/*.ckpt"))


@pytest.mark.parametrize(
    "story",
    ["a fox\n0:01 the moon", Story.of(["a fox", "the moon"]), ["a fox", "the moon"], "s.txt"],
    ids=["text", "story", "prompts", "file"],
)
def test_story_is_accepted_in_any_form(tiny_engine: Engine, story: Any) -> None:
    Path("s.txt").write_text("a fox\nthe moon\n")
    render(tiny_engine, story, frames=32, outputs="a.mkv")
    assert [cue.prompt for cue in read_story("a.vtt").cues] == ["a fox", "the moon"]


def test_run_yields_progress_after_each_block(tiny_engine: Engine) -> None:
    with Run(tiny_engine, config()) as run:
        records = list(run)
    assert [record.frames for record in records] == [9, 17, 25, 33, 41, 49, 57, 60]
    assert [record.blocks for record in records] == list(range(1, 9))
    assert {record.total_frames for record in records} == {FRAMES}
    assert records[0].prompt == STORY[0]
    assert records[-1].prompt == STORY[1]
    assert all(record.memory_bytes > 0 and record.speed > 0 for record in records)
    assert records[-1] == run.progress
    assert run.block is not None
    assert (run.block.start, len(run.block.frames)) == (57, 3)
    assert np.array_equal(pictures("a.mp4"), whole(tiny_engine, "b.mp4"))


def test_notebook_shows_progress_last_frame_and_files(tiny_engine: Engine) -> None:
    asked = config(story="a <b>red</b> boat", outputs=["a & b.mp4"])
    with Run(tiny_engine, asked) as run:
        before = Shown(run._repr_html_())
        assert repr(run) == "Run(0:00 of 0:03.75, block 0 of 8, to a & b.mp4)"
        assert before.attributes["progress"]["value"] == "0"
        assert "img" not in before.attributes
        next(run)
        after = Shown(run._repr_html_())
        assert run.block is not None
        assert run.block.fps == 16
        np.testing.assert_array_equal(after.pictures[0], run.block.frames[-1:])
    done = after.attributes["progress"]
    assert (done["value"], done["max"]) == ("9", str(FRAMES))
    assert "b" not in after.attributes
    for text in ("a <b>red</b> boat", "block 1 of 8", "frames/s", "to a & b.mp4"):
        assert text in after.text


def test_printed_run_has_no_secret_of_an_address(tiny_engine: Engine) -> None:
    run = Run(tiny_engine, config(outputs=["rtmp://host/live/secret"]))
    assert "secret" not in repr(run) + run._repr_html_()
    assert "rtmp://host" in repr(run)
    assert (
        "progress"
        not in Shown(Run(tiny_engine, config(frames=None, endless=True))._repr_html_()).attributes
    )


def test_two_outputs_get_the_same_frames(tiny_engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.append(read_all(server)))
        reader.start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        render(tiny_engine, STORY, frames=20, outputs=["a.mkv", address], container="rawvideo")
        reader.join(60)
    assert len(received[0]) == 20 * 32 * 48 * 3
    assert len(pictures("a.mkv")) == 20


def read_all(server: socket.socket) -> bytes:
    connection, _ = server.accept()
    with connection, connection.makefile("rb") as stream:
        return stream.read()


@pytest.mark.parametrize("end", ["break", "exception", "interrupt"])
def test_interrupted_run_resumes_bit_for_bit(tiny_engine: Engine, end: str) -> None:
    expected = whole(tiny_engine, "whole.mkv", codec="ffv1")
    run = Run(tiny_engine, config(outputs=["a.mkv"], codec="ffv1", checkpoint=True))
    errors = {"exception": ValueError, "interrupt": KeyboardInterrupt}
    try:
        with run:
            for progress in run:
                if progress.blocks == 3 and end == "break":
                    break
                if progress.blocks == 3:
                    raise errors[end]
    except (ValueError, KeyboardInterrupt):
        assert end != "break"
    assert np.array_equal(pictures("a.mkv"), expected[:25])
    assert Path("a.ckpt").exists()
    with Run.resume(tiny_engine, "a.mkv") as resumed:
        first = next(resumed)
        assert (first.frames, first.resumed_frames) == (33, 25)
        assert list(resumed)[-1].complete
    assert np.array_equal(pictures("a.mkv"), expected)
    assert not Path("a.ckpt").exists()


def test_command_line_resumes_a_run_of_python(tiny_engine: Engine) -> None:
    """The checkpoint names the model that the engine was loaded from."""
    expected = whole(tiny_engine, "whole.mkv", codec="ffv1")
    begun = config(outputs=["a.mkv"], codec="ffv1", checkpoint=True)
    with Run(tiny_engine, begun) as run:
        next(run)
    assert command_line("resume", "a.mkv") == 0
    assert np.array_equal(pictures("a.mkv"), expected)


def test_video_is_resumed_in_its_own_quantization(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_engine, "quantized", "fp8")
    with Run(tiny_engine, config(outputs=["a.mkv"], checkpoint=True)) as run:
        next(run)
    before = files()
    with pytest.raises(ConfigError, match="quantize is the interrupted run's and cannot change"):
        Run.resume(None, "a.mkv", quantize="int8")
    for other in (None, "int8"):
        monkeypatch.setattr(tiny_engine, "quantized", other)
        with pytest.raises(ConfigError, match=f"'fp8' in the interrupted run and {other!r} in"):
            Run.resume(tiny_engine, "a.mkv")
    assert files() == before
    monkeypatch.setattr(tiny_engine, "quantized", "fp8")
    with Run.resume(tiny_engine, "a.mkv") as resumed:
        assert resumed.plan.config.quantize == "fp8"
        assert list(resumed)[-1].complete


def test_complete_video_keeps_checkpoint_on_request(tiny_engine: Engine) -> None:
    with Run(tiny_engine, config(checkpoint=True, keep_checkpoint=True)) as run:
        for progress in run:
            if progress.complete:
                break  # leaving the loop at the last block also completes the video
    assert Path("a.ckpt").exists()
    with Run.branch(tiny_engine, "a.mp4", outputs=["b.mp4"], frames=16) as branch:
        records = list(branch)
    assert records[-1].prompt == STORY[1]  # the checkpoint's, as no story was given
    assert len(pictures("b.mp4")) == 16
    assert not Path("b.ckpt").exists()


def test_run_is_controlled_while_it_runs(tiny_engine: Engine) -> None:
    with Run(tiny_engine, config(story="a boat", endless=True, frames=None)) as run:
        for progress in run:
            if progress.blocks == 2:
                run.control.prompt("night falls")
            if progress.blocks == 4:
                run.control.submit("/back 1")
            if progress.blocks == 6:
                run.control.end()
    assert run.progress.blocks == 6
    cues = [(cue.prompt, cue.start_seconds) for cue in read_story("a.vtt").cues]
    assert cues[:2] == [("a boat", 0), ("night falls", pytest.approx(17 / 16, abs=1e-3))]
    assert len(pictures("a.mp4")) == 49


def test_web_page_shows_the_run(tiny_engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Run(tiny_engine, config(outputs=(), web=0, realtime=False)) as run:
        assert any("the page is at http://127.0.0.1:" in line for line in caplog.messages)
        assert [progress.blocks for progress in run] == list(range(1, 9))


def test_run_in_a_thread_installs_no_signal_handler(tiny_engine: Engine) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    last: list[Progress] = []
    names = ("a.mp4", "b.mp4")
    threads = [
        threading.Thread(
            target=lambda name=name: last.append(
                render(tiny_engine, STORY, frames=FRAMES, outputs=[name])
            )
        )
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert [progress.frames for progress in last] == [FRAMES, FRAMES]
    one, two = map(pictures, names)
    assert np.array_equal(one, two)
    assert {number: signal.getsignal(number) for number in before} == before
    assert not logging.getLogger("sana_stream.models.text_encoder").filters


def test_run_prints_nothing(tiny_engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    render(tiny_engine, STORY, frames=20, outputs=["a.mp4"])
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"frames": 0}, "frames 0 is out of range"),
        ({"frames": "9"}, "frames '9'"),
        ({"seconds": 3}, "give one of them"),
        ({"seed": -1}, "seed -1"),
        ({"overwrite": 1}, "overwrite 1"),
        ({"story": []}, "story is empty"),
        ({"story": 5}, "story 5"),
        ({"story": "missing.txt"}, "missing.txt does not exist"),
        ({"story": "a <image>no.png"}, "no.png"),
        ({"outputs": [3]}, "outputs 3"),
        ({"outputs": []}, "outputs is empty"),
        ({"outputs": ["a.mp4", "a.mp4"]}, "is given twice"),
        ({"outputs": ["a.xyz"]}, "a.xyz"),
        ({"outputs": ["there.mp4"]}, "there.mp4"),
        ({"outputs": ["there.mp4"], "overwrite": True, "image": "there.mp4"}, "there.mp4"),
        ({"container": "mkv"}, "container='mkv' is for"),
        ({"segment": 3, "outputs": ["a/%d.png"]}, "segment= is for video files"),
        ({"window": 3}, "window= is for playlists"),
        ({"size": (50, 32)}, "size 50x32"),
        ({"size": (3,)}, "size: give"),
        ({"fps": 0}, "fps 0"),
        ({"guidance": 5000}, "guidance 5000 is out of range"),
        ({"negative_prompt": "rain"}, "negative_prompt= has no effect"),
        ({"memory": "window=x"}, "memory"),
        ({"guard": "none"}, "guard 'none' is not known"),
        ({"guard": "anchor"}, "guard anchor needs"),
        ({"watch": True}, "watch=True needs a prompt file"),
        ({"web": 1 << 16}, "web 65536"),
        ({"codec": "mp3"}, "codec 'mp3'"),
        ({"checkpoint": True, "outputs": ["foreign.mp4"]}, "foreign.ckpt exists"),
    ],
)
def test_invalid_config_is_refused_and_changes_nothing(
    tiny_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    parameters: dict[str, Any],
    message: str,
) -> None:
    for name in ("there.mp4", "foreign.ckpt"):
        Path(name).write_bytes(FOREIGN)
    before = files()
    monkeypatch.setattr(Session, "sample", None)  # no block is begun
    refusal = pytest.raises((ConfigError, InvalidOutputError))
    with refusal as refused, Run(tiny_engine, config(**parameters)) as run:
        next(run)
    assert message in str(refused.value)
    assert "--" not in str(refused.value)
    assert files() == before


def test_unknown_parameters_are_refused(tiny_engine: Engine) -> None:
    with pytest.raises(ConfigError, match="did you mean seconds"):
        render(tiny_engine, STORY, second=3, outputs=["a.mp4"])
    with pytest.raises(ConfigError, match=r"no_such\.ckpt does not exist"):
        Run.resume(tiny_engine, "no_such.ckpt")
    render(tiny_engine, "a fox", frames=9, outputs=["b.mp4"], checkpoint=True, keep_checkpoint=True)
    with pytest.raises(ConfigError, match="size is the checkpoint's"):
        Run.branch(tiny_engine, "b.mp4", outputs=["c.mp4"], size=(32, 32))
    with pytest.raises(ConfigError, match="seed is the interrupted run's"):
        Run.resume(tiny_engine, "b.mp4", seed=3)
    with pytest.raises(ConfigError, match="is the video that is branched"):
        Run.branch(tiny_engine, "b.mp4", outputs=["b.mkv"])
    Path("d.ckpt").write_bytes(FOREIGN)
    with pytest.raises(SnapshotError):
        Run.branch(tiny_engine, "d.ckpt", outputs=["c.mp4"])


def test_file_of_another_running_run_is_refused(tiny_engine: Engine) -> None:
    with Run(tiny_engine, config(checkpoint=True, endless=True, frames=None)) as run:
        while not Path("a.ckpt").exists():
            next(run)
        with pytest.raises(InvalidOutputError, match=r"a\.ckpt: is being written by"):
            Run.resume(tiny_engine, "a.ckpt")
        with pytest.raises(SanaStreamError), Run(tiny_engine, config(overwrite=True)):
            raise AssertionError
    assert os.path.exists("a.ckpt")


def test_run_can_be_entered_once(tiny_engine: Engine) -> None:
    run = Run(tiny_engine, config())
    with pytest.raises(ConfigError, match="is not entered"):
        next(run)
    with run:
        next(run)
    with pytest.raises(ConfigError, match="is entered once"), run:
        pass


def test_caller_defined_output_gets_all_frames(tiny_engine: Engine) -> None:
    class Frames:
        name, durable, frames = "frames", True, 0

        def __init__(self) -> None:
            self.made: list[np.ndarray] = []
            self.closed = 0

        def write(self, block: Any) -> None:
            self.made.append(block.frames)
            self.frames += len(block.frames)

        def close(self) -> None:
            self.closed += 1

    own = Frames()
    run = Run(tiny_engine, config(outputs=()))
    run.use_outputs([own])
    with run:
        assert sum(1 for _ in run) == 8
    assert own.closed
    assert len(np.concatenate(own.made)) == FRAMES
    assert files() == {}


def test_prompt_switches_are_logged(tiny_engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    render(tiny_engine, "a fox\n0:01 the moon --neg rain", frames=32, outputs=["a.mp4"])
    assert "from frame 17 (0:01.062): the moon" in caplog.messages
    assert any("its negative prompts have no effect" in line for line in caplog.messages)

"""Runs of SANA-Video 2.0: a file that plays, the commands of the guide, and what is refused."""

from __future__ import annotations

import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, cast

import av
import pytest
from PIL import Image

from sana_stream.engine.engine import Engine
from sana_stream.engine.scheduling import SharedEngine
from sana_stream.errors import ConfigError, JobError
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.recordings import Recordings
from sana_stream.streaming.run.render import render
from sana_stream.streaming.run.runner import Run
from sana_stream.streaming.serving.server import StreamServer

from ...command import run

SIZE = {"height": 64, "width": 96}
PROMPT = "a red boat"


def test_clip_file_plays(four: Engine, tmp_path: Path):
    film = tmp_path / "clip.mp4"
    progress = render(
        four, [PROMPT], outputs=[film], size=(96, 64), block_frames=1, checkpoint=False
    )
    assert progress.frames == 9  # without a length: the whole clip
    with av.open(film) as video:
        frames = list(video.decode(video=0))
        assert video.streams.video[0].average_rate == 16
    assert [len(frames), frames[0].width, frames[0].height] == [9, 96, 64]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"seconds": 60}, "a video of 960 frames: .* at most 81 frames (5.06 s at 16 frames"),
        ({"endless": True}, "an endless video: .* give frames=81 or fewer"),
        ({"story": ["a boat", "a fox"]}, "has 2 prompts: .* under one prompt"),
        ({"interactive": True}, "nothing can direct: leave interactive= out"),
        ({"web": 0}, "nothing can direct: leave web= out"),
        ({"memory": "decay=0.5"}, "leave memory= out"),
        ({"image": "start.png"}, "cannot start from an image"),
        ({"frames": 82}, "a video of 82 frames"),
        ({"block_frames": 1, "frames": 10}, "at most 9 frames"),
    ],
    ids=str,
)
def test_runs_of_more_than_a_clip_are_refused(four: Engine, tmp_path: Path, config, message: str):
    values = {"story": [PROMPT], "size": (96, 64), "outputs": [tmp_path / "film.mp4"]} | config
    pattern = re.escape(message).replace(re.escape(".*"), ".*")
    with pytest.raises(ConfigError, match=pattern) as caught:
        Run(four, RunConfig(**values))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "film.mp4").exists()


def test_command_line_refuses_a_longer_video_in_its_own_words(
    four_step_file: Path, parts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    words = ("--model", four_step_file, "--parts", parts, "--prompt", PROMPT, "--size", "96x64")
    assert run(*words, "--seconds", "60", "--out", tmp_path / "film.mp4") == 2
    err = capfd.readouterr().err
    assert "give --frames 81 or fewer" in err
    assert "Traceback" not in err


def test_server_makes_clips_and_refuses_longer_streams(
    four_step_file: Path, parts: Path, tmp_path: Path
):
    config = RunConfig([PROMPT], model=four_step_file, parts=parts, size=(96, 64), web=0)
    reporter = cast(Any, None)  # not used before a stream begins
    server = StreamServer(config, reporter, Recordings(tmp_path, False, None), Event())
    server.submit([PROMPT])  # no length: a clip
    with pytest.raises(ConfigError, match="has 2 prompts"):
        server.submit([PROMPT, "a fox"])
    with pytest.raises(JobError, match="at most 81 frames"):
        server._jobs.submit({"story": PROMPT, "seconds": 60})


def test_clips_share_an_engine(four: Engine):
    def clip():
        return four.session(PROMPT, height=64, width=96, block_frames=1)

    settings = clip().snapshot().settings
    with (
        SharedEngine(four, max_batch_size=4, settings=settings) as shared,
        ThreadPoolExecutor(2) as threads,
    ):
        made = list(threads.map(lambda _: next(shared.attach(clip())), range(2)))
    expected = next(clip())
    assert all((block.frames == expected.frames).all() for block in made)


def test_finished_clip_cannot_be_branched(four: Engine, tmp_path: Path):
    film, options = tmp_path / "clip.mp4", {"size": (96, 64), "block_frames": 1}
    render(four, [PROMPT], outputs=[film], checkpoint=True, keep_checkpoint=True, **options)
    with pytest.raises(ConfigError, match="one clip at a time, which cannot be continued"):
        Run.branch(four, film, outputs=[tmp_path / "other.mp4"])


GUIDE = Path(__file__).parents[3] / "examples/guides/models.md"
LINES = re.findall(
    r"^\| .* \| `sana-stream (--model \S*2\.0_5B\S* [^`]+)` \|$", GUIDE.read_text("utf-8"), re.M
)


@pytest.mark.parametrize("line", LINES)
def test_commands_of_the_guide_make_a_clip(
    line: str, four_step_file: Path, file: Path, parts: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    assert len(LINES) == 3
    monkeypatch.chdir(tmp_path)
    Path("sana2-parts").symlink_to(parts)
    Image.new("RGB", (96, 64)).save("start.png")
    words = shlex.split(line)
    words[1] = str(four_step_file if "4step" in words[1] else file)
    words += ["--size", "96x64", "--block-frames", "1", "--device", "cpu", "--dtype", "float32"]
    words += [] if "4step" in words[1] else ["--steps", "2"]
    assert run(*words, "--out", "frames/%04d.png") == 0
    assert len(list(Path("frames").iterdir())) == 9

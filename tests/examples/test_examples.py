"""Every example runs on a tiny model and does what its docstring describes."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sana_stream import Run, RunConfig
from sana_stream.engine.engine import Engine
from sana_stream.engine.story.read import read_story
from sana_stream.streaming.run.model_facts import EMBEDDED_EXAMPLES

from ..command import light_environment
from ..forked import popen
from ..programs import needs

EXAMPLES = Path(__file__).parents[2] / "examples"
BENCHMARKS = EXAMPLES / "benchmarks"
needs_ffmpeg = needs("ffmpeg")


def run(name: str, *argv: str | Path) -> None:
    """Call the `main` of an example or a benchmark in this process."""
    paths = (folder / f"{name}.py" for folder in (EXAMPLES, BENCHMARKS))
    path = next(path for path in paths if path.exists())
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    module.main([str(word) for word in argv])


def frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as video:
        return np.stack([f.to_ndarray(format="rgb24") for f in video.decode(video=0)])


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that an example starts are forks, which have their imports already."""
    monkeypatch.setattr(subprocess, "Popen", popen)


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that an example starts are new interpreters without transformers."""
    monkeypatch.setenv("PYTHONPATH", light_environment()["PYTHONPATH"])


@pytest.fixture
def tiny(
    tiny_folder: Path,
    tiny_engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[str, ...]:
    """Arguments for the tiny model, already loaded, and 2 s of video; runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Engine, "load", lambda model: tiny_engine)
    return ("--model", str(tiny_folder), "--seconds", "2")


def test_blocks_prints_a_line_per_block(
    tiny: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run("blocks", *tiny)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"block {index} from frame {start}" for index, start in enumerate([0, 9, 17, 25])
    ]
    assert "frames (9, 32, 48, 3) uint8, latents (1, 4, 3, 4, 6)" in lines[0]
    assert len({line.rsplit("state")[1] for line in lines[1:]}) == 1


def test_switch_writes_video_with_two_prompts(
    tiny: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run("switch", "switch.mp4", *tiny)
    assert capsys.readouterr().out.splitlines() == [
        "night falls at frame 17",
        "33 frames are in switch.mp4",
    ]
    assert len(frames(Path("switch.mp4"))) == 33
    cues = read_story("switch.vtt").cues
    assert [(cue.start_seconds, cue.prompt.split()[-1]) for cue in cues] == [
        (0, "noon"),
        (1.062, "night"),
    ]


def test_notebook_style(tiny: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    run("notebook_style", "morning.mp4", *tiny)
    assert capsys.readouterr().out.startswith("32 frames, 2.0 s of video, in ")
    assert len(frames(Path("morning.mp4"))) == 32
    prompts = [cue.prompt for cue in read_story("morning.vtt").cues]
    assert [prompt.split()[-1] for prompt in prompts] == ["dawn", "noon", "sunset"]


def test_batch(tiny: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        Path(f"{name}.txt").write_text("a red boat\nnight falls\n")
    Path("whole").mkdir()
    run("batch", "one.txt", *tiny)
    Path("one.mp4").rename("whole/one.mp4")
    Path("one.vtt").unlink()
    config = RunConfig("one.txt", ["one.mp4"], seconds=2, checkpoint=True)
    with Run(Engine.load("tiny"), config) as begun:
        next(begun)
    capsys.readouterr()
    run("batch", "one.txt", "two.txt", *tiny)
    run("batch", "one.txt", "two.txt", *tiny)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        *("one.mp4: 1.1 s", "one.mp4: 1.6 s", "one.mp4: 2.0 s"),
        *("two.mp4: 0.6 s", "two.mp4: 1.1 s", "two.mp4: 1.6 s", "two.mp4: 2.0 s"),
        *("one.mp4: complete", "two.mp4: complete"),
    ]
    expected = frames(Path("whole/one.mp4"))
    assert np.array_equal(frames(Path("one.mp4")), expected)
    assert np.array_equal(frames(Path("two.mp4")), expected)


def test_direct(tiny: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    run("direct", "directed.mp4", *tiny[:2], "--seconds", "3")
    assert capsys.readouterr().out.splitlines() == [
        "block 1: a red boat on the sea at noon",
        "block 3: a yellow balloon over the hills at sunset",
        "block 5: a yellow balloon over the hills at night",
        "49 frames are in directed.mp4",
    ]
    assert len(frames(Path("directed.mp4"))) == 49


def test_memory_policies_prints_differences(
    tiny: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run("memory_policies", "compare.mp4", *tiny)
    differences = [
        float(x) for x in re.findall(r"difference (\S+) of 255", capsys.readouterr().out)
    ]
    assert len(differences) == 4
    assert differences[:2] == [0, 0]  # the second block of both has seen one block
    assert differences[-1] > 0
    assert frames(Path("compare.mp4")).shape == (33, 32, 96, 3)


@pytest.mark.programs
@needs_ffmpeg
def test_pipe_ffmpeg_writes_video_from_python(tiny: tuple[str, ...]) -> None:
    run("pipe_ffmpeg", "kite.mkv", *tiny)
    assert frames(Path("kite.mkv")).shape == (32, 32, 48, 3)


@pytest.mark.programs
@needs_ffmpeg
@pytest.mark.skipif(os.name != "posix", reason="a script for a POSIX shell")
def test_pipe_ffmpeg_writes_video_from_shell(
    tmp_path: Path, tiny_folder: Path, light: None
) -> None:
    argv = ["large.mp4", "--prompt", "a red train", "--seconds", "1", "--model", str(tiny_folder)]
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [EXAMPLES / "pipe_ffmpeg.sh", *argv],
        cwd=tmp_path,
        env=os.environ | {"PATH": scripts, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    assert frames(tmp_path / "large.mp4").shape == (16, 64, 96, 3)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.txt")), ids=lambda path: path.name)
def test_example_story_is_valid(path: Path) -> None:
    story = read_story(path)
    assert len(story.cues) > 2
    assert story.schedule(60, None, 16)


def test_soak_counts_stay_constant(light: None) -> None:
    """Run it in a new process, whose open files are not those of other tests."""
    argv = [sys.executable, str(BENCHMARKS / "soak.py"), "--hours", "0.05", "--rows", "5"]
    output = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=500).stdout
    rows = [line.split("|")[1:-1] for line in output.splitlines()[2:7]]
    assert [row[0].strip() for row in rows] == ["0.01 h", "0.02 h", "0.03 h", "0.04 h", "0.05 h"]
    for column in (3, 4):  # open files and threads; one may be counted while it is closed
        counts = [int(row[column]) for row in rows[1:]]
        assert min(counts[2:]) <= max(counts[:2]), counts
    assert all(float(row[5]) < 1e-6 for row in rows)
    assert int(rows[-1][1]) > 700  # latent frames


@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL, as POSIX has it")
def test_kill_and_resume_gives_identical_video(
    tmp_path: Path, tiny_folder: Path, forks: None, capfd: pytest.CaptureFixture[str]
) -> None:
    """Kill twice, by "doomed.py": within a write of the video and of the checkpoint."""
    story = tmp_path / "story.txt"
    story.write_text("a red boat\nnight falls\n")
    run(
        "kill_and_resume", "--kills", "2", "--minutes", "0.3", "--story", story,
        *("--model", tiny_folder, "--seed", "0"),
    )  # fmt: skip
    *_, starting, between, video, checkpoint, whole = capfd.readouterr().out.splitlines()
    assert starting == "0 kills while starting"
    assert between == "0 kills between writes"
    assert video == "1 kills within a write of the video"
    assert checkpoint == "1 kills within a write of the checkpoint"
    assert whole.startswith("2 kills, 288 of 288 frames, pixels identical (md5 ")
    assert "files identical" in whole


def test_example_pictures_are_small_stills(tiny: tuple[str, ...], tmp_path: Path) -> None:
    run("example_pictures", *tiny, "--folder", tmp_path)
    made = {path.name: path for path in tmp_path.glob("*.webp")}
    assert set(made) == {example.picture for example in EMBEDDED_EXAMPLES}
    for path in made.values():
        assert path.stat().st_size <= 8192
        assert Image.open(path).format == "WEBP"


def test_every_example_has_a_test() -> None:
    tests = Path(__file__).parents[1]
    folders = ("examples", "gpu", "cli")
    files = [path for name in folders for path in tests.glob(f"{name}/**/test_*.py")]
    here = "".join(path.read_text("utf-8") for path in files)
    for path in (*EXAMPLES.glob("*.py"), *BENCHMARKS.glob("*.py"), *EXAMPLES.glob("*.sh")):
        named = f'"{path.stem}' in here or f"import {path.stem}" in here
        assert named, f"{path.name} is not tested"


def test_compare_prints_ratio_of_versions(
    tiny_folder: Path, light: None, capsys: pytest.CaptureFixture[str]
):
    root = EXAMPLES.parent
    run("compare", root, "--model", tiny_folder, "--dtype", "float32", "--rounds", "3")
    output = capsys.readouterr().out
    middle, low, high = (float(number) for number in re.findall(r"\d+\.\d+", output))
    assert 0 < low <= middle <= high


def test_first_picture_prints_a_ratio(light: None, capfd: pytest.CaptureFixture[str]):
    few = ("--repeats", "1", "--seconds", "0.5", "--decode-frames", "1")
    run("first_picture", EXAMPLES.parent, *few)
    assert re.search(r"[0-9]+\.[0-9]+", capfd.readouterr().out)


def test_busy_neighbours_prints_each_way(
    tiny_folder: Path, forks: None, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--repeats", "1", "--frames", "9", "--neighbours", "0", "--ways", "default", "sleeping")
    run("busy_neighbours", *few, "--model", tiny_folder)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[1:]] == ["0 busy, default", "0 busy, sleeping"]


def test_measure_blends_prints_each_way(tiny: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    few = ("--blocks", "2", "--changes", "1", "--ways", "3", "--sheet", "blend.png")
    run("measure_blends", *tiny[:2], *few)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("way  ")
    ways = [line[:26].strip() for line in lines[1:]]
    assert len(ways) == 3
    assert ways[0] == "joined tokens at weights"
    assert len({line.split()[-5] for line in lines[1:]}) == 1  # the block before the blend
    with Image.open("blend.png") as sheet:
        assert sheet.size == (2 * 48, 2 * 32)

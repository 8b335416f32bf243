"""Runs that start from an image or continue a clip, and LoRA files on the command line."""

from __future__ import annotations

from argparse import ArgumentTypeError
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from sana_stream.cli import argument_types
from sana_stream.engine.engine import Engine
from sana_stream.engine.media.resize import cover
from sana_stream.engine.story.story import Story
from sana_stream.errors import StoryError
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.plan import with_first_image

from ...command import pictures, run
from ...interruptions import at_block, collapse

PICTURES = ("--out", "frames/%04d.png")  # exact, unlike video


@pytest.fixture
def tiny(tiny: tuple[str, ...]) -> tuple[str, ...]:
    """Put a prompt before the tiny model's options."""
    return ("--prompt", "a red boat", *tiny)


def moving(count: int, height: int, width: int) -> np.ndarray:
    """Create smooth moving colours, uint8 (count, height, width, 3)."""
    t, y, x = np.meshgrid(np.arange(count), np.arange(height), np.arange(width), indexing="ij")
    waves = [np.sin(0.3 * t + 0.2 * x + c) + np.cos(0.15 * y - 0.2 * t) for c in range(3)]
    return np.clip(np.stack(waves, axis=-1) * 60 + 127, 0, 255).astype(np.uint8)


def write_clip(path: str, frames: np.ndarray, fps: int) -> None:
    """Write a lossless clip."""
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_video_starts_with_given_image(
    tiny: tuple[str, ...], tiny_engine: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = moving(1, 40, 48)[0]
    Image.fromarray(picture).save("boat.png")
    assert run(*tiny, "--image", "boat.png", "--frames", "17", *PICTURES) == 0
    session = tiny_engine.session("a red boat", image=cover(picture[None], 32, 48)[0])
    expected = np.concatenate([next(session).frames, next(session).frames])
    assert np.array_equal(pictures("frames"), expected)
    err = capfd.readouterr().err
    assert "boat.png is 48x40: scaled to cover 48x32, 20% is cut off" in err


def test_story_names_its_first_image(
    tiny: tuple[str, ...], tiny_engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "stories").mkdir()
    picture = moving(1, 32, 48)[0]
    Image.fromarray(picture).save("stories/start.png")
    Path("stories/s.txt").write_text("a red boat<image>start.png\n0:02 night falls\n")
    words = ("--prompt-file", "stories/s.txt", *tiny[2:], "--frames", "40", *PICTURES)
    assert run(*words) == 0
    expected = next(tiny_engine.session("a red boat", image=picture)).frames
    assert np.array_equal(pictures("frames")[:9], expected)


def cut_story(*, at: str = "0:02") -> tuple[str, ...]:
    """Write a story with two images; return the options that play it."""
    for number, name in enumerate(("start", "cut")):
        Image.fromarray(moving(9, 32, 48)[8 * number]).save(f"{name}.png")
    Path("s.txt").write_text(
        f"a red boat <image>start.png\n0:01 a blue train\n{at} night falls<image>cut.png\n"
    )
    return ("--prompt-file", "s.txt")


@cache
def expected_cut(engine: Engine) -> np.ndarray:
    """The 60 frames of `cut_story`: blocks of 9, 8, 8, 8, and after the cut 9, 8, 8, 8."""
    session = engine.session("a red boat", image=moving(9, 32, 48)[0])
    shown = [next(session).frames, next(session).frames]
    session.switch("a blue train")
    shown += [next(session).frames, next(session).frames]
    session.cut(moving(9, 32, 48)[8], "night falls")
    shown += [next(session).frames for _ in range(4)]
    return np.concatenate(shown)[:60]


@pytest.mark.parametrize("live", [(), ("--watch", "--no-realtime")], ids=["planned", "directed"])
def test_video_cuts_to_image_of_a_prompt(
    tiny: tuple[str, ...],
    tiny_engine: Engine,
    capfd: pytest.CaptureFixture[str],
    live: tuple[str, ...],
) -> None:
    outputs = (*PICTURES, "--out", "film.mp4")
    assert run(*cut_story(), *tiny[2:], "--frames", "60", *outputs, *live) == 0
    assert np.array_equal(pictures("frames"), expected_cut(tiny_engine))
    assert len(pictures("film.mp4")) == 60
    err = capfd.readouterr().err
    assert "from frame 33 (0:02.062): cut to cut.png" in err
    assert "60 frames (0:03.75) in 8 blocks" in err
    captions = Path("film.vtt").read_text()
    assert "00:00:02.062 --> 00:00:03.750\nnight falls\n" in captions
    assert "image" not in captions


@pytest.mark.parametrize("block", [2, 3, 4, 6])
def test_video_with_cut_resumes_equally(
    tiny: tuple[str, ...], tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """The run is interrupted before the cut, right before it, in it and after it."""
    words = (*cut_story(), *tiny[2:], "--frames", "60", *PICTURES)
    with monkeypatch.context() as patch:
        at_block(patch, block, collapse)
        assert run(*words) == 1
    Path("start.png").unlink()  # has been shown
    if block == 6:
        Path("cut.png").unlink()
    assert run("resume", "frames.ckpt") == 0
    assert np.array_equal(pictures("frames"), expected_cut(tiny_engine))


def test_branch_before_a_cut_has_no_cut(
    tiny: tuple[str, ...], tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*cut_story(), *tiny[2:], "--frames", "60", *PICTURES)
    with monkeypatch.context() as patch:
        at_block(patch, 4, collapse)
        assert run(*words) == 1
    assert len(pictures("frames")) == 33
    branch = ("branch", "frames.ckpt", "--prompt", "a blue train", "--frames", "8")
    assert run(*branch, "--out", "b/%04d.png") == 0
    session = tiny_engine.session("a red boat", image=moving(9, 32, 48)[0])
    for prompt in ("a red boat", "a red boat", "a blue train", "a blue train"):
        session.switch(prompt)
        next(session)
    assert np.array_equal(pictures("b"), next(session).frames)


def test_removed_cut_image_does_not_end_run(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = (*cut_story(), *tiny[2:], "--frames", "60", *PICTURES)
    with monkeypatch.context() as patch:
        at_block(patch, 1, Path("cut.png").unlink)
        assert run(*words) == 0
    err = capfd.readouterr().err
    assert (
        "cut.png cannot be read: No such file or directory; the video continues without a cut"
        in err
    )
    assert len(pictures("frames")) == 60


def test_unknown_words_of_prompts_are_reported(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    prompts = ("a zeppelin over the fjord", "a red zeppelin and boats", "a red boat")
    words = [word for prompt in prompts for word in ("--prompt", prompt)]
    assert run(*words, *tiny[2:], "--frames", "17", *PICTURES) == 0
    none, some = (line for line in capfd.readouterr().err.splitlines() if line.startswith("of "))
    assert none.startswith('of "a zeppelin over the fjord" no word is known to this model')
    expected = "this model does not know zeppelin, boats (did you mean boat?); sana-stream info"
    assert some.startswith(f'of "a red zeppelin and boats" {expected}')


@pytest.mark.parametrize("fps", [16, 32, 8])
def test_video_continues_a_clip(
    tiny: tuple[str, ...], tiny_engine: Engine, fps: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """At any frame rate the clip keeps its duration."""
    clip = moving(19, 32, 48)
    shown = {16: clip, 32: clip.repeat(2, axis=0), 8: clip[::2]}[fps]
    write_clip("clip.mkv", shown, fps)
    assert run(*tiny, "--video", "clip.mkv", "--frames", "12", *PICTURES) == 0
    whole = clip if fps != 8 else clip[::2].repeat(2, axis=0)
    session = tiny_engine.session("a red boat", video=whole)
    assert session.next_start == 17
    expected = np.concatenate([next(session).frames, next(session).frames])[:12]
    assert np.array_equal(pictures("frames"), expected)
    left_out = len(whole) - 17
    message = f"clip.mkv: its first {left_out} frames fill no block and are left out"
    assert message in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--image", "none.png"), "none.png cannot be read: No such file"),
        (("--image", "text.png"), "text.png cannot be read"),
        (("--prompt", "b<image>none.png"), "none.png cannot be read: No such file"),
        (("--prompt", "b<image>"), "<image> names no image"),
        (("--video", "short.mkv"), "the video has 8 frames, and a block needs 9"),
        (("--video", "short.mkv", "--image", "x.png"), "not allowed with argument"),
        (("--lora", "none.safetensors"), "none.safetensors is missing"),
        (("--quantize", "int3"), "quantization 'int3' is not known; use int8, fp8, nvfp4"),
    ],
)
def test_unreadable_input_exits_with_one_line(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("no picture")
    write_clip("short.mkv", moving(8, 32, 48), 16)
    assert run("--prompt", "a", "--model", tiny_folder, "--quiet", *words) in (1, 2)
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("*.mp4"))


def half(path: str) -> str:
    """Write the first half of a file next to it; return its path."""
    data = Path(path).read_bytes()
    Path(f"half-{path}").write_bytes(data[: len(data) // 2])
    return f"half-{path}"


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("--image", "half-boat.jpg", "half-boat.jpg is damaged or truncated"),
        ("--image", "empty.png", "empty.png is empty"),
        ("--image", "https://example.org/a.png", "is an address: download it and give the file"),
        ("--image", "\x1b[2J.png", "\\x1b[2J.png cannot be read: No such file"),
        ("--video", "half-clip.mp4", "half-clip.mp4 cannot be read: it is damaged"),
        ("--video", "boat.jpg", "boat.jpg is a picture, not a clip"),
        ("--video", "list.mp4", "not a clip of a known format"),
        ("--video", "concat:clip.mp4", "concat:clip.mp4 cannot be read: No such file"),
    ],
)
def test_refused_input_touches_no_output(
    tiny: tuple[str, ...],
    capfd: pytest.CaptureFixture[str],
    option: str,
    name: str,
    message: str,
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    Image.fromarray(noise).save("boat.jpg")
    with av.open("clip.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=16)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())
    half("boat.jpg")
    half("clip.mp4")
    Path("empty.png").touch()
    Path("list.mp4").write_text("ffconcat version 1.0\nfile clip.mp4\n")
    Path("film.mp4").write_bytes(b"an older film")
    assert run(*tiny, option, name, "--frames", "9", "--overwrite", "--out", "film.mp4") == 2
    err = capfd.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert Path("film.mp4").read_bytes() == b"an older film"


def test_truncated_clip_is_reported_and_used(
    tiny: tuple[str, ...], tiny_engine: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    clip = moving(60, 32, 48)
    write_clip("clip.mkv", clip, 16)
    data = Path("clip.mkv").read_bytes()
    Path("cut.mkv").write_bytes(data[: len(data) * 6 // 10])
    assert run(*tiny, "--video", "cut.mkv", "--frames", "8", *PICTURES) == 0
    err = capfd.readouterr().err
    assert err.count("cut.mkv is truncated: ") == 2  # before the model is loaded, and when taken
    played = round(float(err.split("truncated: ")[1].split(" s of 3.8 s")[0]) * 16)
    near = [
        next(tiny_engine.session("a red boat", video=clip[:count])).frames
        for count in range(played - 1, played + 2)
    ]
    assert any(np.array_equal(pictures("frames")[:8], frames) for frames in near)


def test_clip_given_as_image_uses_its_first_frame(
    tiny: tuple[str, ...], tiny_engine: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    clip = moving(9, 32, 48)
    write_clip("clip.mkv", clip, 16)
    Path("clip.mkv").rename("12:30.mkv")
    assert run(*tiny, "--image", "12:30.mkv", "--frames", "9", *PICTURES) == 0
    expected = next(tiny_engine.session("a red boat", image=clip[0])).frames
    assert np.array_equal(pictures("frames"), expected)
    assert "12:30.mkv is a clip: its first frame is used" in capfd.readouterr().err


def test_lora_changes_the_frames(tiny_folder: Path, tmp_path: Path, tiny_engine: Engine) -> None:
    factors = {"lora_A": torch.randn(2, 28), "lora_B": torch.randn(28, 2)}
    name = "transformer.transformer_blocks.0.attn1.to_q"
    file = tmp_path / "x.safetensors"
    save_file({f"{name}.{part}.weight": value for part, value in factors.items()}, file)
    words = ("--prompt", "a red boat", "--model", tiny_folder, "--frames", "9", "--quiet")
    words = (*words, "--device", "cpu", "--dtype", "float32")
    assert run(*words, "--out", tmp_path / "a/%04d.png", "--lora", f"{file}:0.5") == 0
    merged = Engine.load(tiny_folder, "cpu", "float32", loras=[(file, 0.5)])
    expected = next(merged.session("a red boat")).frames
    assert np.array_equal(pictures(tmp_path / "a"), expected)
    assert not np.array_equal(expected, next(tiny_engine.session("a red boat")).frames)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x.safetensors", ("x.safetensors", 1.0)),
        ("a/x.safetensors:0.8", ("a/x.safetensors", 0.8)),
        ("x:-2", ("x", -2.0)),
        (r"C:\loras\x.safetensors", (r"C:\loras\x.safetensors", 1.0)),
        (":0.5", (":0.5", 1.0)),
    ],
)
def test_lora_scale_follows_the_file(text: str, expected: tuple[str, float]) -> None:
    assert argument_types.scaled_file(text) == expected


@pytest.mark.parametrize("scale", ["nan", "inf", "-inf", "1e400", "-1e30", "1" * 5000])
def test_lora_scale_that_is_no_number_is_refused(scale: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"LoRA x\.safetensors has the scale"):
        argument_types.scaled_file(f"x.safetensors:{scale}")


def test_lora_file_name_may_contain_a_colon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "style:2").write_text("")
    (tmp_path / "x").write_text("")
    assert argument_types.scaled_file("style:2") == ("style:2", 1.0)
    assert argument_types.scaled_file("style:2:0.5") == ("style:2", 0.5)
    with pytest.raises(ArgumentTypeError, match="'strong' after 'x' is not a number"):
        argument_types.scaled_file("x:strong")


def test_first_image_given_twice_is_refused() -> None:
    picture, clip = RunConfig("x", image="a.png"), RunConfig("x", video="a.mp4")
    with pytest.raises(StoryError, match="begins with a picture, and image= is given"):
        with_first_image(picture, Story.of(["a<image>b.png"]))
    with pytest.raises(StoryError, match="begins with a picture, and video= is given"):
        with_first_image(clip, Story.of(["a<image>b.png"]))
    story = with_first_image(picture, Story.of(["a boat", "c<image> b.png"]))
    assert [(cue.prompt, cue.image) for cue in story.cues] == [("a boat", "a.png"), ("c", "b.png")]

"""Invalid input: one line on standard error, the right exit code, no file changed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from sana_stream.engine.loading.inspect import inspect_model

from ..command import run

PROMPT = ("--prompt", "a red boat")
NOTHING_KEPT = ("--keep-checkpoint", "--checkpoint-every", "off")
FILE = ("--prompt-file", "story.txt")


def mistake(capfd: pytest.CaptureFixture[str], code: int, *argv: str | Path) -> str:
    """Run a command that must fail and return its one line of standard error."""
    assert run(*argv) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("sana-stream: ")
    return err.removeprefix("sana-stream: ").strip()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), 'no prompt is given: add --prompt "a red boat at dusk" or --prompt-file story.txt'),
        (("--promt", "a"), "--promt is not an option: did you mean --prompt?"),
        (("--sedes=4", *PROMPT), "--sedes is not an option: did you mean --seed?"),
        (("--qqqqqq", *PROMPT), "--qqqqqq is not an option: --help lists all options"),
        (("--prmopt", "a"), "--prmopt is not an option: did you mean --prompt?"),
        (
            ("resme", "film.mp4"),
            '"resme" is not a command: did you mean sana-stream resume film.mp4?',
        ),
        (
            ("resme film.mp4",),
            '"resme" is not a command: did you mean sana-stream resume film.mp4?',
        ),
        (("resume film.mp4",), '"resume film.mp4" is not a command: did you mean sana-stream resu'),
        (
            ("serv", "--port", "80"),
            '"serv" is not a command: did you mean sana-stream serve --port',
        ),
        (("inof", "pocket"), '"inof" is not a command: did you mean sana-stream info pocket?'),
        (("brunch", "at", "the", "sea"), '"brunch" and "at" are two arguments without an option'),
        (("ranch", "house"), '"ranch" and "house" are two arguments without an option'),
        (("a", "boat"), '"a" and "boat" are two arguments without an option: put a prompt in qu'),
        (("a", *PROMPT), '"a" and --prompt both give a prompt: use --prompt for each'),
        (("a", *FILE), '"a" and --prompt-file both give prompts: give one of them'),
        (("--prompt",), "--prompt: expected one argument"),
        (("--prompt", " "), "the prompts: an empty prompt: describe the scene"),
        (("--prompt", "caf\udce9"), "the prompts: a prompt must not contain '\\udce9'"),
        ((*PROMPT, *FILE), "--prompt-file: not allowed with argument --prompt"),
        ((*PROMPT, "--seconds", "0"), "--seconds: 0 is not possible: give more than 0"),
        ((*PROMPT, "--minutes", "-1"), "--minutes: -1 is not possible: give more than 0"),
        ((*PROMPT, "--seconds", "nan"), "--seconds: nan is not possible: give more than 0"),
        ((*PROMPT, "--seconds", "inf"), "--seconds: inf is not possible: give more than 0"),
        ((*PROMPT, "--frames", "0"), "--frames: 0 is not possible: give 1 or more"),
        ((*PROMPT, "--frames", "1.5"), "--frames: '1.5' is not a whole number"),
        ((*PROMPT, "--seconds", "3", "--endless"), "--endless: not allowed with argument --sec"),
        ((*PROMPT, "--every", "0"), "--every: 0 is not possible: give more than 0"),
        ((*PROMPT, "--size", "big"), "--size: 'big' is not a size: give WIDTHxHEIGHT"),
        ((*PROMPT, "--fps", "0"), "--fps: 0 is not possible: give more than 0"),
        (
            (*PROMPT, "--fps", "1/0"),
            "--fps: '1/0' is not a frame rate: give 16, 23.976 or 24000/1001",
        ),
        ((*PROMPT, "--seed", "-1"), "--seed: -1 is not possible: give 0 to 9223372036854775807"),
        ((*PROMPT, "--steps", "0"), "--steps: 0 is not possible: give 1 or more"),
        ((*PROMPT, "--steps", "900,x"), "--steps: 'x' is not a number"),
        ((*PROMPT, "--guidance", "-2"), "--guidance: -2 is not possible: give 0 or more"),
        ((*PROMPT, "--block-frames", "0"), "--block-frames: 0 is not possible: give 1 or more"),
        ((*PROMPT, "--out", "a.mp4", "--out", "a.mp4"), "--out a.mp4 is given twice"),
        ((*PROMPT, "--format", "nut"), "--format nut is for --out - and for addresses"),
        ((*PROMPT, "--watch"), "--watch needs a prompt file: add --prompt-file story.txt"),
        (
            ("--prompt-file", "-", "--interactive"),
            "--interactive and --prompt-file - both read standard",
        ),
        ((*PROMPT, "--host", "0.0.0.0"), "--host and --token need a page: add --web"),
        ((*PROMPT, "--history", "5m"), "--history is how far /back rewinds: add --interactive"),
        ((*PROMPT, *NOTHING_KEPT), "--keep-checkpoint keeps what --checkpoint-every off does not"),
        (
            ("branch", "a.mp4", "--out", "b.mp4", *PROMPT, *NOTHING_KEPT),
            "--keep-checkpoint keeps what --checkpoint-every off does not",
        ),
        ((*PROMPT, "--web", "0", "--token", "a b"), "--token: give at least 8 letters or digits"),
        ((*PROMPT, "--web", "65536"), "--web: 65536 is not possible: give 0 to 65535"),
        ((*PROMPT, "--segment", "0"), "--segment: 0 is not possible: give more than 0"),
        ((*PROMPT, "--segment", "soon"), "--segment: 'soon' is not a duration: give 30s, 5m"),
        ((*PROMPT, "--segment", "1h", "--out", "-"), "--segment is for video files: give one"),
        ((*PROMPT, "--window", "5"), "--window is for playlists: give one, such as --out live"),
        ((*PROMPT, "--model", "pockt"), "model 'pockt' is not known; use 'pocket'"),
    ],
)
def test_invalid_options_are_refused(
    capfd: pytest.CaptureFixture[str], argv: tuple[str, ...], message: str
) -> None:
    assert mistake(capfd, 2, *argv).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "story.txt does not exist"),
        (b"", "story.txt is empty"),
        (b"a na\x81ve fox\n", "story.txt, line 1: byte 0x81 is not UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0", "story.txt, line 1: this is not text"),
        (b"a\n0:04 b\n0:02 c\n", "story.txt, line 3: 0:02 does not come after 0:04"),
        (b"a\n-0:04 b\n", "story.txt, line 2: -0:04 is negative"),
        (b"a\n0:10 b\n", 'story.txt, line 2: "b" would start at 0:10, but the video ends at 0:10'),
    ],
)
def test_invalid_story_is_refused(
    here: Path,
    tiny_folder: Path,
    capfd: pytest.CaptureFixture[str],
    content: bytes | None,
    message: str,
) -> None:
    if content is not None:
        (here / "story.txt").write_bytes(content)
    argv = (*FILE, "--seconds", "10", "--model", tiny_folder)
    assert mistake(capfd, 2, *argv).startswith(message)
    assert not list(here.glob("*.mp4"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--size", "50x40"), "size 50x40 does not fit this model; use multiples of 16, the near"),
        (("--size", "0x0"), "size 0x0 does not fit this model"),
        (("--device", "cuda"), "no CUDA device is available here; use --device cpu"),
        (("--device", "toaster"), "device 'toaster' is not known; use auto, cpu, cuda"),
        (("--dtype", "int8"), "dtype int8 is not known; use auto, bfloat16"),
        (("--memory", "elephant"), "memory"),
        (("--steps", "100,200"), "timesteps 100, 200: give one or more, descending"),
        (("--steps", "2000"), "steps 2000: give 1 to 1000"),
        (("--steps", "9,5", "--flow-shift", "3"), "timesteps and steps or flow_shift are given"),
        (("--solver", "magic"), "solver 'magic' is not known; use renoise, euler"),
        (("--negative-prompt", "rain"), "--negative-prompt has no effect at guidance 1"),
        (("--seconds", "0.01"), "a video of 0.01 s has no frame"),
        (("--out", "a.avi"), "a.avi: its ending names no format; use one of .mp4"),
        (("--out", "a.webm", "--codec", "h264"), "codec 'h264': webm takes vp9, av1"),
        (("--codec", "divx"), "codec 'divx': use one of h264"),
        (("--crf", "99"), "crf 99: h264 takes 0 to 51"),
        (("--nvenc", "--codec", "vp9"), "codec 'vp9': NVIDIA GPUs encode h264, h265, av1"),
        (("--web", "0", "--host", "8.8.8.8"), "port 0 on 8.8.8.8: "),
        (("--preset", "warp"), "preset 'warp': h264 takes ultrafast"),
        (("--out", "nowhere/a.mp4"), "nowhere/a.mp4: cannot be written: no such file"),
    ],
)
def test_request_unsupported_by_model_or_output_is_refused(
    here: Path,
    tiny_folder: Path,
    capfd: pytest.CaptureFixture[str],
    argv: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)  # independent of this machine
    line = mistake(capfd, 2, *PROMPT, "--model", tiny_folder, *argv)
    assert line.startswith(message)
    assert list(here.iterdir()) == []


def test_existing_video_is_kept(
    here: Path, tiny_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "a.mp4").write_bytes(b"the only copy")
    line = mistake(capfd, 2, *PROMPT, "--model", tiny_folder, "--out", "a.mp4")
    assert "a.mp4 exists" in line
    assert (here / "a.mp4").read_bytes() == b"the only copy"


def test_refused_second_output_leaves_no_first_output(
    here: Path, tiny_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = (*PROMPT, "--model", tiny_folder, "--out", "a.mp4", "--out", "nowhere/b.mp4")
    assert "nowhere/b.mp4: cannot be written" in mistake(capfd, 2, *argv)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", ["story.vtt", "story.mp4"])
def test_prompt_file_is_not_overwritten(
    here: Path, tiny_folder: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    text = "WEBVTT\n\n00:00.000 --> 00:01.000\na\n"
    (here / name).write_text(text)
    argv = ("--prompt-file", name, "--model", tiny_folder, "--out", "story.mp4", "--overwrite")
    assert f"would write over the prompt file {name}" in mistake(capfd, 2, *argv)
    assert (here / name).read_text() == text


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_read_only_folder_is_refused(
    tiny_folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    described = inspect_model(tiny_folder)
    monkeypatch.setattr("sana_stream.engine.loading.inspect.inspect_model", lambda *_: described)
    argv = (*PROMPT, "--model", tiny_folder, "--out")
    mistake(capfd, 2, *argv, "nowhere/a.mp4")  # so that nothing is left to be imported below
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        root = os.geteuid() == 0  # who may write everywhere
        if root:
            os.seteuid(65534)
        try:
            line = mistake(capfd, 2, *argv, f"{folder}/a.mp4")
        finally:
            if root:
                os.seteuid(0)
    assert line == f"{folder}/a.mp4: cannot be written: permission denied"


def test_full_disk_is_reported_before_loading(
    tiny_folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(".")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=3 << 20))
    argv = (*PROMPT, "--model", tiny_folder, "--out", "a.mp4")
    assert mistake(capfd, 1, *argv).startswith("a.mp4: only 3 MiB are free there")


@pytest.fixture
def damaged(here: Path, tiny_folder: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, here / "model"))


def test_model_without_a_part_is_refused(damaged: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(damaged / "vae")
    line = mistake(capfd, 1, *PROMPT, "--model", damaged, "--seconds", "1")
    assert "vae" in line
    assert "missing" in line


def test_truncated_model_is_refused(
    here: Path, damaged: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = damaged / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert run(*PROMPT, "--model", damaged, "--seconds", "1", "--quiet") == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert "diffusion_pytorch_model.safetensors is not a complete safetensors file" in line
    assert {file.name for file in here.iterdir()} == {"model"}


def test_model_with_an_unknown_default_is_refused(
    damaged: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (damaged / "stream.json").write_text(json.dumps({"hight": 32}))
    line = mistake(capfd, 1, *PROMPT, "--model", damaged)
    assert "unknown keys hight" in line


def test_debug_prints_the_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*FILE, "--debug") == 2
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("sana-stream: story.txt does not exist")


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("option", ["--lora", "--image", "--video", "--prompt-file"])
def test_impossible_file_name_is_refused(
    capfd: pytest.CaptureFixture[str], option: str, long: bool
) -> None:
    """`~user` of an unknown user, and a name that is too long for the system."""
    name = "x" * 5000 if long else "~nobody-of-this-name/x"
    prompt = () if option == "--prompt-file" else PROMPT
    code = 1 if option == "--lora" and not long else 2  # too long to be a path at all
    said = mistake(capfd, code, *prompt, option, name, "--frames", "1")
    assert len(said) < 400
    assert "unexpected error" not in said
    assert mistake(capfd, 2, "--prompt", f"a boat<image>{name}")

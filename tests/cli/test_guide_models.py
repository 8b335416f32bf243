"""The commands of the guide on models, each made with a small checkpoint in its layout."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from PIL import Image
from safetensors.torch import save_file

from ..command import pictures, run
from ..streaming.run.test_inputs import moving, write_clip

GUIDE = Path(__file__).parents[2] / "examples" / "guides" / "models.md"
TABLE = GUIDE.read_text("utf-8").partition("\n## Commands\n")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"^\| .* \| `(sana-stream [^`]+)` \|$", TABLE, re.MULTILINE)
ELSEWHERE = ("720p", "--decoder", "--compile", "convert")  # have tests of their own
LENGTH = re.compile(r"--(?:minutes|seconds|frames) \d+")


def made(word: str) -> list[str]:
    return [line for line in COMMANDS if word in line]


@pytest.fixture
def place(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with every file that the table names, and checkpoints in the place of its models."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(moving(1, 32, 48)[0]).save("start.png")
    Image.fromarray(moving(1, 40, 48)[0]).save("harbour.png")
    Path("story.txt").write_text("a red boat\n0:00.5 the sea at night<image>harbour.png\n")
    write_clip("clip.mp4", moving(12, 32, 48), 16)
    factors = {"lora_A": torch.randn(2, 28), "lora_B": torch.randn(28, 2)}
    name = "transformer.transformer_blocks.0.attn1.to_q"
    save_file({f"{name}.{k}.weight": v for k, v in factors.items()}, "style.safetensors")
    shutil.copytree(tiny_folder, "my-sana-video")
    shutil.copytree(tiny_folder, "published")
    Path("published/stream.json").unlink()
    config = Path("published/transformer/config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": 30}))
    DPMSolverMultistepScheduler(
        flow_shift=8.0, use_flow_sigmas=True, prediction_type="flow_prediction"
    ).save_pretrained("published/scheduler")
    shutil.copytree("published", "longlive")
    assert run("convert", tiny_folder, "SANA_Video_2B_480p_LongLive.pth") == 0
    shutil.copy(tiny_folder / "transformer/config.json", "config.json")  # its sizes are its own
    return tmp_path


def test_the_table_is_found() -> None:
    assert len(COMMANDS) > 15
    assert {word for word in ELSEWHERE if made(word)} == set(ELSEWHERE)


@pytest.mark.parametrize(
    "line", [line for line in COMMANDS if not any(word in line for word in ELSEWHERE)]
)
def test_the_command_makes_its_video(
    place: Path, tiny_folder: Path, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    line = LENGTH.sub("", line).replace("~", str(place))
    line = re.sub(r"Efficient-Large-Model/\S*LongLive\S*", "longlive", line)
    line = re.sub(r"Efficient-Large-Model/\S*", "published", line)
    words = [*shlex.split(line)[1:], "--frames", "12", "--size", "48x32", "--block-frames", "2"]
    words += ["--device", "cpu", "--dtype", "float32", "--out", "frames/%04d.png"]
    if "--model" not in words:
        words += ["--model", str(tiny_folder)]
    if words[words.index("--model") + 1] == "published" and "--steps" not in words:
        words += ["--steps", "2"]
    if line.endswith(".pth --prompt-file story.txt"):
        words += ["--parts", str(tiny_folder)]
    code, told = run(*words), capfd.readouterr().err
    if "fp8" in words or "nvfp4" in words:
        assert code == 2
        assert "needs an NVIDIA GPU" in told
        return
    assert code == 0, told
    shown = pictures("frames")
    assert shown.shape == (12, 32, 48, 3)
    assert len({picture.tobytes() for picture in shown}) > 1
    if "story.txt" in words:
        assert "from frame 9 (0:00.562): cut to harbour.png" in told
    if "--image" in words:
        assert "begins with start.png" in told
    assert np.isfinite(shown).all()

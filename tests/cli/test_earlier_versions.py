"""Checkpoints that earlier versions of the program wrote are read and resumed.

The files are in tests/data/earlier_versions; its README says how they were made.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from sana_stream.engine.block import Shot
from sana_stream.engine.snapshot.file import read_header
from sana_stream.engine.snapshot.snapshot import SessionSettings
from sana_stream.streaming.run.resume import read_checkpoint

from ..command import pictures, run
from .earlier_model import DATA, save_earlier_model

CUT, WHOLE = 33, 49  # frames of the interrupted and of the whole video
# Mean difference of resumed frames, of 255. It is 0 on the CPUs that were tried, also with other
# instruction sets; another version of torch may round otherwise, which the lossy encoder
# amplifies. A wrong prompt, memory or place in the stream makes it 6 or more.
TOLERANCE = 1.0
PROMPTS = ("a red boat", "night falls over the sea", "the sun rises")
STORY = ("--every", "1", "--size", "16x16", "--device", "cpu", "--dtype", "float32")


@dataclass(frozen=True)
class Earlier:
    """One folder: its format version and the content of its checkpoint."""

    folder: str
    version: int
    suffix: str
    prompts: tuple[str, ...]
    prompt: str  # of the next block
    negative_prompt: str = ""
    guidance: float = 1.0
    memory: str = "cumulative"
    guard: str = "restart"
    watch: dict[str, Any] | None = field(default_factory=dict)  # some of its values

    def copy(self, folder: Path) -> Path:
        """Copy the video and its checkpoint into a folder and return the video's path."""
        for file in (DATA / self.folder).glob("boat.*"):
            shutil.copy(file, folder)
        return folder / f"boat{self.suffix}"

    def checkpoint(self) -> Path:
        return DATA / self.folder / "boat.ckpt"


EARLIER = (
    Earlier(
        *("version_1", 1, ".mkv", PROMPTS[:2], PROMPTS[1]),
        negative_prompt="the moon",
        guidance=3.0,
        memory="window=2,sink=1",
        guard="warn",
        watch=None,
    ),
    Earlier(
        *("version_2", 2, ".mp4", PROMPTS, PROMPTS[2]),
        watch={"prompt": PROMPTS[1], "blocks": 2, "quiet": 0, "good": True},
    ),
    Earlier(
        *("version_2_with_all_keys", 2, ".mp4", PROMPTS, PROMPTS[2]),
        watch={"prompt": PROMPTS[1], "good": True, "index": 3, "settling": 6, "longer": 12},
    ),
)
every_version = pytest.mark.parametrize("earlier", EARLIER, ids=lambda earlier: earlier.folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_earlier_model(tmp_path_factory.mktemp("earlier") / "model")


@every_version
def test_video_of_an_earlier_version_is_resumed(
    earlier: Earlier, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    video = earlier.copy(tmp_path)
    before = pictures(video)
    assert len(before) == CUT
    code = run("resume", video, "--model", model, "--no-realtime")
    assert code == 0, capfd.readouterr().err
    resumed = pictures(video)
    assert len(resumed) == WHOLE
    assert np.array_equal(resumed[:CUT], before)
    uninterrupted = pictures(DATA / earlier.folder / f"whole{earlier.suffix}")
    assert np.array_equal(before, uninterrupted[:CUT])
    difference = np.abs(resumed[CUT:].astype(float) - uninterrupted[CUT:])
    assert difference.mean() < TOLERANCE
    assert not video.with_suffix(".ckpt").exists()


@every_version
def test_header_of_an_earlier_version_is_read(earlier: Earlier):
    assert _metadata(earlier.checkpoint())["version"] == earlier.version
    header = read_header(earlier.checkpoint())
    assert header.prompt == earlier.prompt
    assert header.negative_prompt == earlier.negative_prompt
    assert (header.index, header.frames, header.fps) == (4, CUT, 16)
    assert (header.model, header.device, header.dtype) == ("tiny", "cpu", "float32")
    assert header.settings == SessionSettings(
        seed=0,
        height=16,
        width=16,
        block_frames=2,
        timesteps=(1000, 960, 889, 727),
        guidance=earlier.guidance,
        memory=earlier.memory,
        solver="renoise",
        after_cut=None,
    )
    assert header.take == Shot(0, 0)
    if earlier.watch is None:
        assert header.watch is None
    else:
        assert header.watch is not None
        assert header.watch.items() >= earlier.watch.items()


@every_version
def test_run_of_an_earlier_version_is_read(earlier: Earlier):
    saved, stored = read_checkpoint(earlier.checkpoint())
    assert stored is not None
    assert saved.header.extra["kept"] == CUT
    assert tuple(cue.prompt for cue in stored.story.cues) == earlier.prompts
    config = stored.config
    assert config.prompts == earlier.prompts
    assert config.outputs == (f"/tmp/videos/{earlier.folder}/boat{earlier.suffix}",)
    assert (config.model, config.every, config.frames) == ("/tmp/videos/model", 1, WHOLE)
    assert (config.size, config.crf, config.guard) == ((16, 16), 32, earlier.guard)
    assert (config.negative_prompt or "") == earlier.negative_prompt
    assert config.realtime


def test_checkpoint_has_the_keys_of_its_version(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Other keys inside of values cannot be read by earlier readers: they need a new version."""
    monkeypatch.chdir(tmp_path)
    words = [word for prompt in PROMPTS for word in ("--prompt", prompt)]
    length = ("--frames", str(WHOLE), "--guard", "restart", "--keep-checkpoint")
    assert run(*words, *STORY, *length, "--model", model, "--out", "boat.mp4") == 0
    written, stored = Path("boat.ckpt"), EARLIER[-1].checkpoint()
    ours, theirs = _metadata(written), _metadata(stored)
    later = {".decode_frames", ".decode_tiles", ".blend"}  # which earlier readers ignore
    assert _keys(ours) == _keys(theirs) | later
    for name in ("format", "version", "fingerprint", "settings", "take", "fps", "model"):
        assert ours[name] == theirs[name]
    assert _tensors(written) == _tensors(stored)


def _metadata(checkpoint: Path) -> dict[str, Any]:
    """Decode a file's JSON metadata without the product's readers."""
    with safe_open(checkpoint, framework="np") as file:
        metadata = file.metadata()
    decoded = {}
    for name, text in metadata.items():
        try:
            decoded[name] = json.loads(text)
        except ValueError:
            decoded[name] = text
    return decoded


def _keys(value: Any, path: str = "") -> set[str]:
    """Return the paths of all keys; the elements of a list count as one."""
    if isinstance(value, dict):
        return {path}.union(*(_keys(part, f"{path}.{name}") for name, part in value.items()))
    if isinstance(value, list):
        return {path}.union(*(_keys(part, f"{path}[]") for part in value))
    return {path}


def _tensors(checkpoint: Path) -> set[str]:
    """Return the names of a file's tensors, with their indices replaced by 0."""
    with safe_open(checkpoint, framework="np") as file:
        return {re.sub(r"\d+", "0", name) for name in file.keys()}  # noqa: SIM118

"""Presets of SANA-Video 2.0, and the choice between them and the presets of the other models."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from sana_stream.models.hybrid.config import HybridConfig
from sana_stream.models.registry import VideoTransformerConfig

from .conventions import AUTHORS_50_STEPS
from .instructions import NEGATIVE_PROMPT
from .presets import GENERIC, PRESET_FILE, Preset, preset_for

# A block is a whole clip, the first latent frame included.
SANA2_720P = Preset(
    "SANA-Video 2.0 5B 720p",
    fps=24,
    height=736,
    width=1280,
    block_frames=24,  # 8 frames a latent frame: 193 frames
    timesteps=(),
    guidance=8.0,
    negative_prompt=NEGATIVE_PROMPT,
    motion_score=" motion score: 20.",
    trained_latent_frames=25,
    solver="dpm++",
    steps=50,
    flow_shift=12.0,
    full_precision=(*GENERIC.full_precision, "attn1.to_beta"),
).under(AUTHORS_50_STEPS)
SANA2_720P_4_STEPS = replace(
    SANA2_720P,
    name="SANA-Video 2.0 5B 720p, 4 steps",
    fps=16,
    block_frames=10,  # 81 frames
    timesteps=(999.8332262, 947.1688271, 856.8977118, 666.370213),
    guidance=1.0,
    negative_prompt="",
    trained_latent_frames=11,
    solver="renoise",
    steps=4,
    flow_shift=6.0,
    image_start=False,
)
_FOUR_STEPS = re.compile(r"(?<![0-9])4[ _-]?steps?")


def choose_preset(model: Path, name: str, config: VideoTransformerConfig) -> Preset:
    """Choose the preset of a checkpoint; raises as `preset_for`.

    A `stream.json` in a folder defines it. SANA-Video 2.0 is recognised by its transformer, and its
    four-step form by `4step` in the name. For all others `preset_for` decides.

    Args:
        model: a folder, or a file in the original layout.
        name: the name that the user gave, such as a hub id; its last part counts.
        config: of its transformer.
    """
    defined = model.is_dir() and (
        (model / PRESET_FILE).exists() or (model / PRESET_FILE).is_symlink()
    )
    if defined or not isinstance(config, HybridConfig):
        return preset_for(model, name, config)
    names = f"{Path(name).name} {model.name}".lower()  # not the folders above
    return SANA2_720P_4_STEPS if _FOUR_STEPS.search(names) else SANA2_720P

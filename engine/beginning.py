"""Streams that begin with something given: a picture, or a clip that they go on from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..models.errors import ConfigError
from .commit import committed, prepare_texts
from .picture import cover, to_input
from .plan import BlockPlan, Take
from .snapshot import Snapshot, blocks_to_keep

if TYPE_CHECKING:
    from .engine import Engine


@torch.no_grad()
def begin_with_image(engine: Engine, beginning: Snapshot, image: np.ndarray) -> Snapshot:
    """The stream whose first latent frame is a picture.

    The picture's latent stands at timestep 0 while the others denoise, and is not changed
    (diffusers' SanaImageToVideoPipeline).

    Args:
        beginning: the stream before its first block.
        image: uint8 (H, W, 3) of any size; it is made to cover the stream's.

    Raises:
        ConfigError: not a picture.
    """
    if image.ndim != 3:
        raise ConfigError(f"the image has shape {image.shape}; give uint8 (H, W, 3)")
    settings = beginning.settings
    picture = cover(image[None], settings.height, settings.width)
    latents, _ = engine.vae.encode(to_input(picture, engine.device))
    return replace(beginning, given=latents)


def cut_to_image(engine: Engine, snapshot: Snapshot, image: np.ndarray) -> Snapshot:
    """The stream with a picture in place of its past, from its next block on.

    Its place, prompts and seed stay; memory, positions and decoder begin anew, as in a stream
    whose first latent frame is the picture.

    Args:
        image: as for `begin_with_image`.

    Raises:
        ConfigError: not a picture.
    """
    settings = snapshot.settings
    if settings.after_cut is not None:
        solver, timesteps = settings.after_cut
        settings = replace(settings, solver=solver, timesteps=timesteps, after_cut=None)
    beginning = engine.beginning(settings, snapshot.prompt, snapshot.negative_prompt)
    plan = snapshot.plan(engine.vae.config.temporal_factor)
    take = Take(snapshot.index, plan.block(snapshot.index).start)
    return begin_with_image(engine, replace(beginning, index=take.index, take=take), image)


@torch.no_grad()
def begin_with_video(engine: Engine, beginning: Snapshot, video: np.ndarray) -> Snapshot:
    """The stream that goes on from a clip, as if it had made the clip's blocks itself.

    The clip is cut to whole blocks: pictures too many are dropped at its beginning.

    Args:
        beginning: the stream before its first block; the clip is committed under its prompt.
        video: uint8 (T, H, W, 3) of any size; it is made to cover the stream's.

    Raises:
        ConfigError: not a clip, or shorter than one block.
    """
    snapshot = beginning
    keep = blocks_to_keep(beginning.settings.block_frames, engine.decoder.config)
    texts = prepare_texts(engine, snapshot)
    for latents in _encoded_blocks(engine, beginning, video):
        states = committed(engine.denoiser, snapshot, texts)
        recent = (*snapshot.recent, latents)[-keep:]
        snapshot = replace(snapshot, index=snapshot.index + 1, states=states, recent=recent)
    return snapshot


def whole_blocks(frames: int, plan: BlockPlan) -> int:
    """How many of a clip's last pictures make whole blocks, the first block one latent frame more.

    Raises:
        ConfigError: fewer pictures than one block has.
    """
    first, later = plan.block(0).frames, plan.block(1).frames
    if frames < first:
        raise ConfigError(
            f"the video has {frames} pictures, and a block needs {first};"
            " give a longer one or a smaller block_frames"
        )
    return first + (frames - first) // later * later


def _encoded_blocks(engine: Engine, beginning: Snapshot, video: np.ndarray) -> Iterator[Tensor]:
    """The clip's latents, block by block, (1, C, T', h, w) each."""
    settings = beginning.settings
    plan = BlockPlan(settings.block_frames, engine.vae.config.temporal_factor)
    video = video[len(video) - whole_blocks(len(video), plan) :]
    index, cache = 0, None
    while (block := plan.block(index)).start < len(video):
        piece = cover(
            video[block.start : block.start + block.frames], settings.height, settings.width
        )
        latents, cache = engine.vae.encode(to_input(piece, engine.device), cache)
        yield latents
        index += 1

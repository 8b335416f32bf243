"""Streams that begin with something given: a picture, or a clip that they go on from."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import torch

from sana_stream.engine.block import BlockPlan, Shot
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.media.clip_blocks import KnownBlocks, encoded_blocks
from sana_stream.engine.media.inputs import Picture, Video, as_picture, as_video
from sana_stream.engine.media.resize import cover, to_input
from sana_stream.engine.sampling.denoise import commit_pending, encode_prompts
from sana_stream.engine.snapshot.snapshot import Snapshot, blocks_to_keep, initial_snapshot
from sana_stream.errors import ConfigError


@torch.no_grad()
def start_from_image(model: LoadedModel, beginning: Snapshot, image: Picture) -> Snapshot:
    """The stream whose first latent frame is a picture.

    The picture's latent stands at timestep 0 while the others denoise, and is not changed
    (diffusers' SanaImageToVideoPipeline).

    Args:
        beginning: the stream before its first block.
        image: as `as_picture` takes it, of any size; it is made to cover the stream's.

    Raises:
        ConfigError: not a picture.
    """
    settings = beginning.settings
    picture = cover(as_picture(image)[None], settings.height, settings.width)
    latents, _ = model.vae.encode(to_input(picture, model.device))
    return replace(beginning, fixed_latents=latents)


def cut_to_image(model: LoadedModel, snapshot: Snapshot, image: Picture) -> Snapshot:
    """The stream with a picture in place of its past, from its next block on.

    Its place, prompts and seed stay; memory, positions and decoder begin anew, as in a stream
    whose first latent frame is the picture.

    Args:
        image: as for `start_from_image`.

    Raises:
        ConfigError: not a picture.
    """
    settings = snapshot.settings.for_image()
    beginning = initial_snapshot(model, settings, snapshot.prompt, snapshot.negative_prompt)
    plan = snapshot.plan(model.vae.config.temporal_factor)
    take = Shot(snapshot.next_index, plan.block(snapshot.next_index).start)
    return start_from_image(model, replace(beginning, next_index=take.index, shot=take), image)


@torch.no_grad()
def start_from_video(model: LoadedModel, beginning: Snapshot, video: Video) -> Snapshot:
    """The stream that goes on from a clip, as if it had made the clip's blocks itself.

    The clip is cut to whole blocks: pictures too many are dropped at its beginning.

    Args:
        beginning: the stream before its first block; the clip is committed under its prompt.
        video: as `as_video` takes it, of any size; it is made to cover the stream's.

    Raises:
        ConfigError: not a clip, or shorter than one block.
    """
    snapshot = beginning
    clip = as_video(video, Fraction(model.preset.fps))
    keep = blocks_to_keep(beginning.settings.block_frames, model.decoder.config)
    settings = beginning.settings
    plan = BlockPlan(settings.block_frames, model.vae.config.temporal_factor)
    count = plan.blocks_for(whole_blocks(clip.frames, plan))
    known = KnownBlocks.of(settings, model.transformer.config, keep, count)
    texts = encode_prompts(model, snapshot)
    for block, latents in encoded_blocks(
        model.vae, plan, clip, settings, known, count, model.device
    ):
        states = commit_pending(model.transformer_calls, snapshot, texts)
        if block.index > snapshot.next_index:  # blocks between are of no effect any more
            states = tuple(replace(state, position=block.latent_start) for state in states)
            snapshot = replace(snapshot, recent_latents=())
        recent = (*snapshot.recent_latents, latents)[-keep:]
        snapshot = replace(
            snapshot, next_index=block.index + 1, states=states, recent_latents=recent
        )
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

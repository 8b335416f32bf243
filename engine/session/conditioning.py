"""Streams that start from an image or continue a clip."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import torch

from sana_stream.engine.block import BlockPlan, Shot
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.media.clip_blocks import KnownBlocks, encoded_blocks
from sana_stream.engine.media.inputs import Picture, Video, as_picture, as_video
from sana_stream.engine.media.resize import cover, to_input
from sana_stream.engine.sampling.calls import drive
from sana_stream.engine.sampling.denoise import commit_pending, encode_prompts
from sana_stream.engine.sampling.model_runner import ModelRunner
from sana_stream.engine.snapshot.snapshot import Snapshot, blocks_to_keep, initial_snapshot
from sana_stream.errors import ConfigError
from sana_stream.models.state import StreamState
from sana_stream.models.text_kv import TextKV

from .clips import check_clip


@torch.no_grad()
def start_from_image(model: LoadedModel, beginning: Snapshot, image: Picture) -> Snapshot:
    """The stream whose first latent frame is an image.

    The image's latent stays at timestep 0, unchanged, while the other frames are denoised (as in
    diffusers' SanaImageToVideoPipeline).

    Args:
        beginning: the stream before its first block.
        image: as `as_picture` takes it; scaled and cropped to the stream's size.

    Raises:
        ConfigError: not an image.
    """
    check_clip(model.preset, model.transformer.config, image=True)
    settings = beginning.settings
    picture = cover(as_picture(image)[None], settings.height, settings.width)
    latents = model.lane.run(
        "encode", picture.size, lambda: model.vae.encode(to_input(picture, model.device))[0]
    )
    return replace(beginning, fixed_latents=latents)


def cut_to_image(model: LoadedModel, snapshot: Snapshot, image: Picture) -> Snapshot:
    """The stream with an image in place of its past, from its next block on.

    Position in the video, prompts and seed stay. States, latent positions and the decoder's cache
    are reset, as in a stream whose first latent frame is the image.

    Args:
        image: as for `start_from_image`.

    Raises:
        ConfigError: not an image.
    """
    settings = snapshot.settings.for_image()
    beginning = initial_snapshot(model, settings, snapshot.prompt, snapshot.negative_prompt)
    plan = snapshot.plan(model.vae.config.temporal_factor)
    shot = Shot(snapshot.next_index, plan.block(snapshot.next_index).start)
    return start_from_image(model, replace(beginning, next_index=shot.index, shot=shot), image)


@torch.no_grad()
def start_from_video(model: LoadedModel, beginning: Snapshot, video: Video) -> Snapshot:
    """The stream that continues a clip, as if it had generated the clip's blocks itself.

    Only whole blocks are used: surplus frames at the clip's beginning are dropped.

    Args:
        beginning: the stream before its first block; the clip is committed under its prompt.
        video: as `as_video` takes it; scaled and cropped to the stream's size.

    Raises:
        ConfigError: not a clip, or shorter than one block.
    """
    check_clip(model.preset, model.transformer.config, video=True)
    snapshot = beginning
    clip = as_video(video, Fraction(model.preset.fps))
    keep = blocks_to_keep(beginning.settings.block_frames, model.decoder.config)
    settings = beginning.settings
    plan = BlockPlan(settings.block_frames, model.vae.config.temporal_factor)
    count = plan.blocks_for(whole_blocks(clip.frames, plan))
    known = KnownBlocks.of(settings, model.transformer.config, keep, count)
    texts, runner = encode_prompts(model, snapshot), ModelRunner(model)
    for block, latents in encoded_blocks(model, plan, clip, settings, known, count):
        states = _commit(model, snapshot, texts, runner)
        if block.index > snapshot.next_index:  # blocks in between have no effect on it
            states = tuple(replace(state, position=block.latent_start) for state in states)
            snapshot = replace(snapshot, recent_latents=())
        recent = (*snapshot.recent_latents, latents)[-keep:]
        snapshot = replace(
            snapshot, next_index=block.index + 1, states=states, recent_latents=recent
        )
    return snapshot


def _commit(
    model: LoadedModel, snapshot: Snapshot, texts: tuple[TextKV, ...], runner: ModelRunner
) -> tuple[StreamState, ...]:
    """The states after committing the last block of a clip."""
    latents = snapshot.uncommitted
    if latents is None:
        return snapshot.states
    steps = commit_pending(snapshot, texts)
    return model.lane.run("commit", latents.numel(), lambda: drive(steps, runner.run))


def whole_blocks(frames: int, plan: BlockPlan) -> int:
    """How many of a clip's last frames make whole blocks; the first has one latent frame more.

    Raises:
        ConfigError: fewer frames than one block has.
    """
    first, later = plan.block(0).frames, plan.block(1).frames
    if frames < first:
        raise ConfigError(
            f"the video has {frames} frames, and a block needs {first};"
            " give a longer one or a smaller block_frames"
        )
    return first + (frames - first) // later * later

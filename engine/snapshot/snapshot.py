"""Snapshots: everything that the next block depends on, as frozen records."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from sana_stream._prompts import Mix, parse_mix
from sana_stream.engine.block import FIRST_SHOT, BlockPlan, Shot
from sana_stream.engine.frame_stats import FrameStats
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.loading.presets import check_size
from sana_stream.engine.loading.size_limits import StreamSizes, check_sizes
from sana_stream.engine.noise import check_seed
from sana_stream.engine.prompt_blend import PromptBlend
from sana_stream.errors import ConfigError
from sana_stream.models.memory_policy import parse_memory_policy
from sana_stream.models.state import StreamState
from sana_stream.models.vae.registry import VideoDecoderConfig
from sana_stream.models.vae.streaming import VAECache


@dataclass(frozen=True, slots=True)
class RecoveryPoint:
    """The last blocks of a stream at some moment, from which it can be restarted."""

    recent: tuple[Tensor, ...]  # float32 (1, C, T', h, w), latents of the last blocks
    cache: VAECache | None  # None: rebuilt from `recent`


@dataclass(frozen=True, slots=True)
class DriftReference:
    """What a drift guard compares blocks with, and what it has done so far."""

    prompt: str
    reference: FrameStats  # mean over the first accepted blocks under this prompt
    blocks: int = 0  # accepted blocks under this prompt
    cooldown: int = 0  # blocks before the next action is possible
    recovery: RecoveryPoint | None = None  # after the last accepted block; for the action "restart"
    negative: str = ""  # negative prompt, seed and number of the last block
    seed: int = 0
    index: int = -1
    last: FrameStats | None = None  # of the last block
    settling: int = 0  # blocks in which a requested change may still become visible
    longer: int = 0  # further such blocks while the frames still change


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Settings of a stream; only a new seed or a cut changes them."""

    seed: int
    height: int  # pixels
    width: int
    block_frames: int  # latent frames a block
    timesteps: tuple[float, ...]
    guidance: float
    memory: str  # as for `parse_memory_policy`
    solver: str = "renoise"
    # solver and timesteps after a cut to an image, where they differ
    after_cut: tuple[str, tuple[float, ...]] | None = None

    def for_image(self) -> SessionSettings:
        """The settings of a stream whose first frame is a given image."""
        if self.after_cut is None:
            return self
        solver, timesteps = self.after_cut
        return replace(self, solver=solver, timesteps=timesteps, after_cut=None)


CACHE_LIMIT = 64 << 20  # bytes; a larger decoder cache is held once by the session instead


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stream between two blocks. Immutable: keeping one is enough to return to it."""

    settings: SessionSettings
    prompt: str
    negative_prompt: str
    next_index: int  # number of the next block
    states: tuple[StreamState, ...]  # for the prompt and, with guidance, for the negative prompt
    recent_latents: tuple[Tensor, ...] = ()  # float32 (1, C, T', h, w), latents of the last blocks
    cache: VAECache | None = None  # None: rebuilt from `recent_latents`
    reference_stats: FrameStats | None = None  # mean over the stream's first blocks
    fixed_latents: Tensor | None = (
        None  # float32 (1, C, T', h, w), given first frames of the next block
    )
    drift_reference: DriftReference | None = None  # of a drift guard, in a snapshot that is saved
    shot: Shot = FIRST_SHOT  # the current one
    decode_frames: int | None = None  # latent frames decoded at once so far; None: not chosen yet
    decode_tiles: bool | None = None  # whether frames are decoded in tiles; None: not chosen yet
    blend: PromptBlend | None = None  # of the prompts before to these; None: these alone

    @property
    def mixes(self) -> tuple[Mix, Mix]:
        """The prompts and the negative prompts of the next block, with their shares."""
        if self.blend is not None:
            return self.blend.mixes(self.prompt, self.negative_prompt)
        return parse_mix(self.prompt), ((self.negative_prompt, 1.0),)

    @property
    def is_blending(self) -> bool:
        """Whether the next block is generated from a mixture of the prompts of a blend."""
        return self.blend is not None

    def with_prompts(
        self, prompt: str, negative_prompt: str | None = None, blocks: int = 0
    ) -> Snapshot:
        """The stream with other prompts from the next block on.

        Args:
            prompt: may hold several at weights. The prompts that the stream has already change
                nothing, and a blend to them continues.
            negative_prompt: `None` keeps it.
            blocks: over which the change is spread. It begins with what the last block had, also
                in the middle of another blend.
        """
        negative = self.negative_prompt if negative_prompt is None else negative_prompt
        if (prompt, negative) == (self.prompt, self.negative_prompt):
            return self
        blend = self.blend
        if blocks:
            now = self.prompt, self.negative_prompt
            last = self.mixes if blend is None else blend.last_mixes(*now)
            blend = PromptBlend(*last, blocks)
        elif prompt != self.prompt:
            blend = None
        elif blend is not None:  # only the negative prompt changes, and at once
            blend = replace(blend, negative=((negative, 1.0),))
        return replace(self, prompt=prompt, negative_prompt=negative, blend=blend)

    @property
    def uncommitted(self) -> Tensor | None:
        """The last block's latents, float32 (1, C, T', h, w), not committed to the states yet."""
        return self.recent_latents[-1] if self.recent_latents else None

    @property
    def recovery_point(self) -> RecoveryPoint:
        """The stream's last blocks."""
        return RecoveryPoint(self.recent_latents, self.cache)

    @property
    def nbytes(self) -> int:
        """Bytes that the next block needs, without `recent_latents` but the last."""
        pending = 0 if self.uncommitted is None else self.uncommitted.nbytes
        cache = 0 if self.cache is None else self.cache.nbytes
        return sum(state.nbytes for state in self.states) + pending + cache

    def plan(self, temporal_factor: int) -> BlockPlan:
        """The block plan from the last cut on; `temporal_factor` is the VAE's."""
        return BlockPlan(self.settings.block_frames, temporal_factor, (self.shot,))


def small_cache(cache: VAECache | None) -> VAECache | None:
    """The cache, or `None` for one that is too large for snapshots (1.8 GiB at 832x480) or remote.

    Decoding `recent_latents` again is faster than writing such a cache to a file.
    """
    if cache is None or not cache.is_storable or cache.nbytes > CACHE_LIMIT:
        return None
    return cache


def blocks_to_keep(block_frames: int, decoder: VideoDecoderConfig) -> int:
    """How many blocks of latents rebuild the decoder's cache, bit for bit.

    The blocks within the decoder's context and one before: the first block is decoded without a
    past, so its frames must be outside the context.
    """
    return -(-decoder.decoder_context // block_frames) + 1


def initial_snapshot(
    model: LoadedModel, settings: SessionSettings, prompt: str, negative_prompt: str
) -> Snapshot:
    """The snapshot before a stream's first block.

    Raises:
        ConfigError: a setting that cannot be used, or more memory than the machine has.
    """
    config = model.transformer.config
    check_settings(settings, model.size_multiple)
    sizes = StreamSizes(
        settings.height,
        settings.width,
        settings.block_frames,
        settings.memory,
        settings.guidance != 1,
    )
    check_sizes(sizes, config, model.decoder.config, model.dtype, model.device)
    *_, rows, columns = model.latent_shape(1, settings.height, settings.width)
    state = StreamState.empty(
        config,
        parse_memory_policy(settings.memory),
        model.transformer.grid(rows, columns),
        model.dtype,
        model.device,
    )
    states = (state,) if settings.guidance == 1 else (state, state)
    return Snapshot(settings, prompt, negative_prompt, 0, states)


def check_settings(settings: SessionSettings, size_multiple: tuple[int, int]) -> None:
    """Check the values of settings, as far as they do not depend on the machine.

    Args:
        size_multiple: pixels, down and across, of which height and width must be multiples.

    Raises:
        ConfigError: names the setting and what is allowed.
    """
    check_size(settings.height, settings.width, size_multiple)
    BlockPlan(settings.block_frames)
    check_seed(settings.seed)
    if settings.guidance < 0:
        raise ConfigError(f"guidance {settings.guidance:g} is negative; 1.0 is none")
    parse_memory_policy(settings.memory)

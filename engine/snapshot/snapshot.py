"""Everything the next block depends on, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from sana_stream.engine.block import FIRST_SHOT, BlockPlan, Shot
from sana_stream.engine.frame_stats import FrameStats
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.loading.presets import check_size
from sana_stream.engine.loading.size_limits import StreamSizes, check_sizes
from sana_stream.engine.noise import check_seed
from sana_stream.errors import ConfigError
from sana_stream.models.memory_policy import parse_memory_policy
from sana_stream.models.state import StreamState
from sana_stream.models.vae.registry import VideoDecoderConfig
from sana_stream.models.vae.wan import VAECache


@dataclass(frozen=True, slots=True)
class RecoveryPoint:
    """The last pictures of a stream at some moment, from which it can begin again."""

    recent: tuple[Tensor, ...]  # float32 (1, C, T', h, w), latents of the last blocks
    cache: VAECache | None  # where there is none, it is made again from `recent`


@dataclass(frozen=True, slots=True)
class DriftReference:
    """How the blocks under the present prompt began, and what a guard has done about the rest."""

    prompt: str
    reference: FrameStats  # a mean over the first good blocks under this prompt
    blocks: int = 0  # good blocks under this prompt
    cooldown: int = 0  # blocks to let pass before the next action
    recovery: RecoveryPoint | None = (
        None  # after the last good block; for a guard that begins again
    )
    negative: str = ""  # the negative prompt, the seed and the number of the last block
    seed: int = 0
    index: int = -1
    last: FrameStats | None = None  # of the last block
    settling: int = 0  # blocks in which a planned change may still be coming into the picture
    longer: int = 0  # by how many more that may be, while the picture still moves


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What a stream is made with; fixed for its life."""

    seed: int
    height: int  # pixels
    width: int
    block_frames: int  # latent frames a block
    timesteps: tuple[float, ...]
    guidance: float
    memory: str  # a policy as `parse_memory_policy` reads it
    solver: str = "renoise"
    # solver and timesteps from a cut to a picture on, where they are others
    after_cut: tuple[str, tuple[float, ...]] | None = None

    def for_image(self) -> SessionSettings:
        """The settings of a stream whose first frame is a given image."""
        if self.after_cut is None:
            return self
        solver, timesteps = self.after_cut
        return replace(self, solver=solver, timesteps=timesteps, after_cut=None)


CACHE_LIMIT = 64 << 20  # bytes; a larger cache of the decoder is not kept


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stream between two blocks. Immutable: keeping one is enough to come back to it."""

    settings: SessionSettings
    prompt: str
    negative_prompt: str
    next_index: int  # number of the next block
    states: tuple[
        StreamState, ...
    ]  # one for the prompt; with guidance one for the negative prompt too
    recent_latents: tuple[Tensor, ...] = ()  # float32 (1, C, T', h, w), latents of the last blocks
    cache: VAECache | None = None  # where there is none, it is made again from `recent`
    reference_stats: FrameStats | None = None  # how the stream's first blocks looked
    fixed_latents: Tensor | None = (
        None  # float32 (1, C, T', h, w), how the next block begins, unchanged
    )
    drift_reference: DriftReference | None = (
        None  # what a guard knows of the stream, where it is to be saved
    )
    shot: Shot = FIRST_SHOT  # where its past begins

    @property
    def uncommitted(self) -> Tensor | None:
        """The last block's latents, float32 (1, C, T', h, w), which are not committed yet."""
        return self.recent_latents[-1] if self.recent_latents else None

    @property
    def recovery_point(self) -> RecoveryPoint:
        """The stream's last pictures."""
        return RecoveryPoint(self.recent_latents, self.cache)

    @property
    def nbytes(self) -> int:
        """Bytes of what the next block needs; `recent` but its last costs a few pictures more."""
        pending = 0 if self.uncommitted is None else self.uncommitted.nbytes
        cache = 0 if self.cache is None else self.cache.nbytes
        return sum(state.nbytes for state in self.states) + pending + cache

    def plan(self, temporal_factor: int) -> BlockPlan:
        """Where blocks lie, from the stream's last cut on; the factor is the VAE's."""
        return BlockPlan(self.settings.block_frames, temporal_factor, (self.shot,))

    def without_large_cache(self) -> Snapshot:
        """The same place without a large decoder's cache (2 GiB at 832x480).

        Going on from it decodes the `recent` blocks again, in less time than it takes to write.
        """
        watch = self.drift_reference
        if watch is not None and watch.recovery is not None:
            watch = replace(
                watch, recovery=replace(watch.recovery, cache=_small(watch.recovery.cache))
            )
        return replace(self, cache=_small(self.cache), drift_reference=watch)


def _small(cache: VAECache | None) -> VAECache | None:
    return None if cache is not None and cache.nbytes > CACHE_LIMIT else cache


def blocks_to_keep(block_frames: int, decoder: VideoDecoderConfig) -> int:
    """How many blocks of latents make the decoder's cache again, bit for bit.

    Those that the decoder sees, and one before them: the first one decoded has no past, and
    therefore pictures of its own that may not count.
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

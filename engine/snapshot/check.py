"""Checks that a checkpoint's tensors fit its stream, before they are used.

The checksum detects damage; it does not prove who wrote the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

import torch
from torch import Tensor

from sana_stream._arguments import shown
from sana_stream._prompts import parse_mix
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.solvers import SOLVERS, check_timesteps
from sana_stream.errors import ConfigError
from sana_stream.models.vae.ltx2_config import OVERLAP, LTX2VAEConfig
from sana_stream.models.vae.registry import build_decoder
from sana_stream.models.vae.streaming import VAECache

from .snapshot import RecoveryPoint, SessionSettings, Snapshot

Shape = tuple[int, ...]


def check_snapshot(snapshot: Snapshot, model: LoadedModel) -> None:
    """Check latents, caches and sampling settings that the stream's next block is generated from.

    Raises:
        ValueError: a tensor has another shape or dtype or non-finite values, a setting is unknown,
            or the prompt's weights do not add up to 1.
    """
    settings = snapshot.settings
    parse_mix(snapshot.prompt)
    if snapshot.shot.index > snapshot.next_index:
        raise ValueError("its shot begins after its next block")
    for solver, timesteps in _sampling(settings):
        if solver not in SOLVERS:
            raise ValueError(f"solver {shown(solver)} is not known")
        check_timesteps(timesteps)
    size = settings.block_frames
    shapes = {
        frames: model.latent_shape(frames, settings.height, settings.width)
        for frames in (size, size + 1)
    }
    points = [snapshot.recovery_point]
    if snapshot.drift_reference is not None and snapshot.drift_reference.recovery is not None:
        points.append(snapshot.drift_reference.recovery)
    for point in points:
        for latents in point.recent:
            _check(latents, shapes.values(), {torch.float32}, "latents of a block")
    if snapshot.next_index > snapshot.shot.index and not snapshot.recent_latents:
        raise ValueError("the latents of its last block are missing")
    if (fixed := snapshot.fixed_latents) is not None:
        frames = fixed.shape[2] if fixed.ndim == 5 else 0
        wanted = model.latent_shape(min(max(frames, 1), size + 1), settings.height, settings.width)
        _check(fixed, [wanted], {torch.float32}, "the given first frames")
    _check_caches(points, model, shapes[size])


def check_state_shapes(snapshot: Snapshot, model: LoadedModel) -> None:
    """Refuse states of a model with other shapes.

    Raises:
        ConfigError: the snapshot is of another model.
    """
    settings, config = snapshot.settings, model.transformer.config
    *_, rows, columns = model.latent_shape(1, settings.height, settings.width)
    rows, columns = model.transformer.grid(rows, columns)
    wanted = config.state_layers, 1, rows * columns, config.hidden_size
    if any(tuple(state.conv_state.shape) != wanted for state in snapshot.states):
        raise ConfigError("the snapshot is of another model than the one loaded: give its own")


def _sampling(settings: SessionSettings) -> list[tuple[str, tuple[float, ...]]]:
    plain = settings.solver, settings.timesteps
    return [plain] if settings.after_cut is None else [plain, settings.after_cut]


def _check_caches(points: Iterable[RecoveryPoint], model: LoadedModel, latents: Shape) -> None:
    caches = [point.cache for point in points if point.cache is not None]
    if not caches:
        return
    config = model.decoder.config
    if isinstance(config, LTX2VAEConfig):  # caches latents, of a growing number
        wanted = [[(*latents[:2], n, *latents[3:]) for n in range(1, OVERLAP + 1)]]
    else:
        wanted = [[shape] for shape in _cache_shapes(model, latents)]
    dtypes = {torch.float32, model.decoder_dtype}  # some layers of a decoder stay in float32
    for cache in caches:
        if len(cache.tails) != len(wanted):
            raise ValueError(f"a cache of {len(cache.tails)} tensors, not of {len(wanted)}")
        for tensor, shapes in zip(cache.tails, wanted, strict=True):
            _check(tensor, shapes, dtypes, "a cache", finite=False)


def _cache_shapes(model: LoadedModel, latents: Shape) -> list[Shape]:
    """The shapes of the decoder's cache in mid-stream, from a run on the meta device."""
    with torch.device("meta"), torch.inference_mode():
        decoder = build_decoder(model.decoder.config)
        piece = torch.empty((*latents[:2], 1, *latents[3:]))
        cache: VAECache | None = None
        for _ in range(2):
            _, cache = decoder.decode(piece, cache)
    assert cache is not None
    return [tuple(tensor.shape) for tensor in cache.tails]


def _check(
    tensor: Tensor,
    shapes: Iterable[Shape],
    dtypes: Set[torch.dtype],
    what: str,
    finite: bool = True,
) -> None:
    if tuple(tensor.shape) not in shapes:
        raise ValueError(f"{what} has shape {tuple(tensor.shape)}, not {next(iter(shapes))}")
    if tensor.dtype not in dtypes:
        allowed = " or ".join(sorted(map(str, dtypes)))
        raise ValueError(f"{what} has dtype {tensor.dtype}, not {allowed}")
    wrong = ~torch.isfinite(tensor) if finite else torch.isnan(tensor)
    if wrong.any():
        raise ValueError(f"{what} has values that are not finite")

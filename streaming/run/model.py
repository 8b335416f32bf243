"""The model of a run: its defaults before it is loaded, and loading it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sana_stream.engine.parallel.world import check_count, is_follower

from .config import RunConfig

if TYPE_CHECKING:
    import torch

    from sana_stream.engine.engine import Engine
    from sana_stream.engine.loading.inspect import ModelInfo
    from sana_stream.engine.loading.presets import Preset
    from sana_stream.engine.loading.vocabulary import Vocabulary
    from sana_stream.models.registry import VideoTransformerConfig
    from sana_stream.models.vae.registry import VideoDecoderConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunModel:
    """What a run has to know of its model before the networks are loaded."""

    preset: Preset
    size_multiple: tuple[int, int]  # pixels down and across that a size must be a multiple of
    temporal_factor: int  # frames a latent frame
    transformer: VideoTransformerConfig
    decoder: VideoDecoderConfig
    vocabulary: Vocabulary | None = None  # of a model that knows only some words
    info: ModelInfo | None = None  # the model's files, to load them
    engine: Engine | None = None  # the loaded model

    def device_and_dtype(self, config: RunConfig) -> tuple[torch.device, torch.dtype]:
        """Where the model runs, and in which numbers.

        Raises:
            ConfigError: a device or a dtype that this machine does not have.
        """
        from sana_stream.engine.device import resolve_device, resolve_dtype

        if self.engine is not None:
            return self.engine.device, self.engine.dtype
        device = resolve_device(config.device)
        return device, resolve_dtype(config.dtype, device)

    def device_count(self, config: RunConfig) -> int:
        """On how many devices the run's stream is computed.

        Raises:
            ConfigError: another number than torchrun has started.
        """
        if self.engine is not None:
            return self.engine.peers.devices
        return check_count(config.devices)

    def load(self, config: RunConfig) -> Engine:
        """The loaded model; as `load_engine`."""
        if self.engine is not None:
            return self.engine
        assert self.info is not None
        return load_engine(config, self.info, self.device_count(config))


def describe(engine: Engine | None, config: RunConfig) -> RunModel:
    """What a run has to know of a loaded model, or of the one that a configuration names.

    Raises:
        ConfigError, CheckpointError: as `describe_files`.
    """
    follow_first_process(engine)
    return describe_files(config) if engine is None else describe_engine(engine)


def follow_first_process(engine: Engine | None) -> None:
    """Compute parts of the first process's stream, where torchrun has started this one after it.

    Does nothing in the first process, and where the engine is loaded.

    Raises:
        SystemExit: the first process has ended.
    """
    if engine is None and is_follower():
        from sana_stream.engine.parallel.start import follow  # imports torch

        raise SystemExit(follow())


def describe_engine(engine: Engine) -> RunModel:
    """What a run has to know of a loaded model."""
    return RunModel(
        preset=engine.preset,
        size_multiple=engine.size_multiple,
        temporal_factor=engine.vae.config.temporal_factor,
        transformer=engine.transformer.config,
        decoder=engine.decoder.config,
        engine=engine,
    )


def describe_files(config: RunConfig) -> RunModel:
    """What a run has to know of a model, from its configuration files.

    Raises:
        ConfigError: an unknown model, or parts that do not fit it.
        CheckpointError: a part is missing or damaged.
    """
    from sana_stream.engine.loading.inspect import inspect_model

    parts = None if config.parts is None else str(config.parts)
    loras = [(str(file), scale) for file, scale in config.loras]
    info = inspect_model(str(config.model), parts, config.decoder, loras)
    info.require_loadable()
    return RunModel(
        preset=info.preset,
        size_multiple=info.size_multiple,
        temporal_factor=info.temporal_factor,
        transformer=info.transformer,
        decoder=info.decoder,
        vocabulary=info.vocabulary,
        info=info,
    )


def load_engine(config: RunConfig, info: ModelInfo, devices: int = 1) -> Engine:
    """Load the model of a run, compiled or with captured graphs if the configuration says so.

    Args:
        config: of the run.
        info: the model's files, as `describe_files` found them.
        devices: on which the stream is computed.

    Raises:
        ParallelError: another device's process cannot start.
        ConfigError: a setting that the model or this machine cannot take.
        CheckpointError: the model's files cannot be loaded.
    """
    from sana_stream.engine.cpu import stay_within_quota
    from sana_stream.engine.engine import Engine

    logger.info("loading %s", config.model)
    begun = time.perf_counter()
    stay_within_quota()
    options = {
        "decode_frames": config.decode_frames,
        "quantize": config.quantize,
        "quantize_text": config.quantize_text,
    }
    if devices > 1:
        from sana_stream.engine.parallel.engine import ParallelEngine

        several = {"devices": devices, "parallel": config.parallel}
        engine = ParallelEngine.load(info, config.device, config.dtype, **several, **options)
    else:
        engine = Engine.load(info, config.device, config.dtype, **options)
    if config.compile:
        from sana_stream.engine.performance.compile import compile_networks

        compile_networks(engine)
    if config.graphs:
        _capture_graphs(engine, config)
    seconds = time.perf_counter() - begun
    dtype = str(engine.dtype).removeprefix("torch.")
    where = engine.device if devices == 1 else f"{devices} {engine.device.type} devices"
    logger.info("loaded in %.1f s, on %s in %s", seconds, where, dtype)
    return engine


def _capture_graphs(engine: Engine, config: RunConfig) -> None:
    from sana_stream.engine.performance.cuda_graphs import capture_graphs

    if engine.device.type != "cuda":
        logger.warning("no graphs: they need a CUDA device, this is %s", engine.device)
        return
    width, height = config.size or (None, None)
    capture_graphs(engine, height, width, config.block_frames)

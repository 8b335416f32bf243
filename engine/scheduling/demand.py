"""What a stream needs of a model's device, from its settings alone."""

from __future__ import annotations

import torch

from sana_stream.engine.loading.memory_estimate import block_decode_bytes, denoise_bytes
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.loading.size_limits import total_bytes
from sana_stream.engine.session.executor import BlockWork, decoding_work, sampling_work
from sana_stream.engine.snapshot.snapshot import SessionSettings, blocks_to_keep
from sana_stream.models.memory_policy import parse_memory_policy
from sana_stream.models.state import stream_state_bytes

from .admission import MOST_MEMORY, Demand
from .costs import Costs


def block_works(model: LoadedModel, settings: SessionSettings) -> tuple[BlockWork, BlockWork]:
    """The sampling and the decoding of one block in mid-stream."""
    commits = model.transformer.config.causal
    shape = model.latent_shape(settings.block_frames, settings.height, settings.width)
    guided = settings.guidance != 1
    steps = len(settings.timesteps)
    return sampling_work(shape, steps, commits, guided), decoding_work(shape)


def demand_of(
    model: LoadedModel, settings: SessionSettings, costs: Costs, fps: float, paced: bool
) -> Demand:
    """What a stream needs.

    Args:
        settings: of the stream.
        costs: measured times.
        fps: at which it is watched.
        paced: whether it is watched; a file needs no certain share of time.
    """
    config, decoder = model.transformer.config, model.decoder.config
    shape = model.latent_shape(settings.block_frames + 1, settings.height, settings.width)
    grid = model.transformer.grid(*shape[-2:])
    states = 1 if settings.guidance == 1 else 2
    policy = parse_memory_policy(settings.memory)
    kept = states * stream_state_bytes(config, policy, grid, model.dtype.itemsize)
    blocks = blocks_to_keep(settings.block_frames, decoder)
    kept += blocks * torch.Size(shape).numel() * 4
    pieces = model.decode_frames_for(settings.block_frames, settings.height, settings.width)
    decode, cache = block_decode_bytes(decoder, model.decoder_dtype, shape, pieces)
    working = max(denoise_bytes(config, model.dtype, shape), decode)
    used = 0.0
    if paced:
        works = block_works(model, settings)
        seconds = sum(work.steps * costs.seconds(work.form) for work in works)
        used = seconds * fps / (settings.block_frames * model.vae.config.temporal_factor)
    return Demand(used, kept + cache, working)


def memory_for_streams(model: LoadedModel) -> int:
    """Bytes of the device that streams may take: a share of it, without the weights."""
    networks = {id(each): each for each in (model.transformer, model.vae, model.decoder)}
    weights = {
        parameter.data_ptr(): parameter.nbytes
        for network in networks.values()
        for parameter in network.parameters()
        if parameter.device.type == model.device.type
    }
    for _, parameter in model.text_encoder.named_parameters("text"):
        if parameter.device.type == model.device.type:
            weights[parameter.data_ptr()] = parameter.nbytes
    return int(total_bytes(model.device) * MOST_MEMORY) - sum(weights.values())

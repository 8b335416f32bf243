"""Loading of a checkpoint's networks from its files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from sana_stream._text import safe_text
from sana_stream.errors import CheckpointError
from sana_stream.models.attention import QK_NORM_EPS
from sana_stream.models.kernels.choose import choose_decoder_kernels, choose_kernels
from sana_stream.models.known_models import known_by_tensors, refusal
from sana_stream.models.registry import (
    VideoTransformer,
    VideoTransformerConfig,
    build_transformer,
    is_hybrid,
    read_config,
)
from sana_stream.models.transformer import SanaVideoTransformer
from sana_stream.models.vae.causal_ltx2 import CausalLTX2Decoder, CausalLTX2VAE
from sana_stream.models.vae.layers import set_kernels
from sana_stream.models.vae.layout import set_channels_last
from sana_stream.models.vae.ltx2 import LTX2VAE
from sana_stream.models.vae.ltx2_config import CausalLTX2Config
from sana_stream.models.vae.registry import VideoVAE, VideoVAEConfig, build_vae, read_vae_config
from sana_stream.models.vae.taehv import TAEHVDecoder
from sana_stream.models.vae.wan import WanVAE

from .file_format import SAFETENSORS
from .files import (
    assign_weights,
    check_finite,
    check_shapes,
    read_json,
    read_tensors,
    read_weights,
    weight_files,
)
from .headers import Header, check_headers, empty_tensors, part_headers, read_headers
from .hybrid_layout import infer_hybrid_config
from .original_layout import count_layers, from_original, infer_config
from .torch_file import SUFFIXES

T = TypeVar("T")
OTHER_SUFFIXES = {".bin", ".ckpt"}  # used for weights and for other files


def is_weights_file(path: Path) -> bool:
    """Whether a path names a single weights file: .pth, .pt, .safetensors, .bin or .ckpt."""
    return path.suffix in SUFFIXES | {SAFETENSORS} | OTHER_SUFFIXES


def read_transformer(
    model: Path, config: VideoTransformerConfig | None = None
) -> tuple[VideoTransformerConfig, dict[str, Tensor]]:
    """Read configuration and tensors of a transformer, under diffusers' names.

    Args:
        model: a model folder in the diffusers layout, or one weights file, in the original layout
            or under diffusers' names. A file's configuration is inferred from its shapes, unless
            diffusers' `config.json` is next to it.
        config: what `read_transformer_config` returned, where it has been called.

    Raises:
        CheckpointError: a file is missing, truncated, or not of this model.
        ConfigError: the configuration has a value that this model does not implement.
    """
    part = model / "transformer" if model.is_dir() else model
    config = read_transformer_config(model) if config is None else config
    tensors = dict(read_tensors(part)) if model.is_dir() else read_weights(model)
    tensors = _published(tensors, part)
    _check_layers(tensors, config, part)
    return config, tensors


def read_transformer_config(model: Path) -> VideoTransformerConfig:
    """Read the configuration without the weights; raises as `read_transformer`."""
    path = (model / "transformer" if model.is_dir() else model.parent) / "config.json"
    if model.is_dir() or path.exists():
        return read_config(read_json(path), path)
    shapes = empty_tensors(read_headers(model), model)
    return _infer(_published(shapes, model), model)


def check_transformer_files(model: Path, config: VideoTransformerConfig) -> None:
    """Check the weights' headers against the configuration, without reading the weights.

    Raises:
        CheckpointError: a file is missing, truncated, or has other layers than the configuration.
    """
    files = weight_files(model / "transformer") if model.is_dir() else [model]
    tensors = _published(empty_tensors(part_headers(files), model), model)
    _check_layers(tensors, config, model)
    with torch.device("meta"):
        network = build_transformer(config)
    check_shapes(network, tensors, model)


def is_original_layout(file: Path) -> bool:
    """Whether a single weights file has the original layout's names, not diffusers'.

    Raises:
        CheckpointError: the file is missing or truncated.
    """
    return _DIFFUSERS_NAME not in read_headers(file)


_DIFFUSERS_NAME = "patch_embedding.weight"  # every file under diffusers' names has it


def _published(tensors: dict[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Rename tensors to diffusers' names; refuse other models by their name."""
    known = None
    if not is_hybrid(tensors):
        known = known_by_tensors({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    if known is not None:
        raise CheckpointError(refusal(source, known))
    original = "x_embedder.proj.weight" in tensors or not source.is_dir()
    if _DIFFUSERS_NAME in tensors or not original:
        return tensors
    try:
        return from_original(tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{safe_text(source)}: {error}") from error


def _infer(tensors: Mapping[str, Tensor], source: Path) -> VideoTransformerConfig:
    try:
        return infer_hybrid_config(tensors) if is_hybrid(tensors) else infer_config(tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{safe_text(source)}: {error}") from error


def _check_layers(names: Iterable[str], config: VideoTransformerConfig, source: Path) -> None:
    """Check the number of layers before a network of that many layers is created."""
    layers = count_layers(names)
    if layers and layers != config.num_layers:
        raise CheckpointError(
            f"{safe_text(source)} has {layers} layers, the configuration asks for num_layers"
            f" {config.num_layers}; it is not a checkpoint of this model"
        )


AnyTransformer = TypeVar("AnyTransformer", bound=VideoTransformer)


def load_transformer(
    model: Path,
    dtype: torch.dtype,
    device: torch.device,
    config: VideoTransformerConfig | None = None,
    cross_norm_eps: float = QK_NORM_EPS,
) -> VideoTransformer:
    """Load the transformer of a model folder, or of a file in the original layout.

    Args:
        model: as for `read_transformer`.
        config: what `read_transformer_config` returned, where it has been called.
        cross_norm_eps: as for `SanaVideoTransformer`.

    Raises:
        CheckpointError: a file is missing, truncated, or does not fit the model.
        ConfigError: the configuration has a value that this model does not implement.
    """
    config, tensors = read_transformer(model, config)
    with torch.device("meta"):
        transformer = build_transformer(config, cross_norm_eps)
    source = model / "transformer" if model.is_dir() else model
    assign_weights(transformer, tensors, source)
    transformer = finalize_transformer(transformer, dtype, device)
    check_finite(transformer, source)
    return transformer


def finalize_transformer(
    transformer: AnyTransformer, dtype: torch.dtype, device: torch.device
) -> AnyTransformer:
    """Prepare a transformer with loaded weights to run: device, dtype, memory layouts, kernels."""
    transformer.to(device=device, dtype=dtype)
    if isinstance(transformer, SanaVideoTransformer):
        for layer in transformer.layers:
            layer.ff.set_layout()
        head = transformer.config.attention_head_dim
        transformer.set_kernels(choose_kernels(device, dtype, head))
    transformer.eval().requires_grad_(False)
    return transformer


def load_vae(
    folder: Path, dtype: torch.dtype, device: torch.device, config: VideoVAEConfig | None = None
) -> VideoVAE:
    """Load `vae/` of a model folder: the decoder in `dtype`, the encoder always in float32.

    On CUDA the encoder, of 0.2 GiB (2.6 for LTX-2), is moved to the device when it first encodes.

    Encoding in bfloat16 loses visible detail (structural similarity 0.98 to 0.76 in a published
    measurement), decoding does not (0.9999).

    Args:
        config: what `read_vae_file` returned, where it has been called.

    Raises:
        CheckpointError, ConfigError: as for `load_transformer`.
    """
    part = folder / "vae"
    config = read_vae_file(folder) if config is None else config
    with torch.device("meta"):
        vae = build_vae(config)
    weights = vae if isinstance(vae, WanVAE) else vae.inner
    assign_weights(weights, dict(read_tensors(part)), part)
    vae = finalize_vae(vae, dtype, device)
    check_finite(weights, part)
    return vae


def read_vae_file(folder: Path) -> VideoVAEConfig:
    """Read the configuration of a model folder's VAE; raises as `load_vae`."""
    path = folder / "vae" / "config.json"
    return read_vae_config(read_json(path), path)


def check_vae_files(folder: Path, config: VideoVAEConfig) -> None:
    """Check the headers of a VAE's files against its configuration, without reading the weights.

    Raises:
        CheckpointError, ConfigError: as for `load_transformer`.
    """
    with torch.device("meta"):
        vae = build_vae(config)
    check_headers(vae if isinstance(vae, WanVAE) else vae.inner, folder / "vae")


def finalize_vae(vae: VideoVAE, dtype: torch.dtype, device: torch.device) -> VideoVAE:
    """Prepare a VAE with loaded weights to run: dtypes as `load_vae`, fastest memory layout."""
    if not isinstance(vae, WanVAE):
        _place_ltx2(vae, dtype, device)
        return vae.eval().requires_grad_(False)
    # on CUDA the encoder goes to the device when it first encodes
    vae.to(device="cpu" if device.type == "cuda" else device, dtype=torch.float32)
    vae.decoder.to(device, dtype)
    vae.post_quant_conv.to(device, dtype)
    set_channels_last(vae)
    set_kernels(vae.decoder, choose_decoder_kernels(device, dtype))
    return vae.eval().requires_grad_(False)


def _place_ltx2(
    network: LTX2VAE | CausalLTX2Decoder, dtype: torch.dtype, device: torch.device
) -> None:
    network.set_dtype(dtype)
    for name, part in network.inner.named_children():
        if name != "encoder":  # goes to the device when it first encodes
            part.to(device=device)
    network.inner.latents_mean = network.inner.latents_mean.to(device)
    network.inner.latents_std = network.inner.latents_std.to(device)
    if device.type == "cuda":
        set_channels_last(network)
    elif isinstance(network, LTX2VAE | CausalLTX2VAE):
        network.encoder.to(device=device)
    set_kernels(network.decoder, choose_decoder_kernels(device, dtype))


def load_taehv(file: Path, dtype: torch.dtype, device: torch.device) -> TAEHVDecoder:
    """Load `taew2_1`, a .pth, .pt or .safetensors file.

    Raises:
        CheckpointError: the file is missing, truncated, or not of this layout.
    """
    tensors = read_weights(file)
    with torch.device("meta"):
        decoder = TAEHVDecoder()
    decoder = decoder.to_empty(device="cpu")
    try:
        decoder.load_published(tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{file} is {error}") from error
    decoder = finalize_taehv(decoder, dtype, device)
    check_finite(decoder, file)
    return decoder


def finalize_taehv(decoder: TAEHVDecoder, dtype: torch.dtype, device: torch.device) -> TAEHVDecoder:
    """Prepare a decoder with loaded weights to run: device, dtype, fastest memory layout."""
    decoder = decoder.to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return decoder.eval().requires_grad_(False)


def load_causal_decoder(
    files: Sequence[Path], config: CausalLTX2Config, dtype: torch.dtype, device: torch.device
) -> CausalLTX2Decoder:
    """Load the decoder of a causal LTX-2 VAE, without its encoder.

    Raises:
        CheckpointError: a file is missing, truncated, or does not fit the configuration.
    """
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_weights(file)
    with torch.device("meta"):
        decoder = CausalLTX2Decoder(config)
    assign_weights(decoder.inner, _without_encoder(tensors), files[0])
    decoder = finalize_causal_decoder(decoder, dtype, device)
    check_finite(decoder.inner, files[0])
    return decoder


def check_decoder_files(files: Sequence[Path], config: CausalLTX2Config) -> None:
    """Check the headers of a causal decoder's files, without reading the weights.

    Raises:
        CheckpointError: as `load_causal_decoder`.
    """
    headers: dict[str, Header] = _without_encoder(part_headers(files))
    with torch.device("meta"):
        decoder = CausalLTX2Decoder(config)
    check_shapes(decoder.inner, empty_tensors(headers, files[0]), files[0])


def finalize_causal_decoder(
    decoder: CausalLTX2Decoder, dtype: torch.dtype, device: torch.device
) -> CausalLTX2Decoder:
    """Prepare a decoder with loaded weights to run: device and dtype."""
    _place_ltx2(decoder, dtype, device)
    return decoder.eval().requires_grad_(False)


def _without_encoder(named: Mapping[str, T]) -> dict[str, T]:
    return {name: value for name, value in named.items() if not name.startswith("encoder.")}

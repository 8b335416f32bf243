"""The loaded networks of one checkpoint: what every other part of the engine works with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from sana_stream._arguments import ARGUMENTS
from sana_stream.engine.device import (
    is_single_threaded,
    resolve_device,
    resolve_dtype,
    text_offload_device,
)
from sana_stream.engine.lane import DeviceLane, DirectLane
from sana_stream.engine.peers import Peers, SingleProcess
from sana_stream.errors import ConfigError
from sana_stream.models.lora.stack import LoraStack
from sana_stream.models.memory_policy import Past, StateUpdate
from sana_stream.models.registry import VideoTransformer
from sana_stream.models.text_encoder import TextEncoder, load_text_encoder
from sana_stream.models.text_kv import TextKV
from sana_stream.models.vae.ltx2 import LTX2VAE, TiledLTX2
from sana_stream.models.vae.registry import SeparateDecoder, VideoDecoder, VideoVAE
from sana_stream.models.vae.streaming import VAECache
from sana_stream.models.vae.taehv import TAEHVDecoder
from sana_stream.models.weights.load import load_transformer, load_vae

from .compatibility import check_channels
from .cuda_check import check_convolution, needs_comparison, warn_of_old_torch
from .decoder import CAUSAL, TINY, check_statistics, resolve_decoder_dtype
from .fingerprint import Fingerprint, fingerprint_of
from .inspect import ModelInfo, inspect_model, named_loras
from .memory_estimate import default_decode_frames, denoise_bytes, free_bytes, max_decode_frames
from .presets import Preset
from .quantize import CAPABILITY, check_quantization, quantize_network


class TransformerCalls(Protocol):
    """The transformer's methods that generate a block; shapes as `SanaVideoTransformer`'s.

    `rotation` is what the same transformer's method of that name returned.
    """

    def prepare_text(self, embeds: Tensor, mask: Tensor) -> TextKV: ...

    def denoise(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: TextKV,
        past: Past,
        start: int,
        rotation: Any = None,
    ) -> Tensor: ...

    def commit(self, latents: Tensor, text: TextKV, past: Past, start: int) -> StateUpdate: ...


class DecoderCalls(Protocol):
    """The decoder's method that decodes a block; shapes as `WanVAE.decode`'s."""

    def decode(self, latents: Tensor, cache: VAECache | None = None) -> tuple[Tensor, VAECache]: ...


class LoadedModel:
    """The networks of one checkpoint on one device, and nothing of any stream.

    Attributes:
        transformer, vae, text_encoder: the networks.
        decoder: what decodes latents: the VAE, or the one that was given in its place.
        transformer_calls, decoder_calls: the same networks, or their captured CUDA graphs.
        peers: the processes that sample a block together.
        lane: runs network calls that belong to no block, such as the encoding of an image.
        preset: the checkpoint's defaults.
        device: of the networks.
        dtype: of the transformer; the decoder's is `decoder_dtype`.
        decode_frames: latent frames decoded at once; `None` chooses by device and free memory.
        source: the name that `load` was called with, or the model's folder; `None` for a model
            that was built from networks.

    Raises:
        ConfigError: `decode_frames` is below 1, or VAE and transformer have different latents.
    """

    def __init__(
        self,
        transformer: VideoTransformer,
        vae: VideoVAE,
        text_encoder: TextEncoder,
        preset: Preset,
        device: torch.device,
        dtype: torch.dtype,
        *,
        decode_frames: int | None = None,
        decoder: SeparateDecoder | None = None,
    ) -> None:
        self.transformer = transformer
        self.vae = vae
        self.text_encoder = text_encoder
        self.preset = preset
        self.device = device
        self.dtype = dtype
        self.decode_frames = decode_frames
        self.decoder: VideoDecoder = decoder or vae
        self.transformer_calls: TransformerCalls = transformer
        self.decoder_calls: DecoderCalls = self.decoder
        self.peers: Peers = SingleProcess()
        self.lane: DeviceLane = DirectLane()
        self.source: str | None = None
        self.quantized: str | None = None  # "int8", "fp8" or "nvfp4"
        self.text_quantized: str | None = None
        self._loras: LoraStack | None = LoraStack(transformer)  # None once it is quantized
        self._fingerprint: Fingerprint | None = None  # kept: weights change with LoRA files only
        if decode_frames is not None and ARGUMENTS.whole("decode_frames", decode_frames) < 1:
            raise ConfigError(f"decode_frames {decode_frames}: give 1 or more")
        check_channels(transformer.config, vae.config)

    @classmethod
    def load(
        cls,
        model: str | Path | ModelInfo = "pocket",
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        *,
        parts: str | Path | None = None,
        loras: Iterable[tuple[str | Path, float]] = (),
        decode_frames: int | None = None,
        decoder: str | None = None,
        offload_text: bool | None = None,
        quantize: str | None = None,
        quantize_text: str | None = None,
    ) -> Self:
        """Load a checkpoint.

        Args:
            model: "pocket" (embedded), a folder in the diffusers layout, a hub id
                `owner/name[@revision]`, a .pth file in the original layout, or what
                `inspect_model` returned, with its parts, decoder and LoRA files.
            device: "auto", "cpu", "cuda", "mps" or a torch device.
            dtype: "auto", "bfloat16", "float16", "float32" or a torch dtype, of the transformer
                and the decoder. "auto" on a CUDA device without bfloat16 is float32, and float16
                for Wan's and the small decoder. The text encoder never runs in float16, where
                Gemma overflows.
            parts: folder or hub id to take VAE and text encoder from, where not from `model`.
            loras: as for `set_loras`.
            decode_frames: latent frames decoded at once; fewer take less memory. Default: 2 on
                CUDA, a whole block elsewhere, or as many as fit into the memory that is free when a
                session starts. A resumed stream keeps its own number, at most this one.
            decoder: "tiny=FILE" (or a file's hub id): TAEHV, the small approximate decoder for
                Wan 2.1 latents. "causal=FOLDER" (or a hub id): a causal LTX-2 VAE, which decodes
                720p streams without seams between blocks.
            offload_text: keep the text encoder on the CPU while no prompt is being embedded.
                Default: on CUDA devices of 24 GiB or less.
            quantize: "int8", "fp8" or "nvfp4": the transformer's linear layers except those that
                the preset keeps in full precision, after LoRA files are merged.
            quantize_text: the same for the text encoder.

        Raises:
            ConfigError: an unknown model, device or dtype, or a LoRA scale that is not a number.
            CheckpointError: a part is missing, cut short, or does not fit.
        """
        if decode_frames is not None:
            ARGUMENTS.whole("decode_frames", decode_frames)
        if offload_text is not None:
            ARGUMENTS.flag("offload_text", offload_text)
        loras = tuple(named_loras(loras))
        chosen_device = resolve_device(device)
        chosen = resolve_dtype(dtype, chosen_device)
        text_dtype = torch.float32 if chosen == torch.float16 else chosen
        check_quantization(quantize, chosen_device, chosen)
        check_quantization(quantize_text, chosen_device, text_dtype)
        if not isinstance(model, ModelInfo):
            info = inspect_model(model, parts, decoder, loras)
        elif parts is not None or decoder is not None or loras:
            raise ConfigError(
                "model is a ModelInfo: give parts, decoder and loras to inspect_model"
            )
        else:
            info = model
        preset, folder = info.require_loadable().preset, info.components
        decoder_dtype = resolve_decoder_dtype(dtype, chosen_device, info.decoder)
        other = None
        if info.other_decoder is not None:
            other = info.other_decoder.load(decoder_dtype, chosen_device)
        text_encoder = cls._load_text_encoder(
            folder, preset, chosen_device, text_dtype, offload_text
        )
        vae = load_vae(folder, decoder_dtype, chosen_device, info.vae)
        if other is not None:
            check_statistics(other, vae)
        loaded = cls(
            load_transformer(
                info.source, chosen, chosen_device, info.transformer, preset.cross_norm_eps
            ),
            vae,
            text_encoder,
            preset,
            chosen_device,
            chosen,
            decode_frames=decode_frames,
            decoder=other,
        )
        loaded.source = str(info.source if isinstance(model, ModelInfo) else model)
        loaded.set_loras(info.loras)
        loaded.quantize(quantize, quantize_text)
        loaded.check_device()
        return loaded

    @classmethod
    def _load_text_encoder(
        cls,
        folder: Path,
        preset: Preset,
        device: torch.device,
        dtype: torch.dtype,
        offload_text: bool | None,
    ) -> TextEncoder:
        """Load the text encoder; overridden where embeddings come from another process."""
        return load_text_encoder(
            folder,
            preset.instruction,
            preset.max_text_tokens,
            device,
            dtype,
            text_offload_device(device, offload_text),
            lower_case=preset.lower_case,
        )

    def close(self) -> None:
        """End what the model keeps running; one device keeps nothing."""

    def check_device(self) -> None:
        """Check torch and cuDNN on a CUDA device; does nothing on others.

        An old torch is logged as a warning. With a suspect cuDNN the largest convolution of Wan's
        decoder, at the preset's size, is compared with float32.

        Raises:
            ConfigError: the convolution is wrong.
        """
        if self.device.type != "cuda":
            return
        warn_of_old_torch()
        config, dtype = self.decoder.config, self.decoder_dtype
        if needs_comparison(config, dtype):
            height, width = self.preset.height, self.preset.width
            pieces = self.decode_frames_for(self.preset.block_frames, height, width)
            frames, patch = pieces * config.temporal_factor, config.patch
            size = frames, height // patch, width // patch
            check_convolution(config.decoder_dim, *size, dtype, self.device)

    @property
    def display_name(self) -> str:
        """The preset's name, with the decoder where that is not the checkpoint's own."""
        if self.decoder is self.vae:
            return self.preset.name
        kind = TINY if isinstance(self.decoder, TAEHVDecoder) else CAUSAL
        return f"{self.preset.name} with the {kind} decoder"

    @property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint of the weights as loaded, before quantization, the same in any dtype."""
        if self._fingerprint is None:
            networks = self.transformer, self.vae, self.text_encoder, self.decoder
            self._fingerprint = fingerprint_of(*networks, self.preset)
        return self._fingerprint

    @property
    def decoder_dtype(self) -> torch.dtype:
        """The dtype in which latents are decoded."""
        return next(self.decoder.decoder.parameters()).dtype

    @property
    def size_multiple(self) -> tuple[int, int]:
        """The pixels, down and across, of which a stream's height and width are multiples."""
        _, down, across = self.transformer.config.patch_size
        factor = self.vae.config.spatial_factor
        return down * factor, across * factor

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, ...]:
        """The shape (1, C, T', h, w) of `frames` latent frames of height x width pixels."""
        factor = self.vae.config.spatial_factor
        channels = self.transformer.config.in_channels
        return 1, channels, frames, height // factor, width // factor

    def decode_frames_for(self, block_frames: int, height: int, width: int) -> int:
        """How many latent frames are decoded at once; a VAE with seams over time decodes a block.

        Args:
            block_frames: latent frames a block.
            height, width: pixels.
        """
        frames = block_frames + 1
        if self.decode_frames is not None:
            return min(frames, self.decode_frames)
        if self.can_tile:
            return frames
        most = default_decode_frames(self.device, frames)
        return self._fitting_frames(frames, height, width, most)

    @property
    def can_tile(self) -> bool:
        """Whether the decoder can decode in tiles."""
        return isinstance(self.decoder, LTX2VAE)

    def decoder_for(self, tiles: bool) -> DecoderCalls:
        """The decoder's calls; with `tiles`, of one that can, those that decode in tiles."""
        if tiles and isinstance(self.decoder, LTX2VAE):
            return TiledLTX2(self.decoder)
        return self.decoder_calls

    def decode_tiles_for(self, block_frames: int, height: int, width: int) -> bool:
        """Whether the decoder should decode in tiles: memory is short for a block at once.

        Args:
            block_frames, height, width: as for `decode_frames_for`.
        """
        if not self.can_tile or self.decode_frames is not None:
            return False
        frames = block_frames + 1
        return self._fitting_frames(frames, height, width, frames) < frames

    def _fitting_frames(self, frames: int, height: int, width: int, most: int) -> int:
        """How many latent frames of a block, at most `most`, free memory lets decode at once."""
        shape = self.latent_shape(frames, height, width)

        def denoising() -> int:
            if is_single_threaded(self.device):
                return 0
            return denoise_bytes(self.transformer.config, self.dtype, shape)

        free = free_bytes(self.device)
        return max_decode_frames(
            *(self.decoder.config, self.decoder_dtype, shape, free, most, denoising)
        )

    def encode_prompt(self, prompt: str) -> tuple[Tensor, Tensor]:
        """Embed a prompt, appended to the model's instruction text.

        Returns:
            Embeddings (1, L, C) in the text encoder's dtype, and mask (1, L), int64.

        Raises:
            ConfigError: not text; it may be empty.
        """
        return self.text_encoder.encode(ARGUMENTS.text("prompt", prompt, empty=True))

    def encode_negative_prompt(self, prompt: str) -> tuple[Tensor, Tensor]:
        """Embed a negative prompt: as `encode_prompt`, without the instruction text."""
        prompt = ARGUMENTS.text("negative_prompt", prompt, empty=True)
        return self.text_encoder.encode(prompt, with_instruction=False)

    def set_loras(self, loras: Iterable[tuple[str | Path, float]]) -> None:
        """Merge LoRA files into the transformer, replacing those merged before.

        With none the weights are the checkpoint's again, bit for bit. Sessions started afterwards
        use them; a running session keeps the keys and values of its prompt.

        Args:
            loras: files (or folders of peft) in the diffusers or peft layout, each with its scale.

        Raises:
            ConfigError: the transformer is quantized, or a scale is not a number.
            CheckpointError: a file cannot be read or does not fit; nothing has changed.
        """
        if self._loras is None:
            raise ConfigError("the transformer is quantized; give LoRA files to Engine.load")
        try:
            self._loras.set(list(named_loras(loras)))
        finally:
            self._fingerprint = None

    def quantize(self, transformer: str | None, text: str | None) -> None:
        """Quantize networks in place, once.

        Args:
            transformer, text: "int8", "fp8", "nvfp4", or `None` to leave the network as it is.

        Raises:
            ConfigError: an unknown kind.
        """
        for kind in (transformer, text):
            if kind is not None:
                ARGUMENTS.word("quantization", kind, tuple(CAPABILITY))
        if transformer or text:
            _ = self.fingerprint  # of these weights, so that either resumes the other's streams
        if transformer:
            quantize_network(self.transformer, transformer, self.preset.full_precision)
            self._loras, self.quantized = None, transformer
        if text:
            quantize_network(self.text_encoder.network, text)
            self.text_quantized = text

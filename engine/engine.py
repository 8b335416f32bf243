"""A loaded model: the entry to everything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self, TypeVar

import torch
from torch import Tensor

from sana_stream._arguments import ARGUMENTS, shown
from sana_stream.engine.loading.describe import check_loras, check_parts
from sana_stream.engine.loading.fingerprint import Fingerprint, fingerprint_of
from sana_stream.engine.loading.locate import resolve_components, resolve_model
from sana_stream.engine.loading.memory_estimate import free_bytes, max_decode_frames
from sana_stream.engine.loading.model import DecoderCalls, TransformerCalls, load_decoder
from sana_stream.engine.loading.presets import Preset, check_size, preset_for
from sana_stream.engine.loading.quantize import CAPABILITY, check_quantization, quantize_network
from sana_stream.engine.loading.size_limits import StreamSizes, check_sizes
from sana_stream.engine.media.inputs import Picture, Video
from sana_stream.engine.sampling.schedule import default_image_solver, resolve_timesteps
from sana_stream.engine.session.conditioning import start_from_image, start_from_video
from sana_stream.engine.session.session import Session
from sana_stream.engine.snapshot.file import load_snapshot
from sana_stream.engine.snapshot.snapshot import SessionSettings, Snapshot
from sana_stream.errors import ConfigError
from sana_stream.models.lora.settings import check_scale
from sana_stream.models.lora.stack import LoraStack
from sana_stream.models.memory_policy import parse_memory_policy
from sana_stream.models.state import StreamState
from sana_stream.models.text_encoder import TextEncoder, load_text_encoder
from sana_stream.models.transformer import SanaVideoTransformer
from sana_stream.models.vae.ltx2 import LTX2VAE
from sana_stream.models.vae.registry import VideoVAE
from sana_stream.models.vae.taehv import TAEHVDecoder
from sana_stream.models.weights.load import (
    load_transformer,
    load_vae,
    read_transformer_config,
    read_vae_file,
)

from .block import BlockPlan
from .device import resolve_device, resolve_dtype, text_offload_device
from .noise import NoiseSource, check_noise, check_seed

T = TypeVar("T")
MOST_LORAS = 1000


class Engine:
    """The networks of one checkpoint on one device. Sessions share it; it keeps nothing of them."""

    def __init__(
        self,
        transformer: SanaVideoTransformer,
        vae: VideoVAE,
        text_encoder: TextEncoder,
        preset: Preset,
        device: torch.device,
        dtype: torch.dtype,
        *,
        decode_frames: int | None = None,
        decoder: TAEHVDecoder | None = None,
    ) -> None:
        self.transformer = transformer
        self.vae = vae
        self.text_encoder = text_encoder
        self.preset = preset
        self.device = device
        self.dtype = dtype
        self.decode_frames = decode_frames
        self.decoder = decoder or vae
        self.transformer_calls: TransformerCalls = (
            transformer  # or recordings of its work, so the painter
        )
        self.decoder_calls: DecoderCalls = self.decoder
        self._loras: LoraStack | None = LoraStack(transformer)  # None once it is quantized
        self._exact: Fingerprint | None = None  # of the weights before they were quantized
        if decode_frames is not None and ARGUMENTS.whole("decode_frames", decode_frames) < 1:
            raise ConfigError(f"decode_frames {decode_frames}: give 1 or more")
        if vae.config.z_dim != transformer.config.in_channels:
            raise ConfigError(
                f"the VAE makes {vae.config.z_dim} channels, the transformer takes"
                f" {transformer.config.in_channels}; the parts are not of one model"
            )

    @classmethod
    def load(
        cls,
        model: str | Path = "pocket",
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
                `owner/name[@revision]`, or a .pth file in the original layout.
            device: "auto", "cpu", "cuda", "mps" or a torch device.
            dtype: "auto", "bfloat16", "float16", "float32" or a torch dtype, of the transformer
                and the decoder. The text encoder never runs in float16, where Gemma overflows.
            parts: folder or hub id to take VAE and text encoder from, where not from `model`.
            loras: as for `set_loras`.
            decode_frames: latent frames decoded at once; less takes less memory. Default: a whole
                block, or as many as fit into the memory that is free when a session begins.
            decoder: "tiny=FILE" (or a file's hub id): TAEHV's small approximate one for Wan 2.1.
            offload_text: keep the text encoder off the device while it has no prompt to embed.
                Default: on CUDA devices of 24 GiB or less.
            quantize: "int8", "fp8" or "nvfp4": the transformer's linear layers but those that the
                preset keeps in full precision; after LoRA files are merged.
            quantize_text: the same for the text encoder.

        Raises:
            ConfigError: an unknown model, device or dtype, or a LoRA's scale that is no number.
            CheckpointError: a part is missing, cut short, or does not fit.
        """
        loras = _named_files(loras)
        if decode_frames is not None:
            ARGUMENTS.whole("decode_frames", decode_frames)
        if offload_text is not None:
            ARGUMENTS.flag("offload_text", offload_text)
        chosen_device = resolve_device(device)
        chosen = resolve_dtype(dtype, chosen_device)
        text_dtype = torch.float32 if chosen == torch.float16 else chosen
        check_quantization(quantize, chosen_device, chosen)
        check_quantization(quantize_text, chosen_device, text_dtype)
        located = resolve_model(model)
        folder = resolve_components(located, parts)
        preset = preset_for(located, str(model))
        check_parts(read_transformer_config(located), read_vae_file(folder), folder)
        loras = list(loras)
        check_loras(located, loras)
        small = load_decoder(decoder, folder, preset.name, chosen, chosen_device)
        text_encoder = load_text_encoder(
            folder,
            preset.instruction,
            preset.max_text_tokens,
            chosen_device,
            text_dtype,
            text_offload_device(chosen_device, offload_text),
        )
        engine = cls(
            load_transformer(located, chosen, chosen_device),
            load_vae(folder, chosen, chosen_device),
            text_encoder,
            preset,
            chosen_device,
            chosen,
            decode_frames=decode_frames,
            decoder=small,
        )
        engine.set_loras(loras)
        engine.quantize(quantize, quantize_text)
        return engine

    def quantize(self, transformer: str | None, text: str | None) -> None:
        """Quantize networks in place, once; kinds as `load` takes them."""
        for kind in (transformer, text):
            if kind is not None:
                ARGUMENTS.word("quantization", kind, tuple(CAPABILITY))
        if transformer or text:
            self._exact = self.fingerprint  # so that a stream goes on with either
        if transformer:
            quantize_network(self.transformer, transformer, self.preset.full_precision)
            self._loras = None
        if text:
            quantize_network(self.text_encoder.network, text)

    def set_loras(self, loras: Iterable[tuple[str | Path, float]]) -> None:
        """Merge LoRA files into the transformer, in place of those merged before.

        With none the weights are the checkpoint's again, bit for bit. It holds for sessions begun
        afterwards; one that is running keeps what it has made of its prompt.

        Args:
            loras: files (or folders of peft) in the diffusers or peft layout, each with its scale.

        Raises:
            CheckpointError: a file cannot be read or does not fit; nothing has changed.
        """
        if self._loras is None:
            raise ConfigError("the transformer is quantized; give LoRA files to Engine.load")
        self._loras.set(_named_files(loras))

    def encode_prompt(self, prompt: str) -> tuple[Tensor, Tensor]:
        """Embed a prompt, behind the model's instruction text.

        Returns:
            Embeddings (1, L, C) in the text encoder's dtype, and mask (1, L), int64.

        Raises:
            ConfigError: not text; it may be empty.
        """
        return self.text_encoder.encode(ARGUMENTS.text("prompt", prompt, empty=True))

    def encode_negative_prompt(self, prompt: str) -> tuple[Tensor, Tensor]:
        """Embed a negative prompt: the same, without the instruction."""
        prompt = ARGUMENTS.text("negative_prompt", prompt, empty=True)
        return self.text_encoder.encode(prompt, with_instruction=False)

    def session(
        self,
        prompt: str,
        seed: int = 0,
        height: int | None = None,
        width: int | None = None,
        block_frames: int | None = None,
        timesteps: Sequence[float] | None = None,
        guidance: float | None = None,
        negative_prompt: str | None = None,
        memory: str | None = None,
        noise: NoiseSource | None = None,
        *,
        steps: int | None = None,
        solver: str | None = None,
        flow_shift: float | None = None,
        image: Picture | None = None,
        video: Video | None = None,
    ) -> Session:
        """Begin a stream. What is not given comes from the checkpoint's preset.

        Args:
            prompt: taken as it is, behind the model's instruction text.
            seed: 0 to 2**63 - 1; the same seed gives the same stream.
            height, width: pixels.
            block_frames: latent frames a block; the first block has one more.
            timesteps: descending, e.g. (1000, 960, 889, 727).
            guidance: strength of classifier-free guidance; 1.0 is none.
            negative_prompt: what guidance leads away from; without effect at guidance 1.0.
            memory: "cumulative", "window=W", "window=W,sink=K" or "decay=G".
            noise: `(block_index, step_index, shape) -> tensor` in place of the seed's noise.
            steps: in place of `timesteps`, how many of them.
            solver: "renoise" for distilled models, "euler", "dpm++" or "unipc" for the others.
            flow_shift: how far the steps crowd towards noise; 1 is even.
            image: the stream's first picture, made to cover its size: the path of a file, an
                image of Pillow, or pixels uint8 (H, W, 3).
            video: a clip to go on from, the path of a file or pixels uint8 (T, H, W, 3): its last
                whole blocks count as the stream's first ones, and `next_start` is behind them.

        Raises:
            ConfigError: a setting that cannot be used; nothing has run yet.
        """
        preset = self.preset
        prompt = ARGUMENTS.text("prompt", prompt)
        negative = _default(negative_prompt, preset.negative_prompt)
        negative = ARGUMENTS.text("negative_prompt", negative, empty=True)
        noise = check_noise(noise)
        if image is not None and video is not None:
            raise ConfigError("an image and a video are given; a stream begins with one of them")
        asked, pictured = solver, default_image_solver(preset, solver)
        plain, after_cut = (
            resolve_timesteps(preset, timesteps, steps, solver, flow_shift)
            for solver in (asked, pictured)
        )
        solver, timesteps = plain if image is None else after_cut
        settings = SessionSettings(
            seed=check_seed(seed),
            height=ARGUMENTS.whole("height", _default(height, preset.height)),
            width=ARGUMENTS.whole("width", _default(width, preset.width)),
            block_frames=ARGUMENTS.whole(
                "block_frames", _default(block_frames, preset.block_frames)
            ),
            timesteps=timesteps,
            guidance=ARGUMENTS.number("guidance", _default(guidance, preset.guidance), most=1000),
            memory=ARGUMENTS.word("memory", _default(memory, preset.memory)),
            solver=solver,
            after_cut=None if after_cut == (solver, timesteps) else after_cut,
        )
        beginning = self.beginning(settings, prompt, negative)
        if image is not None:
            beginning = start_from_image(self, beginning, image)
        if video is not None:
            beginning = start_from_video(self, beginning, video)
        return Session(self, beginning, noise)

    def session_from(self, snapshot: Snapshot, noise: NoiseSource | None = None) -> Session:
        """Go on from a snapshot; the stream continues exactly as the one it was taken from.

        Raises:
            ConfigError: no snapshot, or one of a model of other sizes.
        """
        if not isinstance(snapshot, Snapshot):
            raise ConfigError(f"snapshot {shown(snapshot)}: give what Session.snapshot returned")
        self._check_states(snapshot)
        return Session(self, snapshot, noise)

    def resume(self, path: str | Path, noise: NoiseSource | None = None) -> Session:
        """Go on from a file that `Session.save` wrote; its prompts are embedded again.

        Raises:
            SnapshotError: the file is damaged, foreign, of a newer version or of another model.
        """
        noise = check_noise(noise)
        return self.session_from(load_snapshot(ARGUMENTS.path("path", path), self), noise)

    @property
    def fingerprint(self) -> Fingerprint:
        """What tells this model from another in any dtype; adapters may change it meanwhile."""
        return self._exact or fingerprint_of(self)

    def decode_frames_for(self, settings: SessionSettings) -> int:
        """How many latent frames of a stream's block are decoded at once."""
        frames = settings.block_frames + 1
        if self.decode_frames is not None:
            return min(frames, self.decode_frames)
        shape = self.latent_shape(frames, settings.height, settings.width)
        free = free_bytes(self.device)
        fitting = max_decode_frames(self.decoder.config, self.dtype, shape, free)
        if isinstance(self.decoder, LTX2VAE) and fitting < frames:
            self.decoder.decode_in_tiles()  # in time it has seams already
            return frames
        return fitting

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, ...]:
        """Shape (1, C, T', h, w) of `frames` latent frames of height x width pixels."""
        factor = self.vae.config.spatial_factor
        channels = self.transformer.config.in_channels
        return 1, channels, frames, height // factor, width // factor

    def beginning(self, settings: SessionSettings, prompt: str, negative_prompt: str) -> Snapshot:
        """The snapshot before the first block.

        Raises:
            ConfigError: a setting that cannot be used.
        """
        self._check(settings)
        *_, rows, columns = self.latent_shape(1, settings.height, settings.width)
        state = StreamState.empty(
            self.transformer.config,
            parse_memory_policy(settings.memory),
            self.transformer.grid(rows, columns),
            self.dtype,
            self.device,
        )
        states = (state,) if settings.guidance == 1 else (state, state)
        return Snapshot(settings, prompt, negative_prompt, 0, states)

    def _check(self, settings: SessionSettings) -> None:
        _, *patch = self.transformer.config.patch_size
        factor = self.vae.config.spatial_factor
        check_size(settings.height, settings.width, (patch[0] * factor, patch[1] * factor))
        BlockPlan(settings.block_frames)
        check_seed(settings.seed)
        if settings.guidance < 0:
            raise ConfigError(f"guidance {settings.guidance:g} is negative; 1.0 is none")
        sizes = StreamSizes(
            settings.height,
            settings.width,
            settings.block_frames,
            settings.memory,
            settings.guidance != 1,
        )
        check_sizes(sizes, self.transformer.config, self.decoder.config, self.dtype, self.device)

    def _check_states(self, snapshot: Snapshot) -> None:
        """Refuse states of other shapes than this model's: they would fail in mid-work."""
        settings, config = snapshot.settings, self.transformer.config
        *_, rows, columns = self.latent_shape(1, settings.height, settings.width)
        rows, columns = self.transformer.grid(rows, columns)
        tail = config.num_layers, 1, rows * columns, config.hidden_size
        if any(tuple(state.conv_state.shape) != tail for state in snapshot.states):
            raise ConfigError("the snapshot is of another model than the one loaded: give its own")


def _named_files(loras: object) -> list[tuple[Path, float]]:
    """LoRA files with their scales, as a caller gives them."""
    told = "a list of pairs (file, scale)"
    chosen: list[tuple[Path, float]] = []
    for given in ARGUMENTS.items("loras", loras, told, MOST_LORAS):
        pair = ARGUMENTS.items("loras", given, told, 2)
        if len(pair) != 2:
            raise ConfigError(f"loras: give {told}")
        file, scale = pair
        path = ARGUMENTS.path("loras", file)
        chosen.append((path, check_scale(scale, path)))
    return chosen


def _default(given: T | None, preset: T) -> T:
    return preset if given is None else given

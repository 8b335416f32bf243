"""Options of the model, and of the frames that it generates."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from . import argument_types
from .option_fields import Group, option, switch

FRAMES = Group("frames and sampling (default: as the model specifies)")
MODEL = Group("model")


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """A model and how it samples; `None` is the model's default."""

    size: tuple[int, int] | None = option(  # width, height
        "--size",
        group=FRAMES,
        exclusive="size",
        parse=argument_types.size,
        metavar="WxH",
        help="width and height in pixels, such as 832x480",
    )
    aspect: str | None = option(
        "--aspect",
        group=FRAMES,
        exclusive="size",
        parse=argument_types.aspect,
        metavar="W:H",
        help="aspect ratio, such as 16:9, 9:16 or 1.78: the nearest size that the model was "
        "trained with",
    )
    fps: Fraction | None = option(  # noqa: RUF009 - it returns a field
        "--fps",
        group=FRAMES,
        parse=argument_types.rate,
        metavar="N",
        help="frame rate of the video in frames per second: 16, 23.976 or 24000/1001",
    )
    seed: int = option(
        "--seed",
        group=FRAMES,
        parse=argument_types.seed,
        default=0,
        metavar="N",
        help="seed of the noise; each seed gives another video (default: 0)",
    )
    guidance: float | None = option(
        "--guidance",
        group=FRAMES,
        parse=argument_types.number_from_zero,
        metavar="G",
        help="classifier-free guidance scale; 1 turns guidance off and is twice as fast",
    )
    negative_prompt: str | None = option(
        "--negative-prompt",
        group=FRAMES,
        metavar="TEXT",
        help="what the video should not show; needs --guidance other than 1",
    )
    steps: int | tuple[float, ...] | None = option(
        "--steps",
        group=FRAMES,
        parse=argument_types.steps,
        parameters=("timesteps",),
        metavar="N",
        help="number of denoising steps per block, or the timesteps: 1000,960,889,727",
    )
    solver: str | None = option(
        "--solver",
        group=FRAMES,
        parse=argument_types.filled,
        metavar="NAME",
        help="renoise for distilled models; euler, dpm++ or unipc for others",
    )
    flow_shift: float | None = option(
        "--flow-shift",
        group=FRAMES,
        parse=argument_types.positive_number,
        metavar="S",
        help="shift of the noise schedule: 1 spaces the steps evenly, larger values put more of "
        "them at high noise",
    )
    model: str = option(
        "--model",
        group=MODEL,
        parse=argument_types.filled,
        default="pocket",
        metavar="MODEL",
        help="pocket (small, included), a folder in the diffusers layout, a .pth file or a "
        "Hugging Face hub id (default: pocket)",
    )
    parts: str | None = option(
        "--parts",
        group=MODEL,
        parse=argument_types.filled,
        metavar="MODEL",
        help="folder or hub id with the VAE and text encoder of a .pth file (default: those that "
        "it was published with)",
    )
    loras: tuple[tuple[str, float], ...] = option(  # files, each with its scale
        "--lora",
        group=MODEL,
        multiple=True,
        parse=argument_types.scaled_file,
        metavar="FILE[:SCALE]",
        help="LoRA to merge into the model (default scale: 1); repeat the option for several",
    )
    quantize: str | None = option(
        "--quantize",
        group=MODEL,
        parse=argument_types.filled,
        metavar="KIND",
        help="quantize the transformer: int8, fp8 or nvfp4 (default: off)",
    )
    quantize_text: str | None = option(
        "--quantize-text",
        group=MODEL,
        parse=argument_types.filled,
        metavar="KIND",
        help="quantize the text encoder: int8 (default: off)",
    )
    device: str = option(
        "--device",
        group=MODEL,
        parse=argument_types.filled,
        default="auto",
        metavar="NAME",
        help="auto, cpu, cuda or mps (default: auto)",
    )
    dtype: str = option(
        "--dtype",
        group=MODEL,
        parse=argument_types.filled,
        default="auto",
        metavar="NAME",
        help="auto, float32, bfloat16 or float16 (default: auto)",
    )
    memory: str | None = option(
        "--memory",
        group=MODEL,
        parse=argument_types.filled,
        metavar="POLICY",
        help="which past blocks a block attends to: cumulative, window=W, window=W,sink=K or "
        "decay=G (default: the model's)",
    )
    block_frames: int | None = option(
        "--block-frames",
        group=MODEL,
        parse=argument_types.positive_count,
        metavar="N",
        help="latent frames per block; with Wan's VAE each decodes to 4 frames (default: the "
        "model's)",
    )
    decoder: str | None = option(
        "--decoder",
        group=MODEL,
        parse=argument_types.filled,
        metavar="KIND=PATH",
        help="decoder in place of the VAE: tiny=FILE (TAEHV's taew2_1.pth, for Wan 2.1: faster, "
        "approximate) or causal=FOLDER (causal LTX-2 VAE, for 720p: no seams between blocks), "
        "each also as a hub id (default: the VAE)",
    )
    compile: bool = switch(
        "--compile", group=MODEL, help="compile the networks: slower start, then faster"
    )
    graphs: bool = switch(
        "--graphs",
        group=MODEL,
        help="capture the work of a block as CUDA graphs: slower start, then faster",
    )
    devices: int | None = option(
        "--devices",
        group=MODEL,
        parse=argument_types.positive_count,
        metavar="N",
        help="compute the stream on N devices together, one process each (default: 1, under "
        "torchrun its number of processes)",
    )
    parallel: str | None = option(
        "--parallel",
        group=MODEL,
        parse=argument_types.filled,
        metavar="WAY",
        help="how devices divide a stream: guidance, decoder, frames, rows or FRAMESxROWS such as "
        "2x2 (default: by their number and the guidance)",
    )
    decode_frames: int | None = option(
        "--decode-frames",
        group=MODEL,
        parse=argument_types.positive_count,
        metavar="N",
        help="latent frames decoded at once; fewer need less memory (default: as many as fit; "
        "2 on CUDA)",
    )

"""Models that are recognized in order to be refused by their name: one table, `KNOWN_MODELS`.

A model that becomes supported is removed from the table. Its classes are then added to the classes
that its configuration accepts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sana_stream._text import safe_text

SUPPORTED_CLASSES = (
    "SanaVideoTransformer3DModel",
    "SanaVideoCausalTransformer3DModel",
    "SanaVideo2Transformer3DModel",
)
PIPELINES = ("SanaVideoPipeline", "SanaImageToVideoPipeline")
SUPPORTED = (
    "supported are SANA-Video 2B 480p and 720p, LongSANA and SANA-Video 2.0, as a folder in the"
    f" diffusers layout ({' or '.join(SUPPORTED_CLASSES)}) or as a .pth file"
)
_MOST_TENSORS = 20_000  # names that are looked at; the published models have 400 to 1500


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that is not supported, with the patterns that recognize it."""

    name: str
    kind: str  # what it makes
    classes: str  # a `_class_name` of its transformer or pipeline
    tensors: str  # the plain name of a tensor that no supported model has
    rank: int | None = None  # dimensions of that tensor
    hint: str = ""  # what to do with such a file, in place of what is supported

    def matches_tensor(self, name: str, shape: tuple[int, ...]) -> bool:
        """Whether a tensor, by its plain name and shape, is of this model."""
        fits = self.rank is None or len(shape) == self.rank
        return fits and re.fullmatch(self.tensors, name) is not None


# The first entry that matches is taken: a model stands before the more general one below it.
KNOWN_MODELS = (
    KnownModel(
        "a LoRA file",
        "changes of a model's weights",
        classes="",
        tensors=r".+\.(?:lora_(?:A|B|down|up)(?:\..+)?|lokr_.+|hada_.+)",
        hint="give it with loras=, and the model that it changes with model=",
    ),
    KnownModel(
        "SANA-WM",
        "a world model with camera control",
        classes=r"SanaWM.*|Sana(?:MSVideo|VideoMS)CamCtrl.*",
        tensors=r"(?:raymap_embedder|plucker_embedder)\..+|blocks\.[0-9]+\.attn\.q_proj_cam\..+",
    ),
    KnownModel(
        "SANA-Streaming",
        "video to video, with gated delta layers",
        classes=r"Sana(?:Streaming|V2V|MSVideoV2V|VideoToVideo).*",
        tensors=r"blocks\.[0-9]+\.attn\.(?:q\.weight|A_log|dt_bias|gate_proj\..+|conv_k\..+)",
    ),
    KnownModel(
        "SANA-Sprint",
        "text to image in one to four steps",
        classes=r"SanaSprint.*|SanaMSCM.*",
        tensors=r"(?:time_embed\.guidance_embedder|cfg_embedder)\..+",
    ),
    KnownModel(
        "SANA",
        "text to image",
        classes=r"Sana(?:Transformer2DModel|Pipeline|PAGPipeline|ControlNet.*|MS.*)",
        tensors=r"(?:patch_embed|x_embedder)\.proj\.weight",
        rank=4,
    ),
    KnownModel(
        "Wan",
        "text and image to video",
        classes=r"Wan.*",
        tensors=r"condition_embedder\.time_embedder\..+|blocks\.[0-9]+\.self_attn\.norm_q\.weight",
    ),
    KnownModel(
        "LTX-2",
        "video with sound",
        classes=r"LTX2.*",
        tensors=r"(?:audio_proj_in|audio_patchify_proj)\..+",
    ),
    KnownModel(
        "LTX-Video",
        "text and image to video",
        classes=r"LTX.*",
        tensors=r"(?:proj_in|patchify_proj)\.weight",
        rank=2,
    ),
    KnownModel(
        "HunyuanVideo",
        "text and image to video",
        classes=r"HunyuanVideo.*",
        tensors=r"context_embedder\.time_text_embed\..+|txt_in\.individual_token_refiner\..+",
    ),
    KnownModel(
        "CogVideoX",
        "text and image to video",
        classes=r"CogVideoX.*",
        tensors=r"patch_embed\.text_proj\..+",
    ),
    KnownModel(
        "FLUX",
        "text to image",
        classes=r"Flux.*",
        tensors=r"(?:single_transformer_blocks|single_blocks)\.[0-9]+\..+",
    ),
    KnownModel(
        "a VAE",
        "it makes frames of latents",
        classes=r"Autoencoder.*",
        tensors=r"decoder\.conv(?:1|_in|_in\.conv)\.weight",
        hint="give the transformer's file or a whole model folder with model=",
    ),
    KnownModel(
        "a language model",
        "as a text encoder is",
        classes=r"(?:Gemma|T5|UMT5).*",
        tensors=r"embed_tokens\.weight|layers\.[0-9]+\.self_attn\.q_proj\.weight",
        hint="give the transformer's file or a whole model folder with model=",
    ),
)


def known_by_class(name: object) -> KnownModel | None:
    """The unsupported model of a `_class_name`; `None` where the class is supported or unknown."""
    if not isinstance(name, str) or name in SUPPORTED_CLASSES + PIPELINES or len(name) > 200:
        return None
    found = (known for known in KNOWN_MODELS if re.fullmatch(known.classes, name))
    return next(found, None)


def known_by_tensors(shapes: Mapping[str, tuple[int, ...]]) -> KnownModel | None:
    """The unsupported model that has such tensors.

    Args:
        shapes: by plain name, without the prefixes of wrappers.
    """
    named = list(shapes.items())[:_MOST_TENSORS]
    for known in KNOWN_MODELS:
        if any(known.matches_tensor(name, shape) for name, shape in named):
            return known
    return None


def refusal(where: object, known: KnownModel) -> str:
    """The message that refuses a model: what it is, and what is supported."""
    what = f"{safe_text(where)} is {known.name} ({known.kind})"
    return f"{what}; {known.hint}" if known.hint else f"{what}, which is not supported; {SUPPORTED}"


def unknown_class(where: object, name: object) -> str:
    """The message that refuses a class that is not in the table."""
    given = safe_text(repr(name), 80)
    return f"{safe_text(where)}: _class_name is {given}, a model of another kind; {SUPPORTED}"

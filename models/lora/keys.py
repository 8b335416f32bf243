"""Key names in LoRA files: the module that a tensor updates, and its part of the update."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sana_stream._text import safe_text
from sana_stream.errors import CheckpointError
from sana_stream.models.weights.original_layout import original_modules, our_modules
from sana_stream.models.weights.tensor_names import plain_name

FLAT = ("lora_unet_", "lora_transformer_", "lora_dit_", "lycoris_")  # kohya's keys have no dots
_TEXT = ("lora_te", "text_encoder", "text_model", "conditioner")
_FACTORS = {
    ("lora_A", "weight"): "A",
    ("lora_B", "weight"): "B",
    ("lora_down", "weight"): "A",
    ("lora_up", "weight"): "B",
    ("lora", "down", "weight"): "A",
    ("lora", "up", "weight"): "B",
    ("lora_linear_layer", "down", "weight"): "A",
    ("lora_linear_layer", "up", "weight"): "B",
    ("lora_A",): "A",
    ("lora_B",): "B",
    ("alpha",): "alpha",
}
# Key prefixes by which other kinds of adapters are recognized.
_OTHERS = {
    "lora_magnitude_vector": "DoRA",
    "dora_scale": "DoRA",
    "lokr_": "LoKr",
    "hada_": "LoHa",
    "lora_mid": "LoCon with a middle factor",
    "oft_": "OFT",
    "boft_": "BOFT",
    "vera_": "VeRA",
    "ia3_": "IA3",
    "on_input": "IA3",
    "lora_embedding_": "a LoRA of embeddings",
    "diff": "a full difference of weights",
    "diff_b": "a full difference of weights",
    "set_weight": "whole weights",
    "bias": "a LoRA with biases",
    "modules_to_save": "a LoRA with whole layers",
}


def split_key(path: Path, key: str) -> tuple[str, str]:
    """Split a LoRA key into the module's name and the part: "A", "B" or "alpha".

    Raises:
        CheckpointError: another kind of adapter, which is named, or an update of the text encoder.
    """
    parts = tuple(plain_name(key).split("."))
    if parts[0].startswith(_TEXT):
        raise CheckpointError(
            f"{safe_text(path)}: {safe_text(key, 120)} changes the text encoder; only LoRAs of the"
            " transformer alone can be merged"
        )
    for ending, part in _FACTORS.items():
        for end in (ending, _with_adapter(parts, ending)):
            if len(parts) > len(end) and parts[-len(end) :] == end:
                return ".".join(parts[: -len(end)]), part
    kind = next((kind for p in parts for start, kind in _OTHERS.items() if p.startswith(start)), "")
    raise CheckpointError(
        f"{safe_text(path)}: {safe_text(key, 120)} is not of a plain LoRA (A and B only)"
        + (f"; it is {kind}" if kind else "")
    )


def find_modules(name: str, modules: set[str]) -> tuple[str, ...]:
    """Find the model's modules that a LoRA key names; empty where there are none.

    The name may be diffusers', that of the original layout, or either with `_` for every dot. One
    matrix of the original layout can correspond to several modules, with an equal share of rows
    each.
    """
    if name in modules:
        return (name,)
    found = our_modules(name)
    if not found:
        flat = next((name.removeprefix(start) for start in FLAT if name.startswith(start)), None)
        found = _unflatten(flat, modules) if flat else ()
    return found if found and modules.issuperset(found) else ()


def _unflatten(flat: str, modules: set[str]) -> tuple[str, ...]:
    for start in ("transformer_", "model_", "diffusion_model_"):
        if flat.startswith(start) and not flat.startswith("transformer_blocks_"):
            flat = flat.removeprefix(start)
    layers = {name.split(".")[1] for name in modules if name.startswith("transformer_blocks.")}
    for names in (modules, original_modules(layers)):
        if (name := _by_flat(flat, names)) is not None:
            return (name,) if name in modules else our_modules(name)
    return ()


def _by_flat(flat: str, names: Iterable[str]) -> str | None:
    return next((name for name in names if name.replace(".", "_") == flat), None)


def _with_adapter(parts: tuple[str, ...], ending: tuple[str, ...]) -> tuple[str, ...]:
    """Insert the adapter's name, any word, which peft writes after `lora_A`."""
    adapted = ending[0] in ("lora_A", "lora_B") and len(parts) > len(ending)
    if adapted and parts[-len(ending)] not in ("weight", "bias"):
        return (ending[0], parts[-len(ending)], *ending[1:])
    return ending

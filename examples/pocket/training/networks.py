"""What the second stage trains: the transformer, the text encoder, and readers of labels."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from sana_stream.models.config import TransformerConfig
from sana_stream.models.transformer import SanaVideoTransformer

from .autoencoder import CONFIG as LATENTS
from .reading import Readers
from .text import WIDTH, Captioner, build_encoder, build_tokenizer

HEADS, HEAD_WIDTH, LAYERS = 6, 32, 6
CONFIG = TransformerConfig(
    in_channels=LATENTS.z_dim,
    out_channels=LATENTS.z_dim,
    num_attention_heads=HEADS,
    attention_head_dim=HEAD_WIDTH,
    num_layers=LAYERS,
    num_cross_attention_heads=HEADS,
    cross_attention_head_dim=HEAD_WIDTH,
    cross_attention_dim=HEADS * HEAD_WIDTH,
    caption_channels=WIDTH,
    mlp_ratio=3.0,
    sample_size=14,
    patch_size=(1, 1, 1),
)
WORDS = "embed_tokens.weight"


class Networks(nn.Module):
    """What this stage trains."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = build_tokenizer()
        self.transformer = SanaVideoTransformer(CONFIG)
        self.text = build_encoder(self.tokenizer)
        self.readers = Readers(WIDTH)
        for layer in self.transformer.layers:
            for weight in (layer.ff.conv_temp.weight, layer.attn2.to_out[0].weight):
                nn.init.zeros_(weight)  # type: ignore[arg-type]
        self._begin_with_noise()

    def _begin_with_noise(self) -> None:
        """Begin with the answer that all is noise: the last projection undoes the first one.

        Tokens of unit variance stand in `z_dim` of the model's dimensions, and the last norm
        scales them up to variance 1 in all.
        """
        inward = self.transformer.patch_embedding
        nn.init.orthogonal_(inward.weight.data.view(CONFIG.hidden_size, -1))
        nn.init.zeros_(inward.bias)  # type: ignore[arg-type]
        scale = (CONFIG.in_channels / CONFIG.hidden_size) ** 0.5
        outward = self.transformer.proj_out
        outward.weight.data.copy_(scale * inward.weight.data.flatten(1).T)
        nn.init.zeros_(outward.bias)

    @property
    def captioner(self) -> Captioner:
        return Captioner(self.tokenizer, self.text)

    @torch.no_grad()
    def begin_with(self, model: Path) -> int:
        """Take over from a model folder whatever has the same name and shape; how many tensors.

        Words are found by their spelling, so the vocabulary may have grown since.
        """
        taken = _take(
            self.transformer,
            load_file(model / "transformer" / "diffusion_pytorch_model.safetensors"),
        )
        text = load_file(model / "text_encoder" / "model.safetensors")
        known = Tokenizer.from_file(str(model / "tokenizer" / "tokenizer.json")).get_vocab()
        rows = text.pop(WORDS)
        for word, place in self.tokenizer.get_vocab().items():
            if word in known:
                self.text.get_parameter(WORDS)[place].copy_(rows[known[word]])
        return taken + 1 + _take(self.text, text)


def _take(module: nn.Module, tensors: dict[str, Tensor]) -> int:
    taken = 0
    for name, parameter in module.named_parameters():
        if name in tensors and tensors[name].shape == parameter.shape:
            parameter.copy_(tensors[name])
            taken += 1
    return taken

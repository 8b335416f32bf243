"""Networks of the second stage: the transformer, the text encoder, and attribute classifiers."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from sana_stream.models.config import TransformerConfig
from sana_stream.models.transformer import SanaVideoTransformer
from storybook.words import synonyms

from .autoencoder import CONFIG as LATENTS
from .reading import AttributeClassifiers
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
    """Networks that the second stage trains."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = build_tokenizer()
        self.transformer = SanaVideoTransformer(CONFIG)
        self.text = build_encoder(self.tokenizer)
        self.readers = AttributeClassifiers(WIDTH)
        for layer in self.transformer.layers:
            for weight in (layer.ff.conv_temp.weight, layer.attn2.to_out[0].weight):
                nn.init.zeros_(weight)  # type: ignore[arg-type]
        self._initialize_to_noise()

    def _initialize_to_noise(self) -> None:
        """Initialize the prediction of pure noise: the last projection inverts the first one.

        Tokens of unit variance span `z_dim` of the model's dimensions, and the last norm scales
        them to variance 1 over all dimensions.
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
        """Copy tensors of a model folder with the same name and shape; return their number.

        Embeddings are matched by the word's spelling, so that the vocabulary can grow: a new word
        begins as a copy of the word that it is a synonym of.
        """
        copied = _copy_matching(
            self.transformer,
            load_file(model / "transformer" / "diffusion_pytorch_model.safetensors"),
        )
        text = load_file(model / "text_encoder" / "model.safetensors")
        known = Tokenizer.from_file(str(model / "tokenizer" / "tokenizer.json")).get_vocab()
        rows, similar = text.pop(WORDS), synonyms()
        for word, place in self.tokenizer.get_vocab().items():
            word = word if word in known else similar.get(word, word)
            if word in known:
                self.text.get_parameter(WORDS)[place].copy_(rows[known[word]])
        return copied + 1 + _copy_matching(self.text, text)


def _copy_matching(module: nn.Module, tensors: dict[str, Tensor]) -> int:
    copied = 0
    for name, parameter in module.named_parameters():
        if name in tensors and tensors[name].shape == parameter.shape:
            parameter.copy_(tensors[name])
            copied += 1
    return copied

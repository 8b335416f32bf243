"""The small text encoder: a word tokenizer and a two-layer Gemma-2."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import Gemma2Config, Gemma2Model

from storybook.words import vocabulary

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")
MAX_TOKENS = 64  # of a prompt in inference
TRAINED_TOKENS = 40  # of a caption in training, padded to this length
WIDTH = 128


def build_tokenizer() -> Tokenizer:
    """Create a tokenizer with one token per word; unknown words become `<unk>`."""
    words = [*SPECIAL, *vocabulary()]
    vocab = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(vocab, unk_token="<unk>"))
    tokenizer.normalizer = Lowercase()  # type: ignore[assignment]
    tokenizer.pre_tokenizer = Whitespace()  # type: ignore[assignment]
    tokenizer.post_processor = TemplateProcessing(  # type: ignore[assignment]
        single="<bos> $A", special_tokens=[("<bos>", vocab["<bos>"])]
    )
    tokenizer.enable_padding(pad_id=0, pad_token="<pad>", length=TRAINED_TOKENS)
    tokenizer.enable_truncation(TRAINED_TOKENS)
    return tokenizer


def build_encoder(tokenizer: Tokenizer) -> Gemma2Model:
    """Create an encoder with random weights."""
    config = Gemma2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        query_pre_attn_scalar=32,
        max_position_embeddings=256,
        sliding_window=256,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        use_cache=False,
        attn_implementation="eager",  # pyright: ignore[reportCallIssue] - taken by the base class
    )
    return Gemma2Model(config)


@dataclass(frozen=True, slots=True)
class Captioner:
    """Text encoder with gradients."""

    tokenizer: Tokenizer
    model: Gemma2Model

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Encode texts to embeddings (n, L, C) and mask (n, L), padded to one fixed length."""
        encodings = self.tokenizer.encode_batch(texts)
        ids = torch.tensor([e.ids for e in encodings], device=self.model.device)
        mask = torch.tensor([e.attention_mask for e in encodings], device=self.model.device)
        return self.model(input_ids=ids, attention_mask=mask)[0], mask

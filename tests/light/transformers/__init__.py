"""Stand-in for transformers in processes that tests start: its import takes 3 s of CPU time.

A text encoder is reduced to the embeddings of its tokens. Only what `sana_stream` calls exists.
`tests/command.py` puts this folder on PYTHONPATH. Tests of prompts run the real package.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn


class _Tokens(SimpleNamespace):
    """Token numbers and mask, by attribute or by key."""

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


class AutoTokenizer:
    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        self._padding = self._tokenizer.token_to_id(config["pad_token"])

    @classmethod
    def from_pretrained(cls, folder: Path, **_: Any) -> AutoTokenizer:
        return cls(folder)

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text).ids

    def __call__(self, text: str | list[str], max_length: int | None = None, **_: Any) -> _Tokens:
        """Return the numbers of one text; for a list of one, tensors (1, `max_length`)."""
        ids = self.encode(text if isinstance(text, str) else text[0])[:max_length]
        empty = (max_length or len(ids)) - len(ids)
        mask = [1] * len(ids) + [0] * empty
        ids += [self._padding] * empty
        if isinstance(text, str):
            return _Tokens(input_ids=ids, attention_mask=mask)
        return _Tokens(input_ids=torch.tensor([ids]), attention_mask=torch.tensor([mask]))


class AutoConfig:
    @staticmethod
    def from_pretrained(folder: Path, **_: Any) -> dict[str, Any]:
        return json.loads((folder / "config.json").read_text("utf-8"))


class AutoModel(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding.from_pretrained(weight)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> AutoModel:
        return cls(torch.empty(config["vocab_size"], config["hidden_size"]))

    @classmethod
    def from_pretrained(
        cls, folder: Path, dtype: torch.dtype, **_: Any
    ) -> tuple[AutoModel, dict[str, list[str]]]:
        weights = load_file(folder / "model.safetensors")
        return cls(weights["embed_tokens.weight"].to(dtype)), {"missing_keys": []}

    def forward(self, tokens: Tensor, attention_mask: Tensor) -> tuple[Tensor]:
        return (self.embed_tokens(tokens) * attention_mask[..., None],)

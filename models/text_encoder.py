"""Prompts to embeddings: Gemma-2 with the published prompt preparation.

Letters: L text tokens kept, C width of the text encoder.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sana_stream._text import name_list, safe_text
from sana_stream.errors import CheckpointError, SanaStreamError
from sana_stream.models.weights.files import check_finite
from sana_stream.models.weights.headers import Header
from sana_stream.models.weights.text_encoder_files import (
    check_text_layers,
    check_text_shapes,
    read_text_config,
    read_text_headers,
)
from sana_stream.models.weights.tokenizer_files import check_tokenizer_files

_NOISY_LOGGERS = ("torchao", "torch.utils._pytree")


def silence_torchao() -> None:
    """Keep torchao from naming every kernel not built for this machine when it is imported.

    transformers imports it wherever it is installed, so this goes before both.
    """
    for talker in _NOISY_LOGGERS:
        getLogger(talker).setLevel(ERROR)


# What compilers and wrappers put before the names of weights, for transformers to leave out.
WRAPPED = r"^((_orig_mod|module|_fsdp_wrapped_module|_checkpoint_wrapped_module|model)\.)+"

_LOG = logging.getLogger(__name__)


class TextEncoder:
    """A tokenizer and a Gemma-2 decoder whose last hidden state is the embedding.

    With a `resting` device the decoder is on `device` only while it works on a prompt.
    """

    def __init__(
        self,
        tokenizer: Any,
        model: Any,
        instruction: tuple[str, ...],
        max_tokens: int,
        device: torch.device,
        offload_device: torch.device | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._model = model
        self._instruction = "\n".join(instruction)
        self._max_tokens = max_tokens
        self._device = device
        self._resting = offload_device
        model.to(offload_device or device)
        tokenizer.padding_side = "right"

    @property
    def device(self) -> torch.device:
        """Where the encoder works, and where its embeddings are."""
        return self._device

    @property
    def network(self) -> torch.nn.Module:
        """The decoder."""
        return self._model

    @property
    def dtype(self) -> torch.dtype:
        """The encoder's dtype, and that of its embeddings."""
        return self._model.dtype

    @torch.no_grad()
    def encode(self, prompt: str, *, with_instruction: bool = True) -> tuple[Tensor, Tensor]:
        """Embed one prompt.

        The text is lowered and stripped, put behind the model's instruction, padded on the right
        to `tokens(instruction) + max_tokens - 2`; of the hidden states the first and the last
        `max_tokens - 1` are kept (the preparation of diffusers' SanaVideoPipeline). Of a longer
        text the rest is not read, which is logged as a warning.

        Args:
            prompt: the text; may be empty.
            instructed: False for a negative prompt, which stands without the instruction and is
                padded to `max_tokens`.

        Returns:
            Embeddings (1, L, C) and mask (1, L), int64: 1 for a token, 0 for padding.
        """
        text, length = self._behind_instruction(prompt, with_instruction)
        if told := self.unread(prompt, with_instruction=with_instruction):
            _LOG.warning(told)
        tokens = self._tokenizer(
            [text],
            padding="max_length",
            max_length=length,
            truncation=True,
            add_special_tokens=True,
            return_tensors="pt",
        )
        mask = tokens.attention_mask.to(self._device)
        with self._on_device():
            hidden = self._model(tokens.input_ids.to(self._device), attention_mask=mask)[0]
        kept = [0, *range(length - self._max_tokens + 1, length)]
        return hidden[:, kept], mask[:, kept]

    def unread(self, prompt: str, *, with_instruction: bool = True) -> str | None:
        """What is to be said of a prompt that is not read to its end; `None` of one that is.

        How many tokens it has, how many are read, and with which words the rest begins.
        """
        text, length = self._behind_instruction(prompt, with_instruction)
        if len(prompt.lower().encode("utf-8", "replace")) + 2 < self._max_tokens:
            return None  # no token is shorter than a byte
        with_places = bool(getattr(self._tokenizer, "is_fast", False))
        tokens = self._tokenizer(
            text, truncation=False, verbose=False, return_offsets_mapping=with_places
        )
        count = len(tokens["input_ids"])
        if count <= length:
            return None
        rest = text[tokens["offset_mapping"][length][0] :] if with_places else ""
        where = f': it is cut off before "{safe_text(rest, 60)}"' if rest.strip() else ""
        return (
            f'"{safe_text(prompt, 40)}" is too long: it has {count - length + self._max_tokens}'
            f" tokens, and the model reads {self._max_tokens}{where}"
        )

    def _behind_instruction(self, prompt: str, with_instruction: bool) -> tuple[str, int]:
        """The text that is embedded, and how many tokens of it are read."""
        text, length = prompt.lower().strip(), self._max_tokens
        if with_instruction and self._instruction:
            text = self._instruction + text
            length += len(self._tokenizer.encode(self._instruction)) - 2
        return text, length

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        if self._resting is None:
            yield
            return
        self._model.to(self._device)
        try:
            yield
        finally:
            self._model.to(self._resting)

    def tokens(self, prompt: str) -> list[int]:
        """The numbers of a prompt's tokens, behind the instruction, without padding."""
        return list(self._tokenizer.encode(self._instruction + prompt.lower().strip()))

    def named_parameters(self, prefix: str) -> Iterator[tuple[str, Tensor]]:
        """Every weight of the encoder, by its name behind a prefix."""
        return self._model.named_parameters(prefix)


def load_text_encoder(
    folder: Path,
    instruction: tuple[str, ...],
    max_tokens: int,
    device: torch.device,
    dtype: torch.dtype,
    offload_device: torch.device | None = None,
) -> TextEncoder:
    """Read `tokenizer/` and `text_encoder/` of a model folder.

    Args:
        instruction: lines that stand before every prompt.
        max_tokens: of a prompt, behind the instruction.
        device: where it works.
        dtype: of its weights.
        resting: where it is between two prompts; `None` is where it works.

    Raises:
        CheckpointError: a part is missing or cannot be read.
    """
    for part in ("tokenizer", "text_encoder"):
        if not (folder / part).is_dir():
            raise CheckpointError(
                f"{safe_text(folder)} has no {part}/; a whole model folder has one"
            )
    config = check_text_files(folder)
    headers = read_text_headers(folder / "text_encoder")
    check_text_layers(folder / "text_encoder", config, headers)
    with _errors_of_transformers(folder):
        tokenizer, model = _read_parts(folder, headers, dtype)
        padded: Any = {"padding": "max_length", "max_length": 16, "truncation": True}
        ids = tokenizer("a red boat", **padded).input_ids  # what it asks of its library works
    if not ids or not 0 <= min(ids) <= max(ids) < config["vocab_size"]:
        raise CheckpointError(
            f"{safe_text(folder)}: its tokenizer gives tokens that its text encoder does not have"
        )
    encoder = TextEncoder(tokenizer, model.eval(), instruction, max_tokens, device, offload_device)
    check_finite(model, folder / "text_encoder")
    return encoder


def check_text_files(folder: Path) -> dict[str, Any]:
    """Read the configurations of a model folder's tokenizer and text encoder; no weights.

    Returns:
        The text encoder's sizes, by transformers' names.

    Raises:
        CheckpointError: a file is missing, damaged, or has a value that cannot be used.
    """
    config = read_text_config(folder / "text_encoder")
    check_tokenizer_files(folder / "tokenizer", config["vocab_size"])
    return config


def _read_parts(folder: Path, headers: dict[str, Header], dtype: torch.dtype) -> tuple[Any, Any]:
    silence_torchao()
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging

    # transformers draws a bar and repeats its advice; what went wrong comes as an exception
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    part = folder / "text_encoder"
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", **local)
    with torch.device("meta"):
        empty = AutoModel.from_config(AutoConfig.from_pretrained(part, **local))
    check_text_shapes(part, empty, headers)
    model: Any
    for renamed in (None, {WRAPPED: ""}):
        more: dict[str, Any] = {"key_mapping": renamed, "output_loading_info": True}
        model, told = AutoModel.from_pretrained(part, dtype=dtype, **more, **local)
        if not told["missing_keys"]:
            break
    else:  # transformers leaves them random
        raise CheckpointError(f"{safe_text(part)} lacks {name_list(told['missing_keys'])}")
    return tokenizer, model


@contextmanager
def _errors_of_transformers(folder: Path) -> Iterator[None]:
    try:
        yield
    except SanaStreamError:
        raise
    except BaseException as error:  # its readers raise anything; a panic of Rust is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
            raise
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = safe_text((str(error).strip().splitlines() or [type(error).__name__])[0])
        raise CheckpointError(
            f"{safe_text(folder)}: the text encoder cannot be read: {reason}"
        ) from error

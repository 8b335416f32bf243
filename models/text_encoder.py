"""Text encoder: prompts to embeddings, by Gemma-2 with the published prompt preparation.

Shapes: L text tokens kept, C width of the text encoder.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from sana_stream._text import name_list, safe_text
from sana_stream.errors import CheckpointError, SanaStreamError
from sana_stream.models.pinned import pin_weights
from sana_stream.models.upload import to_device
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
    """Hide torchao's log lines about kernels that are not built for this machine.

    transformers imports torchao where it is installed, so call this before importing either.
    """
    for logger in _NOISY_LOGGERS:
        logging.getLogger(logger).setLevel(logging.ERROR)


# Prefixes that compilers and wrappers put before the names of weights; transformers removes them.
WRAPPER_PREFIX = r"^((_orig_mod|module|_fsdp_wrapped_module|_checkpoint_wrapped_module|model)\.)+"

_LOG = logging.getLogger(__name__)


class TextEncoder:
    """A tokenizer and a Gemma-2 decoder whose last hidden state is the embedding.

    With an `offload_device` the weights stay there, for CUDA in pinned memory. Each prompt is
    encoded with copies of them on `device`, which are dropped afterwards. With `lower_case` all
    prompts are converted to lower case.
    """

    def __init__(
        self,
        tokenizer: Any,
        model: Any,
        instruction: tuple[str, ...],
        max_tokens: int,
        device: torch.device,
        offload_device: torch.device | None = None,
        *,
        lower_case: bool = True,
    ) -> None:
        self._tokenizer = tokenizer
        self._model = model
        self._instruction = "\n".join(instruction)
        self._max_tokens = max_tokens
        self._device = device
        self._offload_device = offload_device
        self._lower_case = lower_case
        self._tokenizing = Lock()  # a tokenizer keeps the padding and truncation of its last call
        model.to(offload_device or device)
        if offload_device is not None and device.type == "cuda":
            _pin(model)
        tokenizer.padding_side = "right"

    @property
    def device(self) -> torch.device:
        """Device of the computation and of the embeddings."""
        return self._device

    @property
    def network(self) -> torch.nn.Module:
        """The decoder network."""
        return self._model

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the encoder and of its embeddings."""
        return self._model.dtype

    @torch.no_grad()
    def encode(self, prompt: str, *, with_instruction: bool = True) -> tuple[Tensor, Tensor]:
        """Encode one prompt (the preparation of diffusers' SanaVideoPipeline).

        The text is stripped, lowered where the model's conventions say so, and appended to the
        model's instruction. It is padded on the right to `tokens(instruction) + max_tokens - 2`.
        Of the hidden states the first and the last `max_tokens - 1` are kept. A longer text is
        truncated, with a logged warning.

        Args:
            prompt: the text; may be empty.
            with_instruction: False for a negative prompt, which has no instruction and is padded
                to `max_tokens`.

        Returns:
            Embeddings (1, L, C) and mask (1, L), int64: 1 for a token, 0 for padding.
        """
        text, length = self._with_instruction(prompt, with_instruction)
        if warning := self.unread(prompt, with_instruction=with_instruction):
            _LOG.warning(warning)
        tokens = self._tokenize(
            [text],
            padding="max_length",
            max_length=length,
            truncation=True,
            add_special_tokens=True,
            return_tensors="pt",
        )
        mask = to_device(tokens.attention_mask, self._device)
        hidden = self._hidden(to_device(tokens.input_ids, self._device), mask)
        first, last = slice(0, 1), slice(length - self._max_tokens + 1, length)
        embeds, kept = (
            torch.cat((part[:, first], part[:, last]), dim=1) for part in (hidden, mask)
        )
        return embeds, kept

    def unread(self, prompt: str, *, with_instruction: bool = True) -> str | None:
        """Describe how a prompt is truncated; `None` for one that is read completely.

        The description has the number of tokens, how many are read, and the words that follow.
        """
        text, length = self._with_instruction(prompt, with_instruction)
        if len(self._plain(prompt).encode("utf-8", "replace")) + 2 < self._max_tokens:
            return None  # no token is shorter than a byte
        with_places = bool(getattr(self._tokenizer, "is_fast", False))
        tokens = self._tokenize(
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

    def _with_instruction(self, prompt: str, with_instruction: bool) -> tuple[str, int]:
        """Return the text to encode, and the number of its tokens that are read."""
        text, length = self._plain(prompt), self._max_tokens
        if with_instruction and self._instruction:
            text = self._instruction + text
            length += len(self._tokenize(self._instruction)["input_ids"]) - 2
        return text, length

    def _tokenize(self, text: str | list[str], **options: Any) -> Any:
        with self._tokenizing:
            return self._tokenizer(text, **options)

    def _plain(self, prompt: str) -> str:
        return prompt.lower().strip() if self._lower_case else prompt.strip()

    def _hidden(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """The last hidden state of tokens (1, L): (1, L, C)."""
        if self._offload_device is None:
            return self._model(tokens, attention_mask=mask)[0]
        own = (*self._model.named_parameters(), *self._model.named_buffers())
        copies = {name: weight.to(self._device, non_blocking=True) for name, weight in own}
        return functional_call(self._model, copies, (tokens,), {"attention_mask": mask})[0]

    def tokens(self, prompt: str) -> list[int]:
        """Token numbers of the instruction and the prompt, without padding."""
        return list(self._tokenize(self._instruction + self._plain(prompt))["input_ids"])

    def named_parameters(self, prefix: str) -> Iterator[tuple[str, Tensor]]:
        """Every weight of the encoder, by its name after `prefix`."""
        return self._model.named_parameters(prefix)


def _pin(model: torch.nn.Module) -> None:
    """Move weights into pinned memory, from which copies to CUDA are fastest and do not wait."""
    try:
        pin_weights(model)
    except RuntimeError as error:
        _LOG.warning("the text encoder is not pinned in host memory, prompts are slower: %s", error)


def load_text_encoder(
    folder: Path,
    instruction: tuple[str, ...],
    max_tokens: int,
    device: torch.device,
    dtype: torch.dtype,
    offload_device: torch.device | None = None,
    *,
    lower_case: bool = True,
) -> TextEncoder:
    """Load `tokenizer/` and `text_encoder/` of a model folder.

    Args:
        instruction: lines before every prompt.
        max_tokens: tokens of a prompt, without the instruction.
        device: device of the computation.
        dtype: dtype of the weights.
        offload_device: device of the weights between two prompts; `None` keeps them on `device`.
        lower_case: convert prompts to lower case.

    Raises:
        CheckpointError: a component is missing or cannot be read.
    """
    for part in ("tokenizer", "text_encoder"):
        if not (folder / part).is_dir():
            raise CheckpointError(
                f"{safe_text(folder)} has no {part}/; a complete model folder has one"
            )
    config = check_text_files(folder)
    headers = read_text_headers(folder / "text_encoder")
    check_text_layers(folder / "text_encoder", config, headers)
    with _errors_of_transformers(folder):
        tokenizer, model = _read_parts(folder, headers, dtype)
        padded: Any = {"padding": "max_length", "max_length": 16, "truncation": True}
        # a test prompt: the tokenizer's own settings may ask its library for what it cannot do
        ids = tokenizer("a red boat", **padded).input_ids
    if not ids or not 0 <= min(ids) <= max(ids) < config["vocab_size"]:
        raise CheckpointError(
            f"{safe_text(folder)}: its tokenizer produces tokens that its text encoder lacks"
        )
    encoder = TextEncoder(
        tokenizer,
        model.eval(),
        instruction,
        max_tokens,
        device,
        offload_device,
        lower_case=lower_case,
    )
    check_finite(model, folder / "text_encoder")
    return encoder


def check_text_files(folder: Path) -> dict[str, Any]:
    """Read the configurations of a model folder's tokenizer and text encoder, without weights.

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

    # transformers shows a progress bar and advice; errors arrive as exceptions
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    part = folder / "text_encoder"
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", **local)
    with torch.device("meta"):
        empty = AutoModel.from_config(AutoConfig.from_pretrained(part, **local))
    check_text_shapes(part, empty, headers)
    model: Any
    for renamed in (None, {WRAPPER_PREFIX: ""}):
        more: dict[str, Any] = {"key_mapping": renamed, "output_loading_info": True}
        model, loading = AutoModel.from_pretrained(part, dtype=dtype, **more, **local)
        if not loading["missing_keys"]:
            break
    else:  # transformers initializes missing weights at random
        raise CheckpointError(f"{safe_text(part)} lacks {name_list(loading['missing_keys'])}")
    return tokenizer, model


@contextmanager
def _errors_of_transformers(folder: Path) -> Iterator[None]:
    try:
        yield
    except SanaStreamError:
        raise
    except BaseException as error:  # its readers raise anything; a Rust panic is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
            raise
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = safe_text((str(error).strip().splitlines() or [type(error).__name__])[0])
        raise CheckpointError(
            f"{safe_text(folder)}: the text encoder cannot be read: {reason}"
        ) from error

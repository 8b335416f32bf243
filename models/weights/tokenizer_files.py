"""Checks of the files in `tokenizer/`, before the tokenizers library reads them.

The library runs what these files name: regular expressions and templates that can run endlessly
or end the process. Only components that are linear in the length of the text are allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from sana_stream._files import require_regular_file
from sana_stream._text import safe_text
from sana_stream.errors import CheckpointError
from sana_stream.models.schema import OpenSchema, check_values

from .files import read_json

TOKENIZER_BYTES = 64 << 20  # Gemma's has 33 MiB
IDS = 1 << 22  # Gemma has 256,000 tokens
_MAX_TEXT = 1000  # characters of a token, or of what a component adds to a text
_MAX_PARTS = 64  # of a template, or components of a sequence
_Id = Annotated[int, Field(ge=0, lt=IDS)]
_Token = Annotated[str, Field(max_length=_MAX_TEXT)]

_COMPONENTS = frozenset(
    (
        *("Sequence", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Strip", "StripAccents"),
        *("Prepend", "Replace", "BertNormalizer", "ByteLevel", "Whitespace", "WhitespaceSplit"),
        *("Punctuation", "Digits", "Metaspace", "Split", "BertPreTokenizer", "UnicodeScripts"),
        *("CharDelimiterSplit", "TemplateProcessing", "BertProcessing", "RobertaProcessing"),
        *("ByteFallback", "Fuse", "WordPiece", "BPEDecoder", "CTC"),
    )
)


class _Added(OpenSchema):
    id: _Id
    content: _Token


class _Fixed(OpenSchema):
    max_length: Annotated[int, Field(ge=0, le=1 << 20)] | None = None
    strategy: Any = None
    pad_to_multiple_of: Annotated[int, Field(ge=1, le=1 << 16)] | None = None


class _Model(OpenSchema):
    type: Annotated[str, Field(pattern="^(BPE|WordLevel|WordPiece|Unigram)$")] | None = None
    vocab: (
        Annotated[dict[_Token, _Id], Field(min_length=1, max_length=IDS)]
        | Annotated[list[Any], Field(min_length=1, max_length=IDS)]
    )
    merges: Annotated[list[Any], Field(max_length=2 * IDS)] = Field([])
    unk_token: _Token | None = None
    unk_id: _Id | None = None
    dropout: Annotated[float, Field(ge=0, le=0)] | None = None  # it makes tokens random
    continuing_subword_prefix: Annotated[str, Field(max_length=16)] | None = None
    end_of_word_suffix: Annotated[str, Field(max_length=16)] | None = None


class _Tokenizer(OpenSchema):
    """`tokenizer.json`."""

    model: _Model
    added_tokens: Annotated[list[_Added], Field(max_length=100_000)] = Field([])
    truncation: _Fixed | None = None
    padding: _Fixed | None = None


class _Settings(OpenSchema):
    """`tokenizer_config.json`."""

    tokenizer_class: Annotated[str, Field(max_length=80)] | None = None
    padding_side: Annotated[str, Field(pattern="^(left|right)$")] | None = None
    model_max_length: Annotated[float, Field(ge=1)] | None = None
    auto_map: None = None  # code


def read_tokenizer(path: Path, limit: int = TOKENIZER_BYTES) -> dict[str, Any]:
    """Read a `tokenizer.json` that has known components with bounded values only.

    Raises:
        CheckpointError: it is missing, damaged, or has another component.
    """
    values = read_json(path, limit)
    check_values(_Tokenizer, values, path, CheckpointError)
    model = values["model"]
    unknown = model.get("unk_token")
    vocab = model["vocab"]
    if model.get("type") in ("WordLevel", "WordPiece") and unknown not in vocab:
        raise CheckpointError(
            f"{safe_text(path)}: model.unk_token is {safe_text(unknown, 60)}, which is not in vocab"
        )
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        _check_component(path, part, values.get(part))
    return values


def check_tokenizer_files(folder: Path, vocab_size: int) -> None:
    """Check all files of a tokenizer's folder.

    Args:
        folder: `tokenizer/` of a model folder.
        vocab_size: number of the text encoder's tokens.

    Raises:
        CheckpointError: a file is damaged, or has a value or a token that cannot be used.
    """
    check_small_files(folder)
    for path in sorted(folder.glob("*.json")):
        if path.name == "tokenizer.json":
            _check_ids(path, read_tokenizer(path), vocab_size)
        else:
            values = read_json(path, TOKENIZER_BYTES)
            if path.name == "tokenizer_config.json":
                check_values(_Settings, values, path, CheckpointError)


def check_small_files(folder: Path, limit: int = TOKENIZER_BYTES) -> None:
    """Refuse files that are not regular, or too large, before a library opens them.

    Weights files may be larger; they are checked separately.

    Raises:
        CheckpointError: names the file.
    """
    for path in sorted(folder.iterdir()):
        if path.is_dir() or path.suffix in (".safetensors", ".bin"):
            continue
        try:
            size = require_regular_file(path)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{safe_text(path)} cannot be read: {safe_text(error)}") from None
        if size > limit:
            raise CheckpointError(
                f"{safe_text(path)} has {size} bytes, at most {limit} can be read"
            )


def _check_component(path: Path, part: str, component: Any) -> None:
    if component is None:
        return
    for seen, (place, value) in enumerate(_walk(part, component)):
        kind = value.get("type", "Sequence") if isinstance(value, dict) else "Sequence"
        if not isinstance(kind, str) or kind not in _COMPONENTS:
            given = safe_text(kind, 60)
            raise _refused(path, place, f"{given}, which is not one of the known components")
        if kind == "TemplateProcessing":
            _check_template(path, place, value)
        if isinstance(value, dict) and "Regex" in value:
            raise _refused(path, place, "a regular expression, which may run endlessly")
        if isinstance(value, list) and len(value) > _MAX_PARTS:
            raise _refused(path, place, f"a list of {len(value)}; at most {_MAX_PARTS} are allowed")
        if isinstance(value, str) and len(value) > _MAX_TEXT:
            raise _refused(path, place, f"a text of {len(value)}; at most {_MAX_TEXT} are allowed")
        if isinstance(value, int) and not -IDS <= value < IDS:
            raise _refused(path, place, f"a number of {IDS} or more")
        if seen > 10_000:
            raise _refused(path, part, "more than 10000 values")
    if not isinstance(component, dict) or "type" not in component:
        raise _refused(path, part, "no component with a type")


def _check_template(path: Path, place: str, template: dict[str, Any]) -> None:
    """Check that a template lists all tokens that it names; otherwise the library panics."""
    listed = template.get("special_tokens")
    known = listed if isinstance(listed, dict) else {}
    for name, special in known.items():
        whole = isinstance(special, dict) and special.get("id") == name
        if not whole or not all(isinstance(special.get(key), list) for key in ("ids", "tokens")):
            raise _refused(path, f"{place}.special_tokens", f"without {safe_text(name, 60)}")
    for _, piece in _walk(place, [template.get("single"), template.get("pair")]):
        named = piece.get("SpecialToken") if isinstance(piece, dict) else None
        if isinstance(named, dict) and str(named.get("id")) not in known:
            given = safe_text(named.get("id"), 60)
            raise _refused(path, place, f"with {given}, which special_tokens does not list")


def _walk(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    yield place, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(f"{place}.{key}", inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(place, inner)


def _refused(path: Path, place: str, reason: str) -> CheckpointError:
    return CheckpointError(f"{safe_text(path)}: {safe_text(place, 80)} is {reason}")


def _check_ids(path: Path, values: Mapping[str, Any], vocab_size: int) -> None:
    """Check that all token numbers are rows of the text encoder's embedding table."""
    vocab = values["model"]["vocab"]
    largest = max(vocab.values()) if isinstance(vocab, dict) else len(vocab) - 1
    largest = max(largest, *(added["id"] for added in values.get("added_tokens") or ()), 0)
    for special in _special_tokens(values.get("post_processor")):
        largest = max(largest, *(i for i in special if isinstance(i, int)), 0)
    if largest >= vocab_size:
        raise CheckpointError(
            f"{safe_text(path)} has a token of number {largest}; the text encoder's vocab_size is"
            f" {vocab_size}"
        )


def _special_tokens(template: Any) -> Iterator[list[Any]]:
    for _, value in _walk("", template):
        if isinstance(value, dict) and isinstance(value.get("ids"), list):
            yield value["ids"]

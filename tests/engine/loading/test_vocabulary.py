"""The words that a small model knows, as its own tokenizer file has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE

from sana_stream.engine.loading.inspect import inspect_model
from sana_stream.engine.loading.vocabulary import Vocabulary

from ...tiny_model import WORDS


def test_words_are_those_of_the_tokenizer(tiny_folder: Path):
    vocabulary = Vocabulary.read(tiny_folder)
    assert vocabulary is not None
    assert vocabulary.words == set(WORDS.split())
    assert inspect_model(tiny_folder).vocabulary == vocabulary


def test_the_embedded_model_knows_its_world():
    vocabulary = inspect_model("pocket").vocabulary
    assert vocabulary is not None
    assert {"boat", "train", "red", "sunset", "snow", "fox"} <= set(vocabulary.content_words)
    assert {"a", "the", "over"} <= vocabulary.words - set(vocabulary.content_words)
    assert vocabulary.unknown("A red Zeppelin, over the fjord: zeppelin!") == ["zeppelin", "fjord"]


@pytest.mark.parametrize(
    ("prompt", "nothing"),
    [
        ("a red zeppelin", False),
        ("NIGHT.", False),
        ("a zeppelin over the fjord", True),
        ("the", True),
        ("", True),
        ("ein rotes Boot", True),
    ],
)
def test_a_prompt_without_a_known_word_is_found(tiny_folder: Path, prompt: str, nothing: bool):
    vocabulary = Vocabulary.read(tiny_folder)
    assert vocabulary is not None
    assert vocabulary.knows_no_word_of(prompt) == nothing


def test_a_tokenizer_of_parts_of_words_knows_every_word(tmp_path: Path):
    (tmp_path / "tokenizer").mkdir()
    Tokenizer(BPE(vocab={"a": 0, "b": 1}, merges=[])).save(
        str(tmp_path / "tokenizer/tokenizer.json")
    )
    assert Vocabulary.read(tmp_path) is None
    assert Vocabulary.read(tmp_path / "none") is None


def test_a_large_tokenizer_is_not_read(tiny_folder: Path, tmp_path: Path):
    source = json.loads((tiny_folder / "tokenizer/tokenizer.json").read_text())
    source["padding"] = "x" * (1 << 20)
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/tokenizer.json").write_text(json.dumps(source))
    assert Vocabulary.read(tmp_path) is None

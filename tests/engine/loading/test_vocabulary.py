"""The vocabulary of a small model, read from its tokenizer file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE

from sana_stream.engine.loading.inspect import inspect_model
from sana_stream.engine.loading.vocabulary import Vocabulary
from sana_stream.errors import CheckpointError

from ...tiny_model import WORDS


def test_vocabulary_equals_the_tokenizer(tiny_folder: Path):
    vocabulary = Vocabulary.read(tiny_folder)
    assert vocabulary is not None
    assert vocabulary.words == set(WORDS.split())
    assert inspect_model(tiny_folder).vocabulary == vocabulary


def test_embedded_model_vocabulary():
    vocabulary = inspect_model("pocket").vocabulary
    assert vocabulary is not None
    assert {"boat", "train", "red", "sunset", "snow", "fox"} <= set(vocabulary.content_words)
    assert {"a", "the", "over"} <= vocabulary.words - set(vocabulary.content_words)
    assert vocabulary.unknown("A red Submarine, in the fjord: submarine!") == ["submarine", "fjord"]


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
def test_prompt_without_a_known_word_is_detected(tiny_folder: Path, prompt: str, nothing: bool):
    vocabulary = Vocabulary.read(tiny_folder)
    assert vocabulary is not None
    assert vocabulary.knows_no_word_of(prompt) == nothing


def test_subword_tokenizer_has_no_vocabulary(tmp_path: Path):
    (tmp_path / "tokenizer").mkdir()
    Tokenizer(BPE(vocab={"a": 0, "b": 1}, merges=[])).save(
        str(tmp_path / "tokenizer/tokenizer.json")
    )
    assert Vocabulary.read(tmp_path) is None
    assert Vocabulary.read(tmp_path / "none") is None


def test_large_tokenizer_is_not_read(tiny_folder: Path, tmp_path: Path):
    source = json.loads((tiny_folder / "tokenizer/tokenizer.json").read_text())
    source["padding"] = "x" * (1 << 20)
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/tokenizer.json").write_text(json.dumps(source))
    assert Vocabulary.read(tmp_path) is None


def with_topics(tiny_folder: Path, folder: Path, text: str) -> Path:
    """Copy the tokenizer and write a `vocabulary.json`."""
    shutil.copytree(tiny_folder / "tokenizer", folder / "tokenizer")
    (folder / "vocabulary.json").write_text(text)
    return folder


def test_topics_hold_known_phrases_and_the_rest_is_other_words(tiny_folder: Path, tmp_path: Path):
    topics = {
        "subjects": ["red boat", "blue zeppelin", "train"],
        "empty": [],
        "strange": ["zeppelin"],
        "time of day": ["night falls"],
    }
    folder = with_topics(tiny_folder, tmp_path, json.dumps({"topics": topics, "later": 1}))
    vocabulary = Vocabulary.read(folder)
    assert vocabulary is not None
    found = vocabulary.by_topic
    assert found["subjects"] == ["red boat", "train"]
    assert list(found) == ["subjects", "time of day", "other words"]
    words = [word for phrases in found.values() for phrase in phrases for word in phrase.split()]
    assert sorted(words) == vocabulary.content_words
    without = Vocabulary.read(tiny_folder)
    assert without is not None
    assert without.by_topic == {}


def test_topics_of_the_embedded_model_cover_its_vocabulary():
    vocabulary = inspect_model("pocket").vocabulary
    assert vocabulary is not None
    found = vocabulary.by_topic
    assert {"subjects", "colours", "places", "weather", "time of day"} <= set(found)
    phrases = [phrase for each in found.values() for phrase in each]
    assert set(vocabulary.content_words) <= {word for each in phrases for word in each.split()}
    assert not any(vocabulary.unknown(phrase) for phrase in phrases)
    assert len(found["other words"]) < len(vocabulary.content_words) / 4


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"topics": ["a"]}',
        '{"topics": {"a": "boat"}}',
        '{"topics": {"a": [1]}}',
        '{"topics": {"": ["boat"]}}',
        json.dumps({"topics": {"a": ["boat " * 30]}}),
        json.dumps({"topics": {str(n): [] for n in range(51)}}),
        " " * (1 << 20) + "{}",
    ],
)
def test_unusable_topics_are_refused_by_name(tiny_folder: Path, tmp_path: Path, text: str):
    with pytest.raises(CheckpointError, match=r"vocabulary\.json") as refused:
        Vocabulary.read(with_topics(tiny_folder, tmp_path, text))
    assert "\n" not in str(refused.value)

"""Captions name what the scene shows, in words of the tokenizer's vocabulary."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from storybook.captions import caption
from storybook.words import (
    COLOUR_WORDS,
    PLACE_WORDS,
    SUBJECT_WORDS,
    TIME_WORDS,
    WEATHER_WORDS,
    synonyms,
    vocabulary,
)
from storybook.world import ATTRIBUTES, completed, draw_scene
from training.text import build_tokenizer

TABLES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "time": TIME_WORDS,
    "place": PLACE_WORDS,
    "weather": WEATHER_WORDS,
    "subject": SUBJECT_WORDS,
    "colour": COLOUR_WORDS,
}


def test_attribute_values_share_no_phrase() -> None:
    for name, table in TABLES.items():
        for value, phrases in table.items():
            others = {p for other, ps in table.items() if other != value for p in ps}
            assert not others & set(phrases), (name, value)


def test_full_caption_names_every_attribute() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        scene = draw_scene(rng)
        text = f" {caption(scene, rng, full=True)} "
        for name in ATTRIBUTES:
            phrases = TABLES[name][getattr(scene, name)]
            heads = [p.split(" ", 1)[-1] for p in phrases]  # lists drop a leading preposition
            assert any(f" {p} " in text for p in (*phrases, *heads)), (name, scene, text)


def test_captions_of_few_words_leave_out_what_follows_from_the_rest() -> None:
    rng = np.random.default_rng(2)
    seen = {"boat": 0, "none": 0}
    for _ in range(400):
        scene = completed({"place": "sea", "time": "night"})
        text = f" {caption(scene, rng)} "
        named = any(f" {p} " in text for p in SUBJECT_WORDS["boat"])
        assert named or any(f" {p} " in text for p in PLACE_WORDS["sea"]), text
        seen["boat" if named else "none"] += 1
    assert min(seen.values()) > 50


def test_synonyms_name_one_value() -> None:
    words = synonyms()
    wanted = {"ship": "boat", "beach": "sea", "city": "town", "evening": "sunset"}
    assert {word: words[word] for word in wanted} == wanted
    assert not {"a", "the", ",", "with", "on"} & set(words)


def test_caption_uses_vocabulary_only() -> None:
    rng = np.random.default_rng(1)
    known = set(vocabulary())
    for _ in range(300):
        assert set(caption(draw_scene(rng), rng, full=True).split()) <= known


def test_tokenizer_maps_unknown_words_to_unk() -> None:
    tokenizer = build_tokenizer()
    tokenizer.no_padding()
    tokens = tokenizer.encode("A Red boat, zorblax!").tokens
    assert tokens == ["<bos>", "a", "red", "boat", ",", "<unk>", "!"]
    assert len(set(vocabulary())) == tokenizer.get_vocab_size() - 4

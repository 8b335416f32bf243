"""The notation of prompts: blends over blocks and prompts at weights."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_stream._prompts import (
    add_suffix,
    escape_blend,
    parse_mix,
    prompt_texts,
    remove_suffix,
    split_blend,
)

SUFFIX = " motion score: 30."


@given(st.text("\\~ 2sb.", max_size=8).map(str.strip))
def test_escaped_prompts_are_read_as_they_are(prompt: str):
    assert split_blend(escape_blend(prompt)) == (0, prompt)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("~2 night falls", (2, "night falls")),
        ("~0 night", (0, "night")),
        ("~1000\tnight", (1000, "night")),
        ("~20", (20, "")),
        ("~twenty people", (0, "~twenty people")),
        ("~2nd street", (0, "~2nd street")),
        ("a ~2 b", (0, "a ~2 b")),
    ],
)
def test_blocks_before_a_prompt(text: str, found: tuple[int, str]):
    assert split_blend(text) == found


@pytest.mark.parametrize("text", ["~2s night", "~1.5 night", "~1001 night", "~ 2 night", "~3s"])
def test_what_is_no_number_of_blocks_is_refused(text: str):
    with pytest.raises(ValueError, match=r"write ~2, at most ~1000 \(if it is text, put \\ in"):
        split_blend(text)


@pytest.mark.parametrize(
    ("prompt", "mix"),
    [
        ("a boat :0.7 | a train :0.3", (("a boat", 0.7), ("a train", 0.3))),
        ("a boat:.5|a train:.5", (("a boat", 0.5), ("a train", 0.5))),
        ("a: b :1 | c :0", (("a: b", 1.0),)),
        ("a :.25 | b :.5 | a :.25", (("a", 0.5), ("b", 0.5))),
        ("the 9:30 train | rain", (("the 9:30 train | rain", 1.0),)),
        ("score: 30 | rain", (("score: 30 | rain", 1.0),)),
        ("a boat :0.7", (("a boat :0.7", 1.0),)),
    ],
)
def test_weights(prompt: str, mix: tuple[tuple[str, float], ...]):
    assert parse_mix(prompt) == mix
    long = add_suffix(prompt, SUFFIX)
    assert all(text.endswith(SUFFIX) for text in prompt_texts(long))
    assert remove_suffix(long, SUFFIX) == prompt
    assert [share for _, share in parse_mix(long)] == [share for _, share in mix]


def test_rounded_weights_are_scaled_to_1():
    shares = [share for _, share in parse_mix("a :.33 | b :.33 | c :.33")]
    assert shares == pytest.approx([1 / 3] * 3)

"""Untrusted text and JSON: sanitised for printing, bounded before parsing."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_stream._files import parse_json, read_bounded
from sana_stream._text import safe_text


@given(st.text(st.characters(), max_size=3000), st.integers(16, 300))
def test_terminal_control_characters_are_removed(text: str, limit: int):
    shown = safe_text(text, limit)
    assert len(shown) <= limit
    assert all(character.isprintable() for character in shown)
    shown.encode()  # no lone surrogate is left


@given(st.text(st.characters(categories=["L", "N", "P"]), max_size=100))
def test_ordinary_text_is_unchanged(text: str):
    assert safe_text(text) == text


def test_long_path_keeps_its_file_name():
    assert safe_text("/very/long" * 100 + "/film.mp4", 60).endswith("/film.mp4")


def test_text_of_megabytes_is_shortened_quickly():
    begun = time.process_time()
    safe_text("\x1b[2J" * 10_000_000)
    assert time.process_time() - begun < 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)  # fmt: skip


@given(JSON)
def test_json_within_limits_equals_standard_library(value: object):
    text = json.dumps(value)
    assert parse_json(text) == json.loads(text)
    assert parse_json(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, '"' + '\\"' * 500_000, "NaN", "-Infinity", "9" * 5000,
     "[1,", "", b"\xff\xfe", '{"a": 1e}'],
)  # fmt: skip
def test_hostile_json_raises_value_error_quickly(text: str | bytes):
    begun = time.process_time()
    with pytest.raises(ValueError):  # noqa: PT011 - every kind of it, RecursionError is none
        parse_json(text)
    assert time.process_time() - begun < 2


def test_brackets_inside_strings_are_not_counted():
    assert parse_json(json.dumps("[" * 1000 + '"\\')) == "[" * 1000 + '"\\'


def test_only_small_regular_files_are_read(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match="not a regular file"):
        read_bounded(pipe, 10)
    with pytest.raises(ValueError, match="not a regular file"):
        read_bounded(tmp_path, 10)
    file = tmp_path / "file"
    file.write_bytes(b"x" * 11)
    with pytest.raises(ValueError, match="at most 10"):
        read_bounded(file, 10)
    assert read_bounded(file, 11) == b"x" * 11

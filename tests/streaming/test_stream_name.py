"""The names of the files of streams."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.streaming.stream_name import FILM_NAME, stream_name, stream_of


@given(st.integers(1, 10**9 - 1))
def test_a_name_has_its_id(stream_id: int) -> None:
    assert stream_of(stream_name(stream_id)) == stream_id
    assert re.fullmatch(FILM_NAME, stream_name(stream_id, ".mp4"))


@pytest.mark.parametrize(
    "name", ["", "stream-", "stream-003", "stream-0003.mp4", "stream-٠٠٠٣", "a-stream-0003"]
)
def test_other_names_are_of_no_stream(name: str) -> None:
    assert stream_of(name) is None
    assert not re.search(FILM_NAME, f"{name}.mkv")

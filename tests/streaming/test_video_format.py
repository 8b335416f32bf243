"""Frames a second: broadcast rates are what they stand for, and files keep every rate."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sana_stream.cli import argument_types
from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.containers.registry import create_muxer
from sana_stream.streaming.video_format import (
    FINEST,
    LEAST,
    MOST,
    StreamSpec,
    VideoFormat,
    rate_of,
    read_rate,
)

from .blocks import HEIGHT, WIDTH, blocks

BROADCAST = (12, 15, 24, 30, 48, 60, 72, 90, 96, 120, 144, 240)


@pytest.mark.parametrize("whole", BROADCAST)
@pytest.mark.parametrize("digits", [3, 4, 5, 6, 9, 12])
def test_a_rounded_broadcast_rate_is_its_fraction(whole: int, digits: int) -> None:
    exact = Fraction(whole * 1000, 1001)
    text = f"{float(exact):.{digits}f}"
    assert argument_types.rate(text) == rate_of(float(text)) == exact
    assert VideoFormat(WIDTH, HEIGHT, float(text)).rate == exact
    assert rate_of(whole * 1000 / 1001) == exact


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("23.98", Fraction(24000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        ("29.970000", Fraction(30000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("14.985", Fraction(15000, 1001)),
        ("24/1.001", Fraction(24000, 1001)),
        ("30000/1001", Fraction(30000, 1001)),
        ("25", Fraction(25)),
        ("12.5", Fraction(25, 2)),
        ("23.97", Fraction(2397, 100)),
        ("24.98", Fraction(2498, 100)),
        ("29.5", Fraction(59, 2)),
        ("16.667", Fraction(16667, 1000)),
    ],
)
def test_what_is_written_and_what_it_stands_for(text: str, rate: Fraction) -> None:
    assert read_rate(text) == rate


@given(st.text(max_size=30))
@example("1e999999999")
@example("9" * 5000)
@example("1/0")
@example("nan")
def test_any_text_is_a_rate_or_none(text: str) -> None:
    rate = read_rate(text)
    assert rate is None or rate >= 0


RATES = st.one_of(
    st.sampled_from([Fraction(n * 1000, 1001) for n in BROADCAST]),
    st.integers(1, 240).map(Fraction),
    st.fractions(Fraction(1, 10), 240, max_denominator=1001),
)
TICK = {  # seconds to which a container rounds times, and the rate that a reader makes of it
    "mp4": (Fraction(0), Fraction(0)),
    "mov": (Fraction(0), Fraction(0)),
    "matroska": (Fraction(1, 1000), Fraction(1, 10**4)),
    "webm": (Fraction(1, 1000), Fraction(1, 10**4)),
    "mpegts": (Fraction(1, 90_000), Fraction(2, 100)),
    "nut": (Fraction(1, 1000), Fraction(2, 100)),
}


@settings(max_examples=8)
@given(RATES)
@example(Fraction(60000, 1001))
@example(Fraction(99991, 99989))
@pytest.mark.parametrize("container", TICK)
def test_a_file_keeps_the_rate_and_the_time_of_every_frame(container: str, rate: Fraction) -> None:
    muxer = create_muxer(container, StreamSpec(VideoFormat(WIDTH, HEIGHT, rate)))
    file = io.BytesIO()
    file.write(muxer.header())
    for block in blocks(2, size=4):
        file.write(muxer.add(block))
    muxer.finish(file)
    file.seek(0)
    with av.open(file, "r") as read:
        stream = read.streams.video[0]
        found = stream.average_rate
        times = [Fraction(f.pts or 0) * Fraction(f.time_base or 0) for f in read.decode(video=0)]
    tick, loose = TICK[container]
    assert found is not None
    assert abs(found - rate) <= rate * loose
    assert len(times) == 9
    for number, time in enumerate(times):
        assert abs((time - times[0]) - number / rate) <= tick


def test_a_stream_without_container_names_its_exact_rate() -> None:
    header = create_muxer("y4m", StreamSpec(VideoFormat(WIDTH, HEIGHT, 29.97))).header()
    assert b" F30000:1001 " in bytes(header)


@pytest.mark.parametrize(
    "rate", [0, -1, 1001, float("nan"), float("inf"), 1e-9, True, "16", None, Fraction(1, 10**6)]
)
def test_rates_that_no_output_holds(rate: object) -> None:
    with pytest.raises(InvalidOutputError, match=r"fps|frames a second"):
        VideoFormat(WIDTH, HEIGHT, rate)  # type: ignore[arg-type]


def test_a_fraction_finer_than_containers_keep_names_the_nearest() -> None:
    with pytest.raises(InvalidOutputError, match=f"denominator of at most {FINEST}; "):
        VideoFormat(WIDTH, HEIGHT, Fraction(16_000_001, 1_000_000))
    assert LEAST < 1 < MOST

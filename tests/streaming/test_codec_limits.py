"""What encoders take: tried in processes of their own, since one may break off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.codec_limits import LIMITS
from sana_stream.streaming.containers.registry import CONTAINERS, create_muxer
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.outputs.options import OutputOptions
from sana_stream.streaming.video_format import (
    EncoderSettings,
    Metadata,
    StreamSpec,
    VideoFormat,
    check_limits,
)

HOMES = {
    **{"h264": "mp4", "h265": "mp4", "av1": "mp4", "vp9": "webm", "ffv1": "matroska"},
    **{"prores": "mov", "dnxhr": "mov"},
}

# makes and reads back streams of three blocks; glibc looks after every piece of memory
TRIAL = """
import io, json, sys
import av, numpy as np
from types import SimpleNamespace
from sana_stream.streaming.containers.registry import create_muxer
from sana_stream.streaming.video_format import EncoderSettings, StreamSpec, VideoFormat

noise = np.random.default_rng(0)
codec, container = sys.argv[1:3]
for width, height, fps, crf, preset in json.loads(sys.argv[3]):
    print(width, height, fps, crf, preset, flush=True)
    encoder, video = EncoderSettings(codec, crf, preset), VideoFormat(width, height, fps)
    muxer, file, start = create_muxer(container, StreamSpec(video, encoder)), io.BytesIO(), 0
    file.write(muxer.header())
    for count in (5, 4, 1):
        frames = noise.integers(0, 255, (count, video.height, video.width, 3), dtype=np.uint8)
        file.write(muxer.add(SimpleNamespace(start=start, frames=frames, prompt="")))
        start += count
    muxer.finish(file)
    file.seek(0)
    with av.open(file) as read:
        assert sum(1 for _ in read.decode(video=0)) == 10
"""
Case = tuple[int, int, int, int | None, str | None]


def try_encoder(codec: str, cases: list[Case]) -> None:
    """Make such streams in a process of their own, which names the one that it fails at."""
    watched = {"MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
    ended = subprocess.run(
        [sys.executable, "-c", TRIAL, codec, HOMES[codec], json.dumps(cases)],
        env=os.environ | watched,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout.splitlines()[-1:]}: {ended.stderr[-300:]}"


@pytest.mark.parametrize("codec", LIMITS)
def test_an_encoder_takes_what_its_limits_say(codec: str) -> None:
    limits = LIMITS[codec]
    width, height = limits.smallest
    presets = limits.presets or (None,)
    plain = max(64, width), max(64, height)
    sizes = ((width, height), (width, 800), (800, height), (width + 2, height + 2))
    sizes += ((plain[0] + 34, plain[1] + 2),)
    cases: list[Case] = [(*size, 16, None, None) for size in sizes]
    cases += [(*plain, limits.fastest, None, None), (*plain, 16, limits.crf, presets[0])]
    cases += [(*plain, 16, 0 if limits.crf else None, presets[-1])]
    try_encoder(codec, cases)


@pytest.mark.parametrize(
    ("codec", "size", "message"),
    [
        ("h265", (48, 32), "48x32 is too small .* from 64x64; use another codec .h264"),
        ("h265", (62, 400), "62x400 is too small"),
        ("av1", (16, 200), "16x200 is too small"),
        ("av1", (64, 16384), "64x16384 is too large .* at most 16384x8704; use another codec"),
        ("h264", (16386, 64), "16386x64 is too large .*; use another size"),
    ],
)
def test_a_size_that_an_encoder_does_not_take(
    codec: str, size: tuple[int, int], message: str
) -> None:
    with pytest.raises(InvalidOutputError, match=f"codec {codec}: {message}"):
        create_muxer(HOMES[codec], StreamSpec(VideoFormat(*size, 16), EncoderSettings(codec)))


def test_a_rate_that_an_encoder_does_not_take() -> None:
    with pytest.raises(InvalidOutputError, match=r"241 frames a second are too many .* takes 240"):
        create_muxer("mp4", StreamSpec(VideoFormat(64, 64, 241), EncoderSettings("av1")))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "live.m3u8"])
def test_nothing_is_written_for_what_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidOutputError, match="h265: 48x32 is too small"):
        open_output(
            str(tmp_path / name), StreamSpec(VideoFormat(48, 32, 16), EncoderSettings("h265"))
        )
    assert list(tmp_path.iterdir()) == []


def test_a_playlist_takes_the_codecs_of_its_container(tmp_path: Path) -> None:
    with pytest.raises(InvalidOutputError, match="codec 'ffv1': mp4 takes h264, h265, av1, vp9"):
        open_output(
            str(tmp_path / "live.m3u8"),
            StreamSpec(VideoFormat(96, 64, 16), EncoderSettings("ffv1")),
        )


@settings(max_examples=40)
@given(
    st.sampled_from([(name, codec) for name, kind in CONTAINERS.items() for codec in kind.codecs]),
    st.integers(1, 60).map(lambda n: 2 * n),
    st.integers(1, 60).map(lambda n: 2 * n),
)
@example(("mp4", "h264"), 2, 2)
def test_a_header_comes_or_a_refusal(home: tuple[str, str], width: int, height: int) -> None:
    container, codec = home
    video = VideoFormat(width, height, 16)
    try:
        check_limits(codec, video)
    except InvalidOutputError:
        with pytest.raises(InvalidOutputError):
            create_muxer(container, StreamSpec(video, EncoderSettings(codec)))
    else:
        header = create_muxer(container, StreamSpec(video, EncoderSettings(codec))).header()
        assert header or container == "mpegts"  # which begins with its first packet


def test_tags_hold_any_text() -> None:
    tags = Metadata("caf\udce9\x00.mp4", ("a\x00b", "\ud800"), 2**63 - 1)
    assert all("\x00" not in text for text in tags.as_dict().values())
    assert create_muxer("mp4", StreamSpec(VideoFormat(64, 64, 16), metadata=tags)).header()


@pytest.mark.parametrize(
    "given",
    [
        {"codec": 5}, {"crf": "18"}, {"crf": True}, {"crf": 1.5}, {"preset": 3}, {"nvenc": 1},
        {"codec": ["h264"]}, {"codec": "h264", "crf": 10**400}, {"codec": "h264", "crf": -1},
        {"codec": "\x1b[2J"}, {"codec": "h264", "preset": "\udcff" * 5000},
    ],
)  # fmt: skip
def test_encodings_of_another_kind(given: dict[str, object]) -> None:
    with pytest.raises(InvalidOutputError) as error:
        EncoderSettings(**given)  # type: ignore[arg-type]
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "given",
    [
        {"target": None}, {"target": ""}, {"target": " "}, {"target": "a\x00.mp4"}, {"target": "."},
        {"target": b"a.mp4"}, {"target": 5}, {"spec": VideoFormat(64, 64, 16)}, {"options": 5},
        {"stop": True}, {"stdout": "1"},
    ],
)  # fmt: skip
def test_outputs_asked_for_with_values_of_another_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, object]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: dict[str, object] = {"target": "a.mp4", "spec": StreamSpec(VideoFormat(64, 64, 16))}
    with pytest.raises(InvalidOutputError) as error:
        open_output(**(asked | given))  # type: ignore[arg-type]
    assert next(iter(given)) in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "given",
    [
        {"container": 5}, {"overwrite": "yes"}, {"resume_frames": -1}, {"resume_frames": 1.0},
        {"resume_frames": True}, {"segment_seconds": float("nan")}, {"segment_seconds": "90s"},
        {"window": 2.5}, {"window": True}, {"captions": 5}, {"sole_output": 1},
    ],
)  # fmt: skip
def test_options_of_another_kind(given: dict[str, object]) -> None:
    with pytest.raises(InvalidOutputError, match=next(iter(given))):
        OutputOptions(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given", [{"video": (64, 64, 16)}, {"encoder": "h264"}, {"metadata": "title"}]
)
def test_specs_of_another_kind(given: dict[str, object]) -> None:
    with pytest.raises(InvalidOutputError, match=next(iter(given))):
        StreamSpec(**({"video": VideoFormat(64, 64, 16)} | given))  # type: ignore[arg-type]


def test_a_size_of_numpy_is_a_size() -> None:
    video = VideoFormat(np.int64(96), np.int32(64), np.float32(29.97))  # type: ignore[arg-type]
    assert (video.width, video.height, video.rate) == (96, 64, VideoFormat(2, 2, 29.97).rate)
    assert type(video.width) is int

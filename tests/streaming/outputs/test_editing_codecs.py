"""Codecs of editors: ProRes and DNxHR in QuickTime files, and ten bits."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from sana_stream.errors import InvalidOutputError
from sana_stream.streaming import EncoderSettings, OutputOptions, StreamSpec, VideoFormat
from sana_stream.streaming.outputs.open import open_output

from ...command import run
from ..blocks import make_block

VIDEO = VideoFormat(256, 120, 24)


def block(start: int, count: int = 4):
    """Frames of a smooth ramp, which eight bits of YUV cannot hold exactly."""
    ramp = np.linspace(40, 200, 256, dtype=np.float32)[None, :, None] + np.zeros((120, 1, 3))
    frames = np.stack([(ramp + number).astype(np.uint8) for number in range(start, start + count)])
    made = make_block(0, start, 1)
    return type(made)(made.index, start, frames, made.latents, made.prompt, made.stats)


def write(path: Path, encoder: EncoderSettings, resume: int = 0, until: int = 12) -> None:
    output = open_output(
        path, StreamSpec(VIDEO, encoder), OutputOptions(resume_frames=resume, overwrite=True)
    )
    for start in range(resume, until, 4):
        output.write(block(start))
    output.close()


@pytest.mark.parametrize(
    ("name", "encoder", "codec", "pixels", "tag"),
    [
        ("a.mov", EncoderSettings("prores"), "prores", "yuv422p10le", "apch"),
        ("a.mov", EncoderSettings("prores", preset="proxy"), "prores", "yuv422p10le", "apco"),
        ("a.mov", EncoderSettings("dnxhr"), "dnxhd", "yuv422p10le", "AVdh"),
        ("a.mov", EncoderSettings("dnxhr", preset="sq"), "dnxhd", "yuv422p", "AVdh"),
        ("a.mov", EncoderSettings("h265", bit_depth=10), "hevc", "yuv420p10le", "hvc1"),
        ("a.mp4", EncoderSettings("h265", bit_depth=10), "hevc", "yuv420p10le", "hvc1"),
        ("a.ts", EncoderSettings("h265", bit_depth=10), "hevc", "yuv420p10le", None),
        ("a.mkv", EncoderSettings("av1", bit_depth=10), "av1", "yuv420p10le", None),
        ("a.webm", EncoderSettings("av1", bit_depth=10), "av1", "yuv420p10le", None),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_file_has_the_codec_and_plays(
    tmp_path: Path, name: str, encoder: EncoderSettings, codec: str, pixels: str, tag: str | None
):
    write(path := tmp_path / name, encoder)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert stream.codec_context.codec.canonical_name == codec
        assert stream.codec_context.pix_fmt == pixels
        assert stream.codec_context.colorspace == 1
        assert tag is None or stream.codec_context.codec_tag == tag
        assert stream.average_rate == 24
    assert len(frames) == 12
    expected = np.concatenate([block(start).frames for start in (0, 4, 8)])
    assert np.abs(np.stack(frames).astype(int) - expected).mean() < 2


@pytest.mark.parametrize("codec", ["prores", "dnxhr"])
def test_resumed_file_equals_an_undisturbed_one(tmp_path: Path, codec: str):
    whole, cut = tmp_path / "whole.mov", tmp_path / "cut.mov"
    write(whole, EncoderSettings(codec))
    write(cut, EncoderSettings(codec), until=8)
    write(cut, EncoderSettings(codec), resume=4)
    assert cut.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (("h264", None, None, False, 10), r"bit_depth 10: h264 takes 8; use another codec \(h265"),
        (("prores", None, None, False, 8), r"bit_depth 8: prores takes 10; use another codec"),
        (("dnxhr", None, "hq", False, 10), r"bit_depth 10: dnxhr with preset hq takes 8"),
        (("h265", None, None, False, 12), r"bit_depth 12: h265 takes 8 or 10$"),
        (("prores", 20, None, False, None), "crf 20: leave it out for prores: its preset decides"),
        (("prores", None, "4444", False, None), "preset '4444': prores takes proxy, lt, standard"),
        (("prores", None, None, True, None), "NVIDIA GPUs encode h264, h265, av1"),
    ],
)
def test_settings_that_a_codec_does_not_take(encoder: tuple[object, ...], message: str):
    with pytest.raises(InvalidOutputError, match=message):
        EncoderSettings(*encoder)  # type: ignore[arg-type]


def test_codecs_of_editors_need_a_quicktime_file(tmp_path: Path):
    with pytest.raises(InvalidOutputError, match="'prores': mp4 takes h264, h265, av1, vp9"):
        open_output(tmp_path / "a.mp4", StreamSpec(VIDEO, EncoderSettings("prores")))


def test_command_line_writes_prores_and_refuses_what_does_not_fit(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str]
):
    words = ("--prompt", "a fox", "--frames", "9", "--codec", "prores", "--preset", "lt")
    assert run(*words, "--out", "a.mov", *tiny) == 0
    with av.open("a.mov") as container:
        assert container.streams.video[0].codec_context.codec_tag == "apcs"
    capfd.readouterr()
    assert run(*words, "--bit-depth", "8", "--out", "b.mov", *tiny) == 2
    assert "bit_depth 8: prores takes 10" in capfd.readouterr().err
    assert not Path("b.mov").exists()

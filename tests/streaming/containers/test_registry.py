"""What the settings of an output refuse, and how they say it."""

from __future__ import annotations

import pytest

from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.containers.registry import CONTAINERS, create_muxer, resolve_encoder
from sana_stream.streaming.video_format import EncoderSettings, Metadata, StreamSpec, VideoFormat

VIDEO = VideoFormat(256, 128, 16)  # not too small for any encoder


@pytest.mark.parametrize(
    ("width", "height", "nearest"), [(97, 64, 96), (96, 1, 2), (0, 64, 2), (96, -5, 2)]
)
def test_sizes_that_video_cannot_have_are_refused_with_the_nearest(
    width: int, height: int, nearest: int
) -> None:
    with pytest.raises(
        InvalidOutputError, match=rf"even number of pixels; {nearest} is the nearest$"
    ):
        VideoFormat(width, height, 16)


@pytest.mark.parametrize(
    ("codec", "crf", "preset", "message"),
    [
        (
            "mpeg1",
            None,
            None,
            "codec 'mpeg1': use one of h264, h265, av1, vp9, ffv1, prores, dnxhr",
        ),
        ("h264", 52, None, "crf 52: h264 takes 0 to 51"),
        ("ffv1", 3, None, "crf 3: leave it out for ffv1: it is lossless"),
        ("vp9", None, "fast", "preset 'fast': vp9 takes 0, 1, 2, 3, 4, 5, 6, 7, 8"),
    ],
)
def test_encodings_that_a_codec_does_not_take(
    codec: str, crf: int | None, preset: str | None, message: str
) -> None:
    with pytest.raises(InvalidOutputError) as error:
        EncoderSettings(codec, crf, preset)
    assert str(error.value) == message


def test_the_container_chooses_the_codec_and_then_checks_it() -> None:
    assert resolve_encoder("webm", EncoderSettings()).codec == "vp9"
    assert resolve_encoder("mp4", EncoderSettings("h265")).codec == "h265"
    with pytest.raises(InvalidOutputError, match="preset 'veryfast': vp9 takes"):
        resolve_encoder("webm", EncoderSettings(preset="veryfast"))
    with pytest.raises(InvalidOutputError, match="codec 'vp9': mov takes h264, h265"):
        resolve_encoder("mov", EncoderSettings("vp9"))
    with pytest.raises(InvalidOutputError, match="container 'ogg': use one of mp4, "):
        resolve_encoder("ogg", EncoderSettings())
    with pytest.raises(InvalidOutputError, match="y4m is not compressed"):
        resolve_encoder("y4m", EncoderSettings(crf=3))


@pytest.mark.parametrize("container", CONTAINERS)
def test_no_option_is_unknown_to_the_container_or_the_encoder(
    container: str, caplog: pytest.LogCaptureFixture
) -> None:
    for codec in CONTAINERS[container].codecs or (None,):
        create_muxer(container, StreamSpec(VIDEO, EncoderSettings(codec), Metadata("t"))).header()
    assert "not used" not in caplog.text

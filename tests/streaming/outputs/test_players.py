"""The lines that put a stream into other programs, as a shell runs them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import av
import pytest

from ...programs import need
from ..blocks import number_of

PRODUCER = f"{sys.executable} {Path(__file__).parents[1] / 'frame_producer.py'} --blocks 2 --out -"
RAW = "-f rawvideo -pixel_format rgb24 -video_size 96x64 -framerate 16"

PROGRAMS = ("tee", "ffmpeg", "ffplay", "mpv")
LINES = {
    "ffmpeg": "{producer} --format y4m | ffmpeg -v error -i - -c:v ffv1 {out}",
    "ffmpeg, copied": "{producer} --format mpegts | ffmpeg -v error -i - -c copy {out}",
    "ffmpeg, raw": "{producer} --format rawvideo | ffmpeg -v error "
    + RAW
    + " -i - -c:v ffv1 {out}",
    "tee": "{producer} | tee {out} | ffmpeg -v error -i - -f null -",
    "ffplay": "{producer} | tee {out} | ffplay -v error -autoexit -i -",
    "mpv": "{producer} | tee {out} | mpv --no-config --vo=null --really-quiet -",
}


pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(os.name != "posix", reason="lines for a POSIX shell"),
]


@pytest.mark.parametrize("name", LINES)
def test_a_line_gets_every_frame_across(tmp_path: Path, name: str) -> None:
    need("bash", *(word for word in PROGRAMS if f"| {word} " in LINES[name]))
    out = tmp_path / "out.mkv"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", LINES[name].format(producer=PRODUCER, raw=RAW, out=out)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"},
    )
    assert result.returncode == 0, result.stderr
    with av.open(io.BytesIO(out.read_bytes()), "r") as container:
        frames = [number_of(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    assert frames == list(range(33))

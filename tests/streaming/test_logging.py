"""What the outputs log, and that no log record reaches standard output, which belongs to video."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# a reader leaves, a GPU is missing, a line is no command
LOGGING = """
import logging, socket, sys, threading
sys.path.insert(0, sys.argv[1])
from blocks import FPS, HEIGHT, WIDTH, blocks
from sana_stream.streaming.containers import encoder
from sana_stream.streaming.control.live_control import LiveControl, read_lines
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.outputs.options import OutputOptions
from sana_stream.streaming.outputs.pump import OutputPump
from sana_stream.streaming.video_format import EncoderSettings, StreamSpec, VideoFormat

def no_gpu(spec):
    raise OSError("no encoder")

if sys.argv[2] == "configured":
    logging.basicConfig(level=logging.DEBUG)
encoder._try_one_frame = no_gpu
read_lines(["/unknown"], LiveControl()).join()
spec = StreamSpec(VideoFormat(WIDTH, HEIGHT, FPS), EncoderSettings(nvenc=True))
with socket.create_server(("127.0.0.1", 0)) as server:
    address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    output = open_output(address, spec, OutputOptions(sole_output=False))
    server.accept()[0].close()
    with OutputPump([output, open_output(sys.argv[3], spec)]) as pump:
        for block in blocks(4):
            pump.write(block)
"""


@pytest.mark.parametrize("configured", ["configured", "default"])
def test_nothing_is_logged_to_standard_output(tmp_path: Path, configured: str) -> None:
    words = [str(Path(__file__).parent), configured, str(tmp_path / "a.mp4")]
    ended = subprocess.run(
        [sys.executable, "-c", LOGGING, *words], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    for message in ("the GPU cannot encode", "'/unknown': ", "tcp://127.0.0.1:"):
        assert message in ended.stderr

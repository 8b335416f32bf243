"""Encoders leave the priority of the process as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="scheduling policies as Linux has them"
)
# In a process of its own: whatever this one inherits from a failure would stay.
ENCODE = """
import os, sys
from types import SimpleNamespace
import numpy as np
from sana_stream.streaming.containers.registry import create_muxer
from sana_stream.streaming.video_format import EncoderSettings, StreamSpec, VideoFormat

def policies():
    return {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}

seen = policies()
spec = StreamSpec(VideoFormat(64, 64, 16), EncoderSettings(sys.argv[1]))
muxer = create_muxer("mp4", spec)
muxer.header()
seen |= policies()
muxer.add(SimpleNamespace(start=0, frames=np.zeros((9, 64, 64, 3), np.uint8), prompt=""))
print(seen | policies())
"""


@pytest.mark.parametrize("codec", ["av1", "h264"])
def test_encoder_takes_no_real_time_priority(codec: str):
    command = [sys.executable, "-c", ENCODE, codec]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == "{0}\n", done.stderr[-2000:]

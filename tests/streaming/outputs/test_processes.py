"""Real processes: killed, piped into others, stopped while they have no reader, out of space."""

from __future__ import annotations

import io
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from ...programs import needs
from ..blocks import HEIGHT, WIDTH, number_of
from ..http_client import TIMEOUT_SECONDS

PRODUCER = [sys.executable, str(Path(__file__).parents[1] / "frame_producer.py")]
pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(os.name != "posix", reason="signals and pipes as POSIX has them"),
]
needs_ffmpeg = needs("ffmpeg", "bash")


@contextmanager
def producer(*arguments: str, stdout: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*PRODUCER, *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(TIMEOUT_SECONDS)
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


def await_frames(process: subprocess.Popen[str], frames: int) -> None:
    """Read the output of the process until it reports this number of frames."""
    assert process.stderr
    for line in process.stderr:
        made = re.fullmatch(r"made (\d+)\n", line)
        if made and int(made[1]) >= frames:
            return
    pytest.fail("the producer ended early")


def shown(source: Path | bytes) -> list[int]:
    data = source.read_bytes() if isinstance(source, Path) else source
    with av.open(io.BytesIO(data), "r") as container:
        return [number_of(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def piped(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """What a producer writes to standard output and standard error until it ends."""
    return subprocess.run(
        [*PRODUCER, "--out", "-", *arguments], capture_output=True, timeout=TIMEOUT_SECONDS
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts", ".webm"])
def test_a_killed_process_leaves_every_delivered_block(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with producer("--out", str(path), "--delay", "0.02") as process:
        await_frames(process, 65)
        time.sleep(random.uniform(0, 0.4))
        process.kill()
        process.wait(TIMEOUT_SECONDS)
        assert process.stderr
        made = [int(n) for n in re.findall(r"made (\d+)", process.stderr.read())]
    handed_over = made[-1] if made else 65
    frames = shown(path)
    # The output may still have been at work on one block, the first is of 17, while two waited.
    assert len(frames) >= handed_over - 17 - 2 * 16
    assert (len(frames) - 17) % 16 == 0, "only whole blocks"
    assert frames == list(range(len(frames)))
    captions = (tmp_path / "a.vtt").read_text(encoding="utf-8")
    hours, minutes, seconds = re.findall(r"--> (\d+):(\d+):([\d.]+)", captions)[-1]
    captioned = (int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 16
    assert abs(captioned - len(frames)) < 17


def test_a_full_disk_is_said_and_what_was_made_is_kept(tmp_path: Path) -> None:
    """A file size limit replaces a full disk: the system refuses the bytes beyond it."""
    path = tmp_path / "a.mp4"
    # some shells count in blocks of 512 bytes, others of 1024
    limit = f"ulimit -f 120; trap '' XFSZ; exec {' '.join(PRODUCER)} --out {path}"
    result = subprocess.run(
        ["sh", "-c", limit], capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    assert result.returncode == 1
    match = re.search(r"error: .*a\.mp4: file too large.*; (\d+) frames \(", result.stderr)
    assert match, result.stderr
    assert "Traceback" not in result.stderr
    assert shown(path) == list(range(int(match[1])))
    assert int(match[1]) >= 17


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_device_behind_standard_output() -> None:
    with open("/dev/full", "wb") as full, producer("--out", "-", stdout=full.fileno()) as process:
        _, said = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 1
    assert "error: standard output: no space left on device" in said


@pytest.mark.parametrize("container", ["matroska", "mpegts", "nut", "mp4", "flv", "webm", "y4m"])
def test_standard_output_carries_video_alone(container: str) -> None:
    result = piped("--format", container, "--blocks", "3")
    assert result.returncode == 0
    assert shown(result.stdout) == list(range(49))
    assert b"a stray line" in result.stderr


def test_bare_pictures_on_standard_output() -> None:
    result = piped("--format", "rawvideo", "--blocks", "2")
    pictures = np.frombuffer(result.stdout, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
    assert [number_of(picture) for picture in pictures] == list(range(33))


def test_a_reader_that_leaves_ends_the_run_normally() -> None:
    line = f"{' '.join(PRODUCER)} --out - --format mpegts; echo status $? >&2"
    result = subprocess.run(
        ["sh", "-c", f"( {line} ) | head -c 100000 | wc -c"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert result.stdout.strip() == "100000"
    assert "standard output: the reader has closed it" in result.stderr
    assert "status 0" in result.stderr
    assert "Traceback" not in result.stderr


@needs_ffmpeg
@pytest.mark.parametrize("container", ["matroska", "mpegts", "nut", "mp4", "flv", "y4m"])
def test_ffmpeg_reads_every_frame_from_the_pipe(tmp_path: Path, container: str) -> None:
    line = f"{' '.join(PRODUCER)} --out - --format {container} --blocks 4 | ffmpeg -v error -i -"
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line} -c:v ffv1 {tmp_path}/out.mkv"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert result.returncode == 0, result.stderr
    assert shown(tmp_path / "out.mkv") == list(range(65))


def test_a_stalled_reader_does_not_keep_a_stopped_run() -> None:
    read, write = os.pipe()
    try:
        with producer("--out", "-", "--format", "rawvideo", stdout=write) as process:
            os.close(write)
            await_frames(process, 49)  # one block does not fit into the pipe, two wait
            process.send_signal(signal.SIGINT)
            assert process.wait(TIMEOUT_SECONDS) == 130
            assert process.stderr
            assert "accepts no data; the rest is dropped" in process.stderr.read()
    finally:
        os.close(read)


def test_a_stopped_run_completes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with producer("--out", str(path), "--delay", "0.05") as process:
        await_frames(process, 49)
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_SECONDS) == 130
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames >= 49

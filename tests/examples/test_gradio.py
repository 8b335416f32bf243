"""The Gradio page, running, with gradio_client; skipped where gradio is not installed."""

from __future__ import annotations

import importlib.util
import io
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.request import urlopen

import av
import numpy as np
import pytest

from sana_stream import Engine

from ..programs import needs

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("gradio") is None,
        reason="gradio and its packages take 180 MB, so no extra has them: pip install gradio",
    ),
    pytest.mark.programs,
    needs("ffmpeg", "ffprobe"),
]
APP = Path(__file__).parents[2] / "examples" / "gradio" / "app.py"


@pytest.fixture
def app(tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setattr(Engine, "load", lambda *_: tiny_engine)
    spec = importlib.util.spec_from_file_location("gradio_app", APP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def client(app: ModuleType) -> Iterator[Any]:
    from gradio_client import Client  # pyright: ignore[reportMissingImports]

    page = app.build_page()
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True)
    try:
        yield Client(address, verbose=False, download_files=False)
    finally:
        page.close()


def frames(video: io.BytesIO) -> np.ndarray:
    with av.open(video, "r") as opened:
        return np.stack([f.to_ndarray(format="rgb24") for f in opened.decode(video=0)])


def read(address: str) -> bytes:
    with urlopen(address, timeout=30) as answer:
        return answer.read()


def segments(playlist: str) -> list[str]:
    """The addresses of an HLS playlist's segments."""
    lines = read(playlist).decode().splitlines()
    return [playlist.rsplit("/", 1)[0] + "/" + line for line in lines if line[:1] not in ("", "#")]


def test_page_plays_while_the_video_is_made(app: ModuleType, client: Any) -> None:
    job = client.submit("a red boat\na blue train", 60, 3, api_name="/generate")
    while len(job.outputs()) < 2:
        assert not job.done(), job.result()
        time.sleep(0.02)
    client.predict("night falls", api_name="/change_prompt")
    address = job.outputs()[0][0]["url"]
    assert len(segments(address)) >= 1
    assert "#EXT-X-ENDLIST" not in read(address).decode()  # it is still being made
    while not any(line.endswith("night falls") for _, line, _ in job.outputs()):
        assert not job.done(), job.result()
        time.sleep(0.02)
    client.predict(api_name="/stop")
    job.result(60)
    _, line, film = job.outputs()[-1]
    made = frames(io.BytesIO(read(film["url"])))
    assert 17 <= len(made) < 60 * 16
    assert re.fullmatch(rf"{len(made) / 16:.1f} s of video", line)
    chunks = [frames(io.BytesIO(read(segment))) for segment in segments(address)]
    assert sum(map(len, chunks)) == len(made)
    assert np.abs(np.concatenate(chunks).astype(int) - made).mean() < 3
    assert app.runs == {}


def test_errors_reach_the_page(client: Any) -> None:
    with pytest.raises(Exception, match="no video is being made"):
        client.predict("night falls", api_name="/change_prompt")
    with pytest.raises(Exception, match="story"):
        client.predict(" ", 2, 0, api_name="/generate")

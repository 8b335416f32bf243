"""`sana-stream mcp`, with the client of the package mcp where it is installed."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import av
import numpy as np
import pytest
from PIL import Image

from sana_stream import ConfigError, InvalidOutputError, RunConfig
from sana_stream.engine.engine import Engine
from sana_stream.streaming.run.video_maker import VideoMaker

from ...command import light_environment, run

needs_mcp = pytest.mark.skipif(
    importlib.util.find_spec("mcp") is None, reason="the package mcp is not installed"
)


def frames(path: str | Path) -> np.ndarray:
    with av.open(str(path)) as video:
        return np.stack([f.to_ndarray(format="rgb24") for f in video.decode(video=0)])


def test_missing_package_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("mcp", "mcp.server.mcpserver"):  # which another test may have imported
        monkeypatch.setitem(sys.modules, name, None)
    assert run("mcp") == 2
    assert capfd.readouterr().err == (
        "sana-stream: this command needs the package mcp, version 2 or newer:"
        " pip install 'sana-stream[mcp]'\n"
    )


@needs_mcp
def test_missing_folder_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("mcp", "--folder", "nowhere") == 2
    assert capfd.readouterr().err == ("sana-stream: --folder nowhere: give a folder that exists\n")


@pytest.fixture
def maker(tiny_folder: Path, tiny_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A maker of videos of the tiny model, which is loaded."""
    monkeypatch.setattr(Engine, "load", lambda *_, **__: tiny_engine)
    made = VideoMaker(RunConfig("-", model=tiny_folder), tmp_path)
    yield made
    made.close()


def test_maker_refuses_what_it_cannot_make(maker: VideoMaker, tmp_path: Path) -> None:
    assert maker.status().state == "idle"
    for call in (maker.stop, maker.frame, lambda: maker.prompt("night")):
        with pytest.raises(ConfigError, match=r"no video is being made|no frame yet"):
            call()
    for name in ("../film.mp4", "/film.mp4", "film", "film.png", "con.mp4", "a\0.mp4"):
        with pytest.raises(ConfigError, match="give a file name without a folder"):
            maker.start("a red boat", name=name)
    with pytest.raises(ConfigError, match="pictures of this machine"):
        maker.start("a red boat<image>secret.png")
    with pytest.raises(ConfigError, match="give one of them"):
        maker.start("a red boat", seconds=5, endless=True)
    assert list(tmp_path.iterdir()) == []
    assert maker.status().state == "idle"


def test_maker_makes_one_video_after_another(maker: VideoMaker, tmp_path: Path) -> None:
    assert maker.start("a red boat", seconds=1).file == str(tmp_path / "a-red-boat.mp4")
    maker.wait()
    assert maker.status().state == "complete"
    assert maker.start("a red boat", endless=True).file == str(tmp_path / "a-red-boat-2.mp4")
    with pytest.raises(ConfigError, match="stop it first"):
        maker.start("a fox")
    maker.prompt("/pause")
    assert maker.status().state == "paused"
    stopped = maker.stop()
    assert (stopped.state, stopped.total_seconds) == ("stopped", None)
    with pytest.raises(InvalidOutputError, match=r"a-red-boat\.mp4 exists"):
        maker.start("a red boat", name="a-red-boat.mp4")
    assert maker.status() == stopped


@needs_mcp
def test_client_makes_and_directs_a_video(tmp_path: Path, tiny_folder: Path) -> None:
    from mcp import (  # pyright: ignore[reportMissingImports]
        Client,
        StdioServerParameters,
        stdio_client,
    )

    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "sana_stream.cli", "mcp", "--model", str(tiny_folder)],
        env=light_environment(),
        cwd=tmp_path,
    )

    async def scenario(log: TextIO) -> None:
        async with Client(stdio_client(server, errlog=log)) as client:

            async def call(tool: str, /, **values: Any) -> Any:
                return await client.call_tool(tool, values)

            async def reach(condition: Callable[[dict[str, Any]], bool]) -> None:
                deadline = time.monotonic() + 60
                while not condition(status := json.loads((await call("status")).content[0].text)):
                    assert time.monotonic() < deadline, status
                    await asyncio.sleep(0.05)

            tools = (await client.list_tools()).tools
            assert [tool.name for tool in tools] == ["start", "prompt", "status", "frame", "stop"]
            assert all(tool.description for tool in tools)
            assert set(tools[0].input_schema["properties"]) == {
                *("story", "seconds", "endless", "seed", "name")
            }
            early = await call("frame")
            assert early.is_error
            assert "there is no frame yet" in early.content[0].text
            started = await call("start", story="a red boat", endless=True)
            assert started.structured_content["state"] == "running"
            again = await call("start", story="a blue train")
            assert again.is_error
            assert "a video is being made" in again.content[0].text
            await call("prompt", prompt="night falls over the sea")
            await reach(lambda status: status["prompt"] == "night falls over the sea")
            await reach(lambda status: status["frames"] > 9)  # the first block may have it
            picture = (await call("frame")).content[0]
            assert picture.mime_type == "image/png"
            shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.data))))
            assert shown.shape == (32, 48, 3)
            stopped = (await call("stop")).structured_content
            assert stopped["state"] == "stopped"
            assert stopped["file"] == str(tmp_path / "a-red-boat.mp4")
            assert len(frames(stopped["file"])) == stopped["frames"] > 9
            distances = np.abs(frames(stopped["file"]).astype(int) - shown).mean((1, 2, 3))
            nearest, second, *_ = sorted(distances)
            assert nearest < 0.7 * second  # it is one of the frames, which are compressed
            captions = (tmp_path / "a-red-boat.vtt").read_text("utf-8")
            assert "night falls over the sea" in captions
            await call("start", story="a red boat", endless=True, name="left.mp4")
            await reach(lambda status: status["frames"] > 9)

    with (tmp_path / "log").open("w+") as log:
        asyncio.run(scenario(log))
        log.seek(0)
        assert log.read() == ""
    assert len(frames(tmp_path / "left.mp4")) >= 9  # it plays after the client has left

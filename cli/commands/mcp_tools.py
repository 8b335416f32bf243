"""The tools that an MCP client sees; imported where the package mcp is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from mcp.server.mcpserver import Image, MCPServer  # pyright: ignore[reportMissingImports]
from mcp.server.mcpserver.exceptions import ToolError  # pyright: ignore[reportMissingImports]
from pydantic import Field

from sana_stream import __version__
from sana_stream.errors import SanaStreamError
from sana_stream.streaming.control.live_control import COMMANDS
from sana_stream.streaming.run.messages import one_line
from sana_stream.streaming.run.video_maker import VideoMaker, VideoStatus

INSTRUCTIONS = (
    "Makes long videos block by block, one at a time. Call start, look at frames while it is made,"
    " change the prompt, and stop an endless video. The file plays while it grows."
)
STORY = (
    "What the video shows: a prompt a line. Each line may begin with its start, as in"
    " '0:00 a red boat' and '0:12 night falls'; then all lines do. Describe the whole picture in"
    " every prompt."
)
LINE = (
    "A prompt, which describes the whole picture (with ~4 before it, it is blended in over 4"
    " blocks), or a command: "
    + "; ".join(f"{command}: {effect}" for command, effect in COMMANDS.items())
)


class Tools:
    """The tools, each with its description for the client."""

    def __init__(self, maker: VideoMaker) -> None:
        self._maker = maker

    def start(
        self,
        story: Annotated[str, Field(description=STORY)],
        seconds: Annotated[
            float | None, Field(description="length; by default 10 seconds a prompt")
        ] = None,
        endless: Annotated[
            bool, Field(description="make it in real time until it is stopped")
        ] = False,
        seed: Annotated[int | None, Field(description="another seed gives another video")] = None,
        name: Annotated[
            str | None, Field(description="file name such as film.mp4; by default from the prompt")
        ] = None,
    ) -> VideoStatus:
        """Start a video. Returns at once, or after the model is loaded the first time."""
        with _errors():
            return self._maker.start(story, seconds, endless, seed, name)

    def prompt(self, prompt: Annotated[str, Field(description=LINE)]) -> VideoStatus:
        """Change what the video shows from its next block on."""
        with _errors():
            self._maker.prompt(prompt)
            return self._maker.status()

    def status(self) -> VideoStatus:
        """Report how far the video is, its file and its current prompt."""
        return self._maker.status()

    def frame(self) -> Image:
        """Look at the newest frame, as a PNG image."""
        with _errors():
            return Image(data=self._maker.frame(), format="png")

    def stop(self) -> VideoStatus:
        """End the video after the current block; the file is complete when this returns."""
        with _errors():
            return self._maker.stop()


def build_server(maker: VideoMaker) -> MCPServer:
    """A server with the tools start, prompt, status, frame and stop."""
    server = MCPServer("sana-stream", instructions=INSTRUCTIONS, version=__version__)
    tools = Tools(maker)
    for tool in (tools.start, tools.prompt, tools.status, tools.frame, tools.stop):
        server.add_tool(tool)
    return server


@contextmanager
def _errors() -> Iterator[None]:
    """Report errors of the library to the client."""
    try:
        yield
    except (SanaStreamError, OSError, RuntimeError, MemoryError) as error:
        raise ToolError(one_line(error)) from error

"""The part of ComfyUI's `comfy_api.latest` that the nodes use, with its names and behaviour."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import torch

from . import io, ui

__all__ = ["ComfyExtension", "InputImpl", "io", "ui"]


class ComfyExtension(ABC):
    async def on_load(self) -> None:  # noqa: B027
        pass

    @abstractmethod
    async def get_node_list(self) -> list[type[io.ComfyNode]]: ...


@dataclass
class VideoComponents:
    images: torch.Tensor
    frame_rate: Fraction


class VideoFromFile:
    def __init__(self, file: str) -> None:
        self._file = file

    def get_dimensions(self) -> tuple[int, int]:
        with av.open(self._file) as video:
            return video.streams.video[0].width, video.streams.video[0].height

    def get_components(self) -> VideoComponents:
        with av.open(self._file) as video:
            rate = Fraction(video.streams.video[0].average_rate or 1)
            frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        return VideoComponents(torch.from_numpy(np.stack(frames)).float() / 255, rate)


class InputImpl:
    VideoFromFile = VideoFromFile

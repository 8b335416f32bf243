"""Rendering of clips: frames, the subject's mask, and dissolves between scenes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .creatures import draw_bird, draw_fox, draw_kite
from .land import REDUCED, SCALE, draw_land, water_line
from .light import SUBJECT_RGB, light_of
from .motion import BEGINNINGS, SIZE, Path, height_and_tilt
from .pen import Pen
from .sky import (
    CLOUD_BOTTOM,
    CLOUDS,
    draw_cloud,
    draw_fall,
    draw_sky,
    draw_waves,
    paste_clouds,
)
from .subjects import draw_balloon, draw_boat, draw_train
from .world import FPS, HEIGHT, WIDTH, Scene

# A blur: an autoencoder spends more on edges of one pixel than on the areas inside them.
SOFT = ImageFilter.BoxBlur(1.5)

_DRAW = {
    "balloon": draw_balloon,
    "boat": draw_boat,
    "train": draw_train,
    "kite": draw_kite,
    "bird": draw_bird,
    "fox": draw_fox,
}


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames and masks of one clip; scene k is shown from `starts[k]`, after a dissolve."""

    frames: np.ndarray  # uint8 (T, H, W, 3)
    masks: np.ndarray  # uint8 (T, H, W): how much of a pixel belongs to the subject
    scenes: tuple[Scene, ...]
    starts: tuple[int, ...]  # first frame of each scene; the dissolve begins there


class SceneRenderer:
    """Renderer of one scene, frame by frame; still layers are drawn once."""

    def __init__(self, scene: Scene, path: Path | None = None) -> None:
        """`path` replaces the swing of the world, which the evaluation needs."""
        self.scene, self.path = scene, path or Path()
        self.light = light_of(scene.time, scene.weather)
        sky = draw_sky(scene.time, scene.weather, self.light)
        self.cloud = draw_cloud(self.light, scene.weather)
        land = draw_land(scene.place, scene.subject, scene.time, self.light)
        top = (0, 0, sky.width, CLOUD_BOTTOM * SCALE)  # part of the sky that has clouds
        self.sky, self.land = sky.crop(top), land.crop(top)
        sky.paste(land, (0, 0), land)
        self.background = sky

    def frame(self, seconds: float) -> tuple[np.ndarray, np.ndarray]:
        """Render a frame uint8 (H, W, 3) and its mask uint8 (H, W).

        `seconds` count from the beginning of the cycle, not of a stream.
        """
        scene = self.scene
        canvas = self.background.copy()
        if CLOUDS[scene.weather]:
            sky = self.sky.copy()
            paste_clouds(sky, self.cloud, scene.weather, seconds)
            sky.paste(self.land, (0, 0), self.land)
            canvas.paste(sky, (0, 0))
        draw, blend = ImageDraw.Draw(canvas), ImageDraw.Draw(canvas, "RGBA")
        top = water_line(scene.place, scene.subject)
        if top is not None and not (scene.subject == "fox" and scene.place == "sea"):
            draw_waves(blend, top, self.light, seconds)
        mask = Image.new("L", canvas.size)
        self._subject(draw, ImageDraw.Draw(mask), seconds)
        draw_fall(blend, scene.weather, scene.time, seconds)
        reduced = canvas.reduce(REDUCED).filter(SOFT)
        return np.asarray(reduced), np.asarray(mask.reduce(REDUCED))

    def _subject(
        self, draw: ImageDraw.ImageDraw, mask: ImageDraw.ImageDraw, seconds: float
    ) -> None:
        scene = self.scene
        y, tilt = height_and_tilt(scene.subject, seconds)
        pen = Pen(
            draw,
            mask,
            x=self.path.x(seconds) * SCALE,
            y=y * SCALE,
            scale=SIZE[scene.size] * SCALE,
            facing=self.path.facing(seconds),
            tilt=tilt,
        )
        _DRAW[scene.subject](pen, self.light.on_subject(SUBJECT_RGB[scene.colour]), seconds)


def draw_clip(
    scenes: tuple[Scene, ...],
    starts: tuple[int, ...],
    frames: int,
    path: Path | None = None,
    dissolve: int = FPS,
    offset: float = 0.0,
) -> Clip:
    """Render a clip of `frames` frames; scene k fades in over `dissolve` frames from `starts[k]`.

    The clip begins `offset` seconds after a stream of the first scene; the later scenes continue
    its movements.
    """
    begin = offset + BEGINNINGS[scenes[0].side]
    renderers = [SceneRenderer(scene, path) for scene in scenes]
    drawn = np.empty((frames, HEIGHT, WIDTH, 3), np.uint8)
    masks = np.empty((frames, HEIGHT, WIDTH), np.uint8)
    for t in range(frames):
        current = max(k for k, start in enumerate(starts) if start <= t)
        frame, mask = renderers[current].frame(begin + t / FPS)
        share = (t - starts[current] + 1) / dissolve
        if current and share < 1:
            old, old_mask = renderers[current - 1].frame(begin + t / FPS)
            frame, mask = _mix(old, frame, share), _mix(old_mask, mask, share)
        drawn[t], masks[t] = frame, mask
    return Clip(drawn, masks, scenes, starts)


def _mix(old: np.ndarray, new: np.ndarray, share: float) -> np.ndarray:
    return (old * (1 - share) + new * share).astype(np.uint8)

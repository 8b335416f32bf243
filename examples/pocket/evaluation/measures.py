"""Measurements of the model: autoencoder, prompts, switches, long runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from sana_stream import Engine
from sana_stream.models.vae.wan import WanVAE
from storybook.captions import caption
from storybook.scenes import draw_clip
from storybook.world import FPS, Scene, change_scene, draw_scene

from .doubles import SubjectFinder, detector_figures
from .nearest import nearest
from .probe import Probe, accuracy

Figures = dict[str, float]


@torch.no_grad()
def autoencoder_figures(engine: Engine, clips: int, seed: int = 20) -> tuple[Figures, np.ndarray]:
    """PSNR in dB of decoded clips of 49 frames, overall and inside subjects; and a sheet."""
    vae = engine.vae
    assert isinstance(vae, WanVAE)
    rng = np.random.default_rng(seed)
    errors, inside, rows = [], [], []
    for i in range(clips):
        scene = draw_scene(rng, held_out=i % 6 == 0)
        clip = draw_clip((scene,), (0,), 49)
        x = torch.from_numpy(clip.frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        y, _ = vae.decode(vae.encode(x)[0])
        error = ((x - y) / 2).square()
        mask = torch.from_numpy(clip.masks > 128)[None, None].expand_as(error)
        errors.append(float(error.mean()))
        inside.append(float(error[mask].mean()))
        decoded = ((y[0].permute(1, 2, 3, 0) + 1) * 127.5).byte().numpy()
        rows.append(np.concatenate((clip.frames[40], decoded[40]), axis=1))
    figures = {"psnr": _decibels(errors), "psnr inside subjects": _decibels(inside)}
    return figures, np.concatenate(rows[:8])


def prompt_figures(
    engine: Engine, probe: Probe, count: int, blocks: int, seed: int = 30, **settings: object
) -> tuple[Figures, np.ndarray]:
    """Accuracy on unseen prompts in the first and in the last of `blocks`, and a contact sheet.

    One prompt in four has a pair of subject and colour that is held out from training.
    """
    rng = np.random.default_rng(seed)
    scenes = [draw_scene(rng, held_out=i % 4 == 0) for i in range(count)]
    first, last = [], []
    for i, scene in enumerate(scenes):
        session = engine.session(caption(scene, rng, full=True), seed=i, **settings)  # type: ignore[arg-type]
        for _, block in zip(range(blocks), session, strict=False):
            if block.index == 0:
                first.append(block.frames[-1])
            if block.index == blocks - 1:
                last.append(block.frames[-1])
    figures: Figures = {}
    for name, frames in (("first block", first), (f"block {blocks}", last)):
        read = probe.read(np.stack(frames))
        figures |= {f"{name}: {k}": v for k, v in accuracy(read, scenes).items()}
        held = accuracy(read[::4], scenes[::4])
        figures |= {f"{name}, unseen pairs: {k}": held[k] for k in ("subject", "colour")}
    return figures, sheet([np.concatenate(pair, axis=1) for pair in zip(first, last, strict=True)])


def word_figures(engine: Engine, probe: Probe, count: int, seed: int = 70) -> Figures:
    """Accuracy of the first block on prompts of few words, some of them unknown."""
    rng = np.random.default_rng(seed)
    scenes = [draw_scene(rng, sparse=1.0) for _ in range(count)]
    frames = [
        next(iter(engine.session(caption(scene, rng), seed=i))).frames[-1]
        for i, scene in enumerate(scenes)
    ]
    return accuracy(probe.read(np.stack(frames)), scenes)


def double_figures(
    engine: Engine, finder: SubjectFinder, count: int, blocks: int = 8, seed: int = 80
) -> tuple[Figures, np.ndarray | None]:
    """Share of frames with a doubled subject, from a stream's first on; and a sheet of them.

    Four frames a second are looked at.
    """
    rng = np.random.default_rng(seed)
    first, later, kept = [], [], []
    for i in range(count):
        session = engine.session(caption(draw_scene(rng), rng, full=True), seed=i)
        for _, block in zip(range(blocks), session, strict=False):
            frames = block.frames[:: FPS // 4]
            found = finder.doubled(frames)
            (later if block.index else first).extend(found)
            kept.extend(frames[found])
    figures = {
        **detector_figures(finder),
        "first block, doubled": float(np.mean(first)),
        f"blocks 2 to {blocks}, doubled": float(np.mean(later)),
    }
    return figures, sheet(kept[:: max(1, len(kept) // 24)]) if kept else None


def nearest_figures(engine: Engine, prompts: int, blocks: int = 8, seed: int = 60) -> Figures:
    """Decibels to the nearest rendered frame, in the first and in the last of `blocks`.

    Decibels are averaged over frames, so that one lost subject does not dominate the mean.
    """
    rng = np.random.default_rng(seed)
    errors: dict[str, list[tuple[float, float]]] = {}
    for i in range(prompts):
        scene = draw_scene(rng)
        session = engine.session(caption(scene, rng, full=True), seed=i)
        for _, block in zip(range(blocks), session, strict=False):
            if block.index in (0, blocks - 1):
                name = f"block {block.index + 1}"
                errors.setdefault(name, []).append(nearest(block.frames[-1], scene))
    figures: Figures = {}
    for name, pairs in errors.items():
        overall, inside = (-10 * np.log10(pairs)).mean(axis=0)
        figures |= {name: float(overall), f"{name}, inside subjects": float(inside)}
    return figures


def switch_figures(engine: Engine, count: int, seed: int = 40, **settings: object) -> Figures:
    """Seconds from a switch until a frame is half way to the new scene.

    Some switches change nothing that is to be seen: other words for the same scene, or another
    beginning. The figures are of all of them, and of those that change the picture.
    """
    rng = np.random.default_rng(seed)
    seconds: list[float] = []
    visible: list[float] = []
    for i in range(count):
        before = draw_scene(rng)
        session = engine.session(caption(before, rng, full=True), seed=i, **settings)  # type: ignore[arg-type]
        old = [next(session) for _ in range(2)][-1].frames[-1].astype(float)
        after = change_scene(before, rng)
        session.switch(caption(after, rng, full=True))
        new = np.concatenate([next(session).frames for _ in range(4)]).astype(float)
        change = new[-FPS:].mean(axis=0) - old
        share = ((new - old) * change).mean(axis=(1, 2, 3)) / (change**2).mean()
        seconds.append(float(np.argmax(share >= 0.5)) / FPS)
        if replace(before, side=after.side) != after:
            visible.append(seconds[-1])
    return {
        "median seconds": float(np.median(seconds)),
        "worst seconds": max(seconds),
        "worst seconds, picture changed": max(visible),
    }


def drift_figures(
    engine: Engine, probe: Probe, minutes: float, every: float = 20.0, seed: int = 50
) -> tuple[Figures, np.ndarray]:
    """Accuracy in the first and last minute of a long run, with a switch every `every` seconds."""
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng)
    session = engine.session(caption(scene, rng, full=True), seed=seed)
    frames: list[np.ndarray] = []
    scenes: list[Scene] = []
    changed = 0.0
    while (now := session.next_start / FPS) < 60 * minutes:
        if now - changed >= every:
            changed, scene = now, draw_scene(rng)
            session.switch(caption(scene, rng, full=True))
        block = next(session)
        if now - changed > 3:
            frames.append(block.frames[-1])
            scenes.append(scene)
    minute = max(1, round(len(frames) / minutes))
    figures: Figures = {}
    for name, cut in (("first minute", np.s_[:minute]), ("last minute", np.s_[-minute:])):
        read = probe.read(np.stack(frames[cut]))
        figures |= {f"{name}: {k}": v for k, v in accuracy(read, scenes[cut]).items()}
    picked = np.linspace(0, len(frames) - 1, 24).astype(int)
    return figures, sheet([frames[i] for i in picked])


def constant_figures(engine: Engine, minutes: float, prompt: str) -> tuple[Figures, np.ndarray]:
    """Motion and contrast at the end of minutes of one prompt, relative to the beginning."""
    session = engine.session(prompt, seed=1)
    motion, contrast, frames = [], [], []
    while session.next_start / FPS < 60 * minutes:
        block = next(session)
        values = block.frames.astype(float)
        motion.append(np.abs(np.diff(values, axis=0)).mean())
        contrast.append(values.std())
        frames.append(block.frames[-1])
    tenth = max(1, len(motion) // 10)
    figures = {
        "movement kept": float(np.mean(motion[-tenth:]) / np.mean(motion[1 : 1 + tenth])),
        "contrast kept": float(np.mean(contrast[-tenth:]) / np.mean(contrast[1 : 1 + tenth])),
    }
    picked = np.linspace(0, len(frames) - 1, 24).astype(int)
    return figures, sheet([frames[i] for i in picked])


def sheet(images: list[np.ndarray], columns: int = 4, limit: int = 40) -> np.ndarray:
    """Arrange images in a grid; an incomplete last row is dropped."""
    images = images[: min(limit, len(images) // columns * columns) or len(images)]
    columns = min(columns, len(images))
    rows = [np.concatenate(images[i : i + columns], axis=1) for i in range(0, len(images), columns)]
    return np.concatenate(rows)


def _decibels(errors: list[float]) -> float:
    return float(-10 * np.log10(np.mean(errors)))

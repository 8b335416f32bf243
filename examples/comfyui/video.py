"""Making a video inside ComfyUI: its files, its progress bar with previews, and cancelling."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import folder_paths
import numpy as np
import torch
from comfy import model_management
from comfy.utils import ProgressBar
from PIL import Image

from sana_stream import Run

PREVIEW_PIXELS = 512  # the longer side of a preview
CHECKPOINT = ".ckpt"


def deliver(run: Run, keep: bool) -> torch.Tensor:
    """Make the blocks of a run; the last frame of each is the preview of the executing node.

    Cancelling in ComfyUI ends the run after the current block: the video plays, and its
    checkpoint is next to it.

    Args:
        run: not yet entered.
        keep: return all frames of this run, not only the last one.

    Returns:
        float32 (B, H, W, 3) in 0 to 1, as IMAGE is.

    Raises:
        InterruptProcessingException: the user has cancelled.
    """
    kept: list[np.ndarray] = []
    with run:
        total = run.progress.total_frames or 0
        bar = ProgressBar(total)
        model_management.throw_exception_if_processing_interrupted()
        for progress in run:
            assert run.block is not None
            frames = run.block.frames
            kept = [*(kept if keep else ()), frames.copy() if keep else frames[-1:].copy()]
            preview = Image.fromarray(frames[-1])
            # also raises when the user has cancelled
            bar.update_absolute(progress.frames, total, ("JPEG", preview, PREVIEW_PIXELS))
    return torch.from_numpy(np.concatenate(kept)).float().div_(255)


def new_video(prefix: str) -> Path:
    """A new name in ComfyUI's output folder, numbered as its own nodes number their files."""
    output = folder_paths.get_output_directory()
    folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, output)
    return Path(folder, f"{name}_{counter:05}_.mp4")


def checkpoint_of(video: str) -> Path:
    """The checkpoint of a video that is named relative to the output folder."""
    return Path(folder_paths.get_output_directory(), video).with_suffix(CHECKPOINT)


def interrupted_videos() -> list[str]:
    """The videos with a checkpoint, relative to the output folder, the newest first."""
    output = Path(folder_paths.get_output_directory())
    found = [path for path in output.rglob(f"*{CHECKPOINT}") if path.with_suffix(".mp4").exists()]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.with_suffix(".mp4").relative_to(output).as_posix() for path in found]


@contextmanager
def picture_file(image: torch.Tensor | None) -> Iterator[str | None]:
    """The first image of an IMAGE as a PNG file, which exists inside the context.

    Args:
        image: float (B, H, W, 3) in 0 to 1, or None.
    """
    if image is None:
        yield None
        return
    pixels = image[0, :, :, :3].mul(255).round().clamp(0, 255).to("cpu", torch.uint8).numpy()
    folder = folder_paths.get_temp_directory()
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as private:
        path = os.path.join(private, "start.png")
        Image.fromarray(pixels).save(path)
        yield path

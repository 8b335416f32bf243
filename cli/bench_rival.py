"""The same clip in diffusers, in turns with ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING

from ..engine.locate import locate_model
from ..models.errors import ConfigError

if TYPE_CHECKING:
    from ..engine.bench import Figures
    from ..engine.engine import Engine

PROMPT = "a red boat on the sea"


def clip_seconds(engine: Engine, model: str, figures: Figures, repeats: int) -> tuple[float, float]:
    """Median seconds for one clip of a first block's length: ours, and diffusers'.

    Both encode the prompt, take the same number of Euler steps without guidance at the same size
    and decode; ours and theirs run in turns, after one of each that is not counted.

    Raises:
        ConfigError: diffusers is not installed, or cannot run the model.
    """
    try:
        from diffusers import SanaVideoPipeline
        from diffusers.utils import logging
    except ImportError as error:
        raise ConfigError(
            "--against diffusers: it is not installed; pip install diffusers"
        ) from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    pipeline = SanaVideoPipeline.from_pretrained(locate_model(model), dtype=engine.dtype)
    pipeline.to(engine.device)
    pipeline.set_progress_bar_config(disable=True)
    preset, pictures = engine.preset, 1 + figures.pictures

    def theirs() -> None:
        pipeline(
            PROMPT,
            height=figures.height,
            width=figures.width,
            frames=pictures,
            num_inference_steps=figures.steps,
            guidance_scale=1.0,
            complex_human_instruction=list(preset.instruction),
            max_sequence_length=preset.max_text_tokens,
            use_resolution_binning=False,
            output_type="np",
        )

    def ours() -> None:
        next(
            engine.session(
                PROMPT,
                height=figures.height,
                width=figures.width,
                guidance=1.0,
                steps=figures.steps,
                solver="euler",
            )
        )

    _seconds(ours)
    _seconds(theirs)
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(repeats)]
    return median(a for a, _ in pairs), median(b for _, b in pairs)


def _seconds(call: Callable[[], None]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun

"""From the options of the command line to the configuration of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sana_stream.streaming.run.config import RunConfig, field_names

from .options import Options


def run_config(options: Options, **more: Any) -> RunConfig:
    """The run that the options ask for.

    Args:
        options: as parsed.
        **more: parameters in place of those that the options give.
    """
    names = {name for name in field_names() if hasattr(options, name)}
    values = {name: getattr(options, name) for name in names}
    story = options.prompts if options.prompt_file is None else Path(options.prompt_file)
    values |= {
        "story": story,
        "minutes": options.length.minutes,
        "seconds": options.length.seconds,
        "frames": options.length.frames,
        "endless": options.length.endless,
        "checkpoint": options.checkpoint_every > 0,
        "checkpoint_every": options.checkpoint_every or 30.0,
        "directed": options.live,
    }
    return RunConfig(**values | more)

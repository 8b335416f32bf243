"""A whole video in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .config import Prompts, RunConfig, check_names
from .progress import Progress
from .runner import Run

if TYPE_CHECKING:
    from sana_stream.engine.engine import Engine


def render(engine: Engine | None, story: Prompts, **parameters: Any) -> Progress:
    """Make a whole video; returns the final progress.

        render(engine, "story.txt", minutes=1, outputs=["story.mp4"])

    The file equals the one that the command line makes with the same settings.

    Args:
        engine: a loaded model. None: the one that `model` names is loaded.
        story, **parameters: those of `RunConfig`; `directed` is False unless it is given.

    Raises:
        ConfigError, StoryError, InvalidOutputError: as for `Run`, before any work.
        OutputError: an output failed; what was delivered before plays.
        HealthError: the stream cannot continue.
    """
    check_names(parameters)
    values: dict[str, Any] = {"directed": False} | parameters
    config = RunConfig(story=story, **values)
    with Run(engine, config) as run:
        for _ in run:
            pass
    return run.progress

"""A server's jobs as configurations of runs."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

from sana_stream.engine.story.read import parse_story
from sana_stream.engine.story.story import Story
from sana_stream.errors import BranchError, ConfigError, JobError, SnapshotError
from sana_stream.streaming.control.stream_request import StreamRequest
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.model import RunModel
from sana_stream.streaming.run.plan import resolve_plan
from sana_stream.streaming.run.resume import (
    OF_THE_CHECKPOINT,
    OF_THE_RUN,
    Continuation,
    branch_run,
)

_NAMES = {  # of a run's parameters in a request
    "guidance": "guidance_scale",
    "steps": "num_inference_steps",
    "timesteps": "num_inference_steps",
    "frames": "num_frames",
    "flow_shift": "flow_shift",
    "size": "size",
    "fps": "fps",
    "negative_prompt": "negative_prompt",
    "seconds": "seconds",
    "seed": "seed",
}
_PARAMETER = re.compile(rf"\b({'|'.join(_NAMES)})=")
_OPTION = re.compile(r"--frames\b")


def job_config(request: StreamRequest, common: RunConfig, model: RunModel) -> RunConfig:
    """A request as a run, with the server's settings where it has none.

    Raises:
        ConfigError: a story that cannot be read or used.
    """
    given = {
        "seed": request.seed,
        "size": request.pixels,
        "fps": request.fps,
        "steps": request.num_inference_steps,
        "guidance": request.guidance_scale,
        "flow_shift": request.flow_shift,
        "negative_prompt": request.negative_prompt,
        "realtime": request.realtime,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if request.guidance_scale == 1 and request.negative_prompt is None:
        changes["negative_prompt"] = None  # the server's has no effect
    endless = request.seconds is None and request.num_frames is None and model.transformer.causal
    length = {"seconds": request.seconds, "frames": request.num_frames, "endless": endless}
    return replace(common, story=read_job_story(request) or common.story, **length, **changes)


def read_job_story(request: StreamRequest) -> Story | None:
    """The story of a request; None for a branch that continues with the prompt of its moment.

    Raises:
        ConfigError: it cannot be read, or names a picture.
    """
    if request.prompt is not None:
        story = Story.of([request.prompt], "prompt")
    elif request.story is not None:
        story = parse_story(request.story, "the story")
    else:
        return None
    story.check_no_images()
    return story


def check_job(request: StreamRequest, common: RunConfig, model: RunModel) -> None:
    """Refuse a request that the model cannot make.

    Raises:
        JobError: which setting, and what is allowed.
    """
    try:
        if request.branch_from is None:
            config = job_config(request, common, model)
            resolve_plan(config, config.read_story(), model)
        else:
            read_job_story(request)
    except ConfigError as error:
        raise JobError(*_in_words_of_requests(str(error))) from error


def branch_of(
    request: StreamRequest, start: Path, common: RunConfig, model: RunModel
) -> Continuation:
    """The run of a branch.

    Args:
        request: has no settings that a checkpoint decides on.
        start: the checkpoint that it begins with.
        common: what all streams of the server have in common.
        model: of the server.

    Raises:
        BranchError: the checkpoint is missing, damaged, or of another model.
        ConfigError: the story does not fit the branch.
    """
    config = job_config(request, common, model)
    left = (*OF_THE_CHECKPOINT, *OF_THE_RUN, "outputs", "token")
    names = [each.name for each in fields(config) if each.name not in left]
    values = {name: getattr(config, name) for name in names}
    values |= {"story": read_job_story(request), "seed": request.seed, "fps": request.fps}
    try:
        found = branch_run(model.engine, start, values)
    except SnapshotError as error:
        raise BranchError(f"its checkpoint cannot be used: {error}") from error
    return replace(found, model=model)


def check_branch(request: StreamRequest, start: Path, common: RunConfig, model: RunModel) -> None:
    """Refuse a branch that the model cannot make; raises JobError."""
    try:
        found = branch_of(request, start, common, model)
        resolve_plan(found.config, found.story, model, found.origin)
    except ConfigError as error:
        raise JobError(*_in_words_of_requests(str(error))) from error


def _in_words_of_requests(message: str) -> tuple[str, str | None]:
    """A message about parameters in terms of a request, and the first field that it names."""
    named = [_NAMES[name] for name in _PARAMETER.findall(message)]
    words = _PARAMETER.sub(lambda match: f"{_NAMES[match[1]]}=", message)
    words = _OPTION.sub("num_frames", words)
    first = next((n for n in StreamRequest.model_fields if words.startswith(f"{n} ")), None)
    return words, first or (named[0] if named else None)

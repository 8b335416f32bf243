"""From options, story and model to everything a run needs to know, checked before any work."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sana_stream._files import expand_user
from sana_stream.cli.options import Length, Options, is_live
from sana_stream.engine.block import FIRST_SHOT, BlockPlan, PlanView, Shot
from sana_stream.engine.story.story import Cue, Story
from sana_stream.engine.story.timeline import Placement, Timeline
from sana_stream.errors import ConfigError
from sana_stream.streaming.video_format import rate_of

from .checkpoint_files import checkpoint_path

if TYPE_CHECKING:
    from sana_stream.engine.loading.inspect import ModelInfo
    from sana_stream.engine.loading.vocabulary import Vocabulary
    from sana_stream.engine.snapshot.file import SavedStream
    from sana_stream.streaming.web.status import ShownPrompt as BoardCue


# options that change nothing in the video's frames or in how they are encoded
_NOT_OF_THE_VIDEO = frozenset(
    (
        *("prompts", "prompt_file", "outputs", "overwrite", "segment", "window", "container"),
        *("interactive", "watch", "web", "host", "token", "realtime", "history"),
        *("checkpoint_every", "keep_checkpoint", "quiet", "debug"),
    )
)


@dataclass(frozen=True, slots=True)
class Job:
    """What one run is to make.

    A video may begin in the middle of a stream (a branch), and continue what an earlier run has
    made of it.
    """

    options: Options
    story: Story
    first_block: int = 0  # number of the stream's block with which the video begins
    shot: Shot = FIRST_SHOT  # where the stream's past begins then
    saved: SavedStream | None = None  # the stream to continue
    kept: int = 0  # frames of the video that are there
    checkpoint: Path | None = None  # where the run's checkpoint was when it was written
    id: str | None = None  # of the run, in its video too; None as old versions wrote neither

    def with_new_id(self) -> Self:
        """The job of a new run.

        The same job has the same id, for it makes the same video bit for bit; a run that may be
        directed while it lasts has one of its own.
        """
        if self.options.live:
            return replace(self, id=secrets.token_hex(8))
        facts = replace(self, id=None).to_json()
        options = facts["options"]
        facts["options"] = {k: options[k] for k in options.keys() - _NOT_OF_THE_VIDEO}
        del facts["story"]["name"]
        facts |= {"checkpoint": None, "from": None if self.saved is None else self.saved.checksum}
        digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=8)
        return replace(self, id=digest.hexdigest())

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it, with paths that mean the same from every folder, without secrets."""
        options = json.loads(json.dumps(asdict(self._from_anywhere()), default=str))
        cues = [
            [
                cue.start_seconds,
                cue.prompt,
                cue.start_frame,
                cue.image and _absolute(cue.image),
                cue.negative,
            ]
            for cue in self.story.cues
        ]
        beside = checkpoint_path(self.options.outputs)
        return {
            "options": options | {"token": None},
            "story": {"name": self.story.name, "cues": cues},
            "first_block": self.first_block,
            "take": [self.shot.index, self.shot.start],
            "id": self.id,
            "checkpoint": None if beside is None else _absolute(str(beside)),
        }

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """The job whose `to_json` this is; pydantic's ValidationError for anything else."""
        from .config_schema import StoredCue, StoredJob

        stored = StoredJob.model_validate(values)
        names = ("start_seconds", "prompt", "start_frame", "image", "negative")
        cues = (
            StoredCue.model_validate(dict(zip(names, cue, strict=False)))
            for cue in stored.story.cues
        )
        story = tuple(
            Cue(c.start_seconds, c.prompt, c.start_frame, image=c.image, negative=c.negative)
            for c in cues
        )
        given = stored.options.model_dump()
        fps, size, steps = given["fps"], given["size"], given["steps"]
        options = Options(
            **given
            | {
                "prompts": tuple(given["prompts"]),
                "length": Length(**given["length"]),
                "outputs": tuple(given["outputs"]),
                "fps": None if fps is None else Fraction(fps),
                "size": None if size is None else tuple(size),
                "steps": tuple(steps) if isinstance(steps, list) else steps,
                "loras": tuple((str(file), float(scale)) for file, scale in given["loras"]),
            }
        )
        take = Shot(*stored.take)
        told = Story(story, stored.story.name)
        before = stored.checkpoint or checkpoint_path(options.outputs)
        checkpoint = None if before is None else Path(before)
        return cls(options, told, stored.first_block, take, checkpoint=checkpoint, id=stored.id)

    def _from_anywhere(self) -> Options:
        options = self.options
        outputs = (out if is_live(out) else _absolute(out) for out in options.outputs)
        parts, image, video, prompt_file = (
            None if path is None else _absolute_if_there(path)
            for path in (options.parts, options.image, options.video, options.prompt_file)
        )
        return replace(
            options,
            outputs=tuple(outputs),
            model=_absolute_if_there(options.model),
            prompt_file=prompt_file,
            parts=parts,
            image=image,
            video=video,
            loras=tuple((_absolute_if_there(file), scale) for file, scale in options.loras),
            decoder=_decoder_from_anywhere(options.decoder),
        )


def _decoder_from_anywhere(decoder: str | None) -> str | None:
    kind, mark, file = (decoder or "").partition("=")
    return f"{kind}={_absolute_if_there(file)}" if mark else decoder


def _absolute(path: str) -> str:
    return str(expand_user(path).absolute())


def _absolute_if_there(path: str) -> str:
    try:
        return _absolute(path) if expand_user(path).exists() else path
    except OSError:  # a folder that may not be looked into
        return path


@dataclass(frozen=True, slots=True)
class Request:
    """One run, complete."""

    model: str
    width: int  # pixels
    height: int
    fps: Fraction
    frames: int | None  # of the whole video, `None` without an end
    plan: BlockPlan | PlanView
    timeline: Timeline
    placements: tuple[Placement, ...]
    seed: int
    timesteps: tuple[float, ...] | None  # these four as they were asked for
    steps: int | None
    solver: str | None
    flow_shift: float | None
    guidance: float
    negative_prompt: str
    memory: str
    prompt_suffix: str  # what the model wants behind every prompt
    vocabulary: Vocabulary | None  # where the model knows some words only

    @property
    def first_frame(self) -> int:
        """The stream's frame with which the video begins."""
        return self.plan.start if isinstance(self.plan, PlanView) else 0

    def shown_prompts(self) -> tuple[BoardCue, ...]:
        """What is shown from which frame on."""
        from sana_stream.streaming.web.status import ShownPrompt as BoardCue

        return tuple(
            BoardCue(placement.frame, placement.cue.prompt)
            for placement in self.placements
            if placement.frame is not None
        )

    @property
    def blocks(self) -> int | None:
        """How many blocks the video takes, `None` without an end."""
        return None if self.frames is None else self.plan.blocks_for(self.frames)

    @property
    def seconds(self) -> float | None:
        """How long the video plays."""
        return None if self.frames is None else self.seconds_of(self.frames)

    def seconds_of(self, frames: int) -> float:
        """How long so many frames play."""
        return float(frames / self.fps)


def resolve_request(
    options: Options,
    story: Story,
    model: ModelInfo,
    first_block: int = 0,
    shot: Shot = FIRST_SHOT,
) -> Request:
    """Fill in the model's defaults; `ConfigError` for what the model or the story cannot do.

    `first_block` is the number of the stream's block with which the video begins, `take` where the
    stream's past began then.
    """
    from sana_stream.engine.device import resolve_device, resolve_dtype
    from sana_stream.engine.loading.presets import check_size
    from sana_stream.engine.loading.size_limits import StreamSizes, check_sizes
    from sana_stream.engine.sampling.schedule import resolve_timesteps
    from sana_stream.models.memory_policy import parse_memory_policy

    preset = model.preset
    width, height = options.size or (preset.width, preset.height)
    check_size(height, width, model.size_multiple)
    fps = options.fps or rate_of(preset.fps)
    frames = options.length.in_frames(story, options.every, fps)
    seconds = None if frames is None else float(frames / fps)
    timeline = Timeline(story.schedule(seconds, options.every, float(fps)), float(fps))
    size = options.block_frames or preset.block_frames
    whole = BlockPlan(size, model.temporal_factor, (shot,))
    plan = timeline.with_cuts(PlanView(whole, first_block) if first_block else whole)
    memory = options.memory or preset.memory
    parse_memory_policy(memory)
    device = resolve_device(options.device)
    dtype = resolve_dtype(options.dtype, device)
    given, steps = _steps(options.steps)
    resolve_timesteps(preset, given, steps, options.solver, options.flow_shift)
    guidance = preset.guidance if options.guidance is None else options.guidance
    if guidance > 1000:
        raise ConfigError(f"--guidance {guidance:g} is not possible: give at most 1000")
    sizes = StreamSizes(height, width, size, memory, guidance != 1)
    check_sizes(sizes, model.transformer, model.decoder, dtype, device)
    negative = options.negative_prompt
    if negative is not None and guidance == 1:
        raise ConfigError("--negative-prompt has no effect at guidance 1: add --guidance 4")
    return Request(
        model=options.model,
        width=width,
        height=height,
        fps=fps,
        frames=frames,
        plan=plan,
        timeline=timeline,
        placements=timeline.place(plan, frames),
        seed=options.seed,
        timesteps=given,
        steps=steps,
        solver=options.solver,
        flow_shift=options.flow_shift,
        guidance=guidance,
        negative_prompt=preset.negative_prompt if negative is None else negative,
        memory=memory,
        prompt_suffix=preset.motion_score,
        vocabulary=model.vocabulary,
    )


def _steps(
    steps: int | tuple[float, ...] | None,
) -> tuple[tuple[float, ...] | None, int | None]:
    """What `--steps` gives: timesteps, or a number of them."""
    return (None, steps) if isinstance(steps, int) else (steps, None)

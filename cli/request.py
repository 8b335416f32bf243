"""From options, story and model to everything a run needs to know, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from ..engine.plan import FROM_THE_START, BlockPlan, PlanFrom, Take
from ..engine.story import Story
from ..engine.timeline import Placement, Timeline
from ..models.errors import ConfigError
from ..streaming.rate import rate_of
from .options import Options

if TYPE_CHECKING:
    from ..engine.describe import ModelDescription
    from ..engine.vocabulary import Vocabulary
    from ..streaming.board import Cue as BoardCue


@dataclass(frozen=True, slots=True)
class Request:
    """One run, complete."""

    model: str
    width: int  # pixels
    height: int
    fps: Fraction
    frames: int | None  # of the whole video, `None` without an end
    plan: BlockPlan | PlanFrom
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
    def origin(self) -> int:
        """The stream's frame with which the video begins."""
        return self.plan.start if isinstance(self.plan, PlanFrom) else 0

    def board_cues(self) -> tuple[BoardCue, ...]:
        """What is shown from which frame on."""
        from ..streaming.board import Cue as BoardCue

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


def make_request(
    options: Options,
    story: Story,
    model: ModelDescription,
    first_block: int = 0,
    take: Take = FROM_THE_START,
) -> Request:
    """Fill in the model's defaults; `ConfigError` for what the model or the story cannot do.

    `first_block` is the number of the stream's block with which the video begins, `take` where the
    stream's past began then.
    """
    from ..engine.device import resolve_device, resolve_dtype
    from ..engine.room import Sizes, check_room
    from ..engine.schedule import plan_timesteps
    from ..engine.size import check_size
    from ..models.memory import parse_policy

    preset = model.preset
    width, height = options.size or (preset.width, preset.height)
    check_size(height, width, model.size_multiple)
    fps = options.fps or rate_of(preset.fps)
    frames = options.length.in_frames(story, options.every, fps)
    seconds = None if frames is None else float(frames / fps)
    timeline = Timeline(story.schedule(seconds, options.every, float(fps)), float(fps))
    size = options.block_frames or preset.block_frames
    whole = BlockPlan(size, model.temporal_factor, (take,))
    plan = timeline.with_cuts(PlanFrom(whole, first_block) if first_block else whole)
    memory = options.memory or preset.memory
    parse_policy(memory)
    device = resolve_device(options.device)
    dtype = resolve_dtype(options.dtype, device)
    given, steps = _steps(options.steps)
    plan_timesteps(preset, given, steps, options.solver, options.flow_shift)
    guidance = preset.guidance if options.guidance is None else options.guidance
    if guidance > 1000:
        raise ConfigError(f"--guidance {guidance:g} is not possible: give at most 1000")
    sizes = Sizes(height, width, size, memory, guidance != 1)
    check_room(sizes, model.transformer, model.decoder, dtype, device)
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

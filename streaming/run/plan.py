"""A run with everything resolved: its story on its blocks, its settings, where it begins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING

from sana_stream.engine.block import FIRST_SHOT, BlockPlan, PlanView, Shot
from sana_stream.engine.story.story import DEFAULT_SPACING_SECONDS, Story
from sana_stream.engine.story.timeline import Placement, Timeline, frame_count
from sana_stream.errors import ConfigError
from sana_stream.streaming.video_format import VideoFormat, rate_of

from .blends import check_blends
from .clip import check_clip_run, clip_frames
from .config import RunConfig

if TYPE_CHECKING:
    from sana_stream.engine.loading.vocabulary import Vocabulary
    from sana_stream.engine.snapshot.file import SavedStream
    from sana_stream.engine.snapshot.snapshot import SessionSettings

    from .model import RunModel


@dataclass(frozen=True, slots=True)
class RunOrigin:
    """Where a run begins in its stream, and what an earlier run has made of its video."""

    first_block: int = 0  # of the stream: the block with which the video begins
    shot: Shot = FIRST_SHOT  # where the stream's past begins then
    saved: SavedStream | None = None  # the checkpoint that the run continues
    frames: int = 0  # of the video that exist
    id: str | None = None  # of the earlier run


NEW_VIDEO = RunOrigin()


@dataclass(frozen=True, slots=True)
class RunPlan:
    """One run, resolved and checked."""

    config: RunConfig
    story: Story
    origin: RunOrigin
    id: str | None  # written into every file; None where an old version wrote none
    settings: SessionSettings
    fps: Fraction
    frames: int | None  # of the whole video; None: endless
    blocks: BlockPlan | PlanView
    timeline: Timeline
    placements: tuple[Placement, ...]
    negative_prompt: str
    prompt_suffix: str  # the model's own words after every prompt
    vocabulary: Vocabulary | None  # of a model that knows only some words
    model_name: str  # without the path of its folder

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.settings.width

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.settings.height

    @property
    def guidance(self) -> float:
        """The strength of classifier-free guidance; 1 is none."""
        return self.settings.guidance

    @property
    def first_frame(self) -> int:
        """The stream's frame with which the video begins."""
        return self.blocks.start if isinstance(self.blocks, PlanView) else 0

    @property
    def block_count(self) -> int | None:
        """How many blocks the video takes; None: endless."""
        return None if self.frames is None else self.blocks.blocks_for(self.frames)

    @property
    def seconds(self) -> float | None:
        """How long the video plays; None: endless."""
        return None if self.frames is None else self.seconds_of(self.frames)

    @property
    def video_format(self) -> VideoFormat:
        """The size and rate of the video."""
        return VideoFormat(self.width, self.height, self.fps)

    @property
    def shown_prompts(self) -> tuple[tuple[int, str], ...]:
        """Each prompt that is shown, with its first frame."""
        return tuple(
            (placement.frame, placement.cue.prompt)
            for placement in self.placements
            if placement.frame is not None
        )

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompts of the story in order."""
        return tuple(cue.prompt for cue in self.timeline.cues)

    def seconds_of(self, frames: int) -> float:
        """How long `frames` frames play."""
        return float(frames / self.fps)


def resolve_plan(
    config: RunConfig, story: Story, model: RunModel, origin: RunOrigin = NEW_VIDEO
) -> RunPlan:
    """Fill in the model's defaults and place the story on the stream's blocks.

    Raises:
        ConfigError: a setting that the model cannot take, or a length that is not possible.
        StoryError: a story that does not fit the video.
    """
    preset, config = model.preset, with_size(config, model)
    settings = check_settings(config, model)
    fps = rate_of(preset.fps if config.fps is None else config.fps)
    frames = count_frames(config, story, fps, clip_frames(config, model))
    continued = origin.first_block > 0 and not origin.frames
    check_clip_run(config, story, model, frames, fps, continued)
    seconds = None if frames is None else float(frames / fps)
    timeline = Timeline(story.schedule(seconds, config.every, float(fps)), float(fps))
    whole = BlockPlan(settings.block_frames, model.temporal_factor, (origin.shot,))
    view = PlanView(whole, origin.first_block) if origin.first_block else whole
    blocks = timeline.with_cuts(view)
    placements = timeline.place(blocks, frames)
    count = None if frames is None else blocks.blocks_for(frames)
    check_blends(story, placements, count, begins=not (origin.first_block and origin.saved))
    return RunPlan(
        config=config,
        story=story,
        origin=origin,
        id=origin.id,
        settings=settings,
        fps=fps,
        frames=frames,
        blocks=blocks,
        timeline=timeline,
        placements=placements,
        negative_prompt=(
            preset.negative_prompt if config.negative_prompt is None else config.negative_prompt
        ),
        prompt_suffix=preset.motion_score,
        vocabulary=model.vocabulary,
        model_name=PurePath(preset.name).name or preset.name,
    )


def with_size(config: RunConfig, model: RunModel) -> RunConfig:
    """The configuration with a size in place of its aspect ratio."""
    if config.aspect is None:
        return config
    from sana_stream.engine.session.settings import size_of_aspect

    height, width = size_of_aspect(model.preset, model.size_multiple, config.aspect)
    return replace(config, size=(width, height), aspect=None)


def size_notes(config: RunConfig, model: RunModel) -> list[str]:
    """The lines for a size that the model was not trained with, or that is not of its aspect."""
    from sana_stream.engine.loading.sizes import aspect_note, parse_aspect, size_note

    sized = with_size(config, model)
    if sized.size is None:
        return []
    width, height = sized.size
    notes = [size_note(model.preset.sizes, height, width)]
    if config.aspect is not None:
        notes.append(aspect_note(parse_aspect(config.aspect), height, width))
    return [note for note in notes if note is not None]


def check_settings(config: RunConfig, model: RunModel) -> SessionSettings:
    """The settings of the stream, checked as the engine checks them, before the model is loaded.

    Raises:
        ConfigError: which setting cannot be used, and what is allowed.
    """
    from sana_stream.engine.loading.size_limits import StreamSizes, check_sizes
    from sana_stream.engine.session.drift import check_action
    from sana_stream.engine.session.settings import resolve_settings

    width, height = config.size or (None, None)
    steps = config.steps
    settings = resolve_settings(
        model.preset,
        model.size_multiple,
        seed=config.seed,
        height=height,
        width=width,
        steps=steps if isinstance(steps, int) else None,
        timesteps=None if isinstance(steps, int) else steps,
        solver=config.solver,
        flow_shift=config.flow_shift,
        guidance=config.guidance,
        memory=config.memory,
        block_frames=config.block_frames,
    )
    device, dtype = model.device_and_dtype(config)
    guided = settings.guidance != 1
    sizes = StreamSizes(
        settings.height, settings.width, settings.block_frames, settings.memory, guided
    )
    check_sizes(sizes, model.transformer, model.decoder, dtype, device)
    check_division(config, model, settings)
    check_action(config.guard, settings.memory)
    if config.negative_prompt is not None and not guided:
        raise ConfigError("negative_prompt= has no effect at guidance 1: add guidance=4")
    return settings


def check_division(config: RunConfig, model: RunModel, settings: SessionSettings) -> None:
    """Check that the run's stream can be computed on the devices that it asks for.

    Raises:
        ConfigError: it cannot be divided so, or this machine has fewer devices.
    """
    count = model.device_count(config)
    if model.engine is not None:
        if config.parallel is not None or config.devices not in (None, count):
            raise ConfigError(
                "devices= and parallel= are for a run that loads its model: leave them out"
            )
        return
    if count == 1 and config.parallel is None:
        return
    from sana_stream.engine.parallel.devices import check_backend, device_of
    from sana_stream.engine.parallel.layout import check_layout, choose_layout
    from sana_stream.engine.parallel.world import launched_world

    guided, rows = settings.guidance != 1, settings.height // model.size_multiple[0]
    layout = choose_layout(count, config.parallel, guided, settings.block_frames, rows)
    check_layout(layout, model.preset.name, model.transformer.causal, config.quantize)
    if count == 1:
        return
    device_of(config.device, count, launched_world())
    check_backend()
    for name in ("compile", "graphs"):
        if getattr(config, name):
            raise ConfigError(f"{name}=True is for one device: leave it or devices= out")


def count_frames(
    config: RunConfig, story: Story, fps: Fraction, clip: int | None = None
) -> int | None:
    """The number of frames of the whole video; None: endless.

    Without a length it follows from the story: 10 seconds, or `every` seconds, a prompt.

    Args:
        clip: the frames of a clip, where the model makes one clip at a time; its default length.
    """
    if config.endless:
        return None
    if config.frames is not None:
        return config.frames
    if config.minutes is not None:
        return frame_count(config.minutes * 60, fps)
    if clip is not None and config.seconds is None:
        return clip
    spacing = DEFAULT_SPACING_SECONDS if config.every is None else config.every
    last = partial(story.schedule, None, None if story.timed else spacing, float(fps))
    seconds = config.seconds or (last()[-1].start_seconds or 0.0) + spacing
    return frame_count(seconds, fps)


def with_first_image(config: RunConfig, story: Story) -> Story:
    """The story with the picture of `image`, to which it cuts before its first frame.

    Raises:
        StoryError: its first prompt names a picture too.
    """
    from sana_stream.errors import StoryError

    first, *later = story.cues
    given = "image" if config.image else "video" if config.video else None
    if given is not None and first.image is not None:
        raise StoryError(
            f"{story.name} begins with a picture, and {given}= is given: leave one out"
        )
    if config.image is None:
        return story
    return replace(story, cues=(replace(first, image=str(config.image)), *later))

"""What the command line asks for, as plain data."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePath

from ..engine.story import DEFAULT_SPACING_SECONDS, Story
from ..engine.story_file import read_story
from ..engine.timeline import frame_count
from ..models.errors import ConfigError

STDOUT = "-"


@dataclass(frozen=True, slots=True)
class Length:
    """The length asked for; nothing given is a length that follows from the story."""

    minutes: float | None = None
    seconds: float | None = None
    frames: int | None = None
    endless: bool = False

    def in_frames(self, story: Story, every: float | None, fps: Fraction) -> int | None:
        """The exact number of frames, `None` without an end."""
        if self.endless:
            return None
        if self.frames is not None:
            return self.frames
        if self.minutes is not None:
            return frame_count(self.minutes * 60, fps)
        return frame_count(self.seconds or _natural_seconds(story, every, fps), fps)


@dataclass(frozen=True, slots=True)
class Options:
    """One run; `None` stands for the default of the model or the output."""

    prompts: tuple[str, ...]
    prompt_file: str | None
    every: float | None  # seconds
    length: Length
    outputs: tuple[str, ...]
    overwrite: bool
    container: str | None
    codec: str | None
    crf: int | None
    preset: str | None
    size: tuple[int, int] | None  # width, height
    fps: Fraction | None
    seed: int
    guidance: float | None
    negative_prompt: str | None
    steps: int | tuple[float, ...] | None
    solver: str | None
    flow_shift: float | None
    model: str
    parts: str | None
    device: str
    dtype: str
    memory: str | None
    block_frames: int | None
    quiet: bool
    debug: bool

    @classmethod
    def of(cls, args: Namespace) -> Options:
        """The options as parsed; `ConfigError` for what does not go together."""
        if not args.prompt and args.prompt_file is None:
            raise ConfigError(
                'nothing to show: give --prompt "a red boat at dusk" or --prompt-file story.txt'
            )
        outputs = tuple(args.out or [default_output(args.prompt_file)])
        for output in outputs:
            if outputs.count(output) > 1:
                raise ConfigError(f"--out {output} is given twice: once is enough")
        if args.format and not any(is_live(output) for output in outputs):
            raise ConfigError(
                f"--format {args.format} is for --out - and for addresses: "
                "the name of a file decides its format"
            )
        return cls(
            prompts=tuple(args.prompt or ()),
            prompt_file=args.prompt_file,
            every=args.every,
            length=Length(args.minutes, args.seconds, args.frames, args.endless),
            outputs=outputs,
            overwrite=args.overwrite,
            container=args.format,
            codec=args.codec,
            crf=args.crf,
            preset=args.preset,
            size=args.size,
            fps=args.fps,
            seed=args.seed,
            guidance=args.guidance,
            negative_prompt=args.negative_prompt,
            steps=args.steps,
            solver=args.solver,
            flow_shift=args.flow_shift,
            model=args.model,
            parts=args.parts,
            device=args.device,
            dtype=args.dtype,
            memory=args.memory,
            block_frames=args.block_frames,
            quiet=args.quiet,
            debug=args.debug,
        )

    def story(self) -> Story:
        """The story asked for, read from its file where it is one."""
        if self.prompt_file is not None:
            return read_story(self.prompt_file)
        return Story.of(self.prompts)


def is_live(output: str) -> bool:
    """Whether an output is standard output or an address, not something on disk."""
    return output == STDOUT or "://" in output


def default_output(prompt_file: str | None) -> str:
    """The video's name where none is given: that of the prompt file, in the current folder."""
    if prompt_file is None or prompt_file == "-":
        return "sana-stream.mp4"
    return f"{PurePath(prompt_file).stem}.mp4"


def _natural_seconds(story: Story, every: float | None, fps: Fraction) -> float:
    spacing = DEFAULT_SPACING_SECONDS if every is None else every
    last = story.schedule(None, None if story.timed else spacing, float(fps))[-1]
    return (last.start_seconds or 0.0) + spacing

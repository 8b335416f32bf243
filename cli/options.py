"""What the command line asks for, as plain data."""

from __future__ import annotations

import os
import stat
from argparse import Namespace
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePath

from sana_stream.engine.story.read import read_story
from sana_stream.engine.story.story import DEFAULT_SPACING_SECONDS, Story
from sana_stream.engine.story.timeline import frame_count
from sana_stream.errors import ConfigError

from .live_options import DEFAULT_HOST

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
    nvenc: bool
    segment: float | None  # seconds
    window: int | None  # blocks
    interactive: bool
    watch: bool
    web: int | None  # the page's port
    host: str
    token: str | None
    realtime: bool | None
    history: float  # seconds
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
    image: str | None
    video: str | None
    loras: tuple[tuple[str, float], ...]  # files, each with its scale
    quantize: str | None
    quantize_text: str | None
    device: str
    dtype: str
    memory: str | None
    block_frames: int | None
    decoder: str | None
    compile: bool
    graphs: bool
    decode_frames: int | None
    checkpoint_every: float  # seconds, 0 for none
    keep_checkpoint: bool
    guard: str
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
        check_outputs(outputs, args.format, args.segment, args.window)
        check_live(args)
        live = args.interactive or args.watch or args.web is not None
        given = (args.minutes, args.seconds, args.frames)
        endless = args.endless or (live and given == (None, None, None))
        return cls(
            prompts=tuple(args.prompt or ()),
            prompt_file=args.prompt_file,
            every=args.every,
            length=Length(*given, endless),
            outputs=outputs,
            overwrite=args.overwrite,
            container=args.format,
            codec=args.codec,
            crf=args.crf,
            preset=args.preset,
            nvenc=args.nvenc,
            segment=args.segment,
            window=args.window,
            interactive=args.interactive,
            watch=args.watch,
            web=args.web,
            host=args.host,
            token=args.token,
            realtime=args.realtime,
            history=args.history,
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
            image=args.image,
            video=args.video,
            loras=tuple(args.lora or ()),
            quantize=args.quantize,
            quantize_text=args.quantize_text,
            device=args.device,
            dtype=args.dtype,
            memory=args.memory,
            block_frames=args.block_frames,
            decoder=args.decoder,
            compile=args.compile,
            graphs=args.graphs,
            decode_frames=args.decode_frames,
            checkpoint_every=args.checkpoint_every,
            keep_checkpoint=args.keep_checkpoint,
            guard=args.guard,
            quiet=args.quiet,
            debug=args.debug,
        )

    @property
    def files(self) -> tuple[str, ...]:
        """The outputs with their names on the disk."""
        if self.segment is None:
            return self.outputs
        return tuple(first_segment(out) if is_video_file(out) else out for out in self.outputs)

    @property
    def live(self) -> bool:
        """Whether prompts may come in while the stream is made."""
        return self.interactive or self.watch or self.web is not None

    @property
    def paced(self) -> bool:
        """Whether blocks are made only as fast as they play."""
        return self.live if self.realtime is None else self.realtime

    def story(self) -> Story:
        """The story asked for, read from its file where it is one."""
        if self.prompt_file is not None:
            return read_story(self.prompt_file)
        return Story.of(self.prompts)


def is_live(output: str) -> bool:
    """Whether an output passes on: standard output, an address or a named pipe; not a file."""
    return is_address(output) or _is_named_pipe(output)


def is_address(output: str) -> bool:
    """Whether an output is standard output or an address, which have no format by their name."""
    return output == STDOUT or "://" in output


def is_image_pattern(output: str) -> bool:
    """Whether an output is a row of PNG pictures in a folder, such as frames/%06d.png."""
    return not is_address(output) and output.lower().endswith(".png")


def _is_named_pipe(output: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(output).st_mode)
    except (OSError, ValueError):
        return False


def check_outputs(
    outputs: tuple[str, ...], container: str | None, segment: float | None, window: int | None
) -> None:
    """Refuse outputs that do not go together, or options that none of them takes.

    Raises:
        ConfigError: which, and what to do.
    """
    for output in outputs:
        if outputs.count(output) > 1:
            raise ConfigError(f"--out {output} is given twice: once is enough")
        if not is_live(output) and PurePath(output).name in ("", ".."):
            raise ConfigError(f"--out {output} is a folder: give the name of a file in it")
    if container and not any(is_address(output) for output in outputs):
        raise ConfigError(
            f"--format {container} is for --out - and for addresses: "
            "the name of a file decides its format"
        )
    if segment and not any(is_video_file(output) for output in outputs):
        raise ConfigError("--segment is for video files: give one, such as --out film.mp4")
    if window and not any(is_playlist(output) for output in outputs):
        raise ConfigError("--window is for playlists: give one, such as --out live/live.m3u8")


def check_live(args: Namespace) -> None:
    """Refuse options for directing a run that do not go together, with ConfigError."""
    if args.interactive and args.prompt_file == STDOUT:
        raise ConfigError("--interactive reads standard input, and so does --prompt-file -")
    if args.watch and args.prompt_file in (None, STDOUT):
        raise ConfigError("--watch needs a file: give --prompt-file story.txt")
    if args.web is None and (args.token or args.host != DEFAULT_HOST):
        raise ConfigError("--host and --token are for the page: add --web")


def is_playlist(output: str) -> bool:
    """Whether an output is a playlist with its segments."""
    return not is_live(output) and output.lower().endswith(".m3u8")


def is_video_file(output: str) -> bool:
    """Whether an output is one file that holds the video."""
    return not is_live(output) and not output.lower().endswith((".m3u8", ".png"))


def first_segment(output: str) -> str:
    """The name of the first file of a video that is cut into several."""
    path = PurePath(output)
    return str(path.with_stem(f"{path.stem}-0001"))


def default_output(prompt_file: str | None) -> str:
    """The video's name where none is given: that of the prompt file, in the current folder."""
    if prompt_file is None or prompt_file == "-":
        return "sana-stream.mp4"
    return f"{PurePath(prompt_file).stem}.mp4"


def _natural_seconds(story: Story, every: float | None, fps: Fraction) -> float:
    spacing = DEFAULT_SPACING_SECONDS if every is None else every
    last = story.schedule(None, None if story.timed else spacing, float(fps))[-1]
    return (last.start_seconds or 0.0) + spacing

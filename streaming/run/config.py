"""What one run is asked to make: the record that a Python user gives and a checkpoint stores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path, PurePath
from typing import Any

from sana_stream._arguments import ARGUMENTS, shown
from sana_stream._files import expand_user
from sana_stream.engine.story.read import parse_story, read_story
from sana_stream.engine.story.story import IMAGE_MARK, Story
from sana_stream.errors import ConfigError
from sana_stream.streaming.outputs.targets import (
    STDOUT,
    check_outputs,
    first_segment,
    is_video_file,
)
from sana_stream.streaming.video_format import LEAST, MOST, rate_of

STORY_SUFFIXES = (".txt", ".md", ".vtt", ".srt", ".sbv", ".ass", ".ssa", ".json", ".jsonl")
LONGEST = 1e9  # seconds
MOST_OUTPUTS = 100
MOST_LORAS = 1000
MOST_PROMPTS = 100_000
MOST_STEPS = 10_000
Prompts = str | os.PathLike[str] | Sequence[str] | Story


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What a run makes, where it delivers it, and how; None is the model's or output's default.

    Raises `ConfigError` for a value of a wrong type or out of its range. `Run` checks the values
    against each other and against the model, the story and the files.

    Args:
        story: the prompts. A path or a `str` with the suffix of a prompt file (`story.txt`) is
            read from that file. Another `str` is a story as text, one prompt a line. A list holds
            one prompt an item.
        outputs: where the video goes: files (`.mp4 .mkv .mov .ts .webm .y4m`), PNG files
            (`frames/%06d.png`), playlists (`.m3u8`), `-` for standard output, and URLs (`tcp://
            unix:// udp:// rtmp:// srt://`).
        minutes, seconds, frames, endless: the length, one of them. Default: 10 seconds a prompt.
        every: seconds between prompts without times. Default: they share the length evenly.
        overwrite: replace output files that exist.
        container: the container of standard output and of URLs.
        codec, crf, preset, nvenc: the encoder, as `EncoderSettings` takes them.
        segment: seconds after which a new video file begins.
        window: blocks that a playlist keeps, 3 or more. Default: all.
        size: width and height in pixels.
        fps: frames per second at which the video plays.
        seed: 0 to 2**63 - 1.
        steps: the number of denoising steps, or the timesteps themselves.
        solver, flow_shift, guidance, negative_prompt, memory, block_frames: as `Engine.session`
            takes them.
        image: the path of a picture with which the video begins.
        video: the path of a clip that the video continues.
        model, parts, loras, quantize, quantize_text, device, dtype, decoder, decode_frames: as
            `Engine.load` takes them. They are used where the run loads the model itself.
        compile, graphs: compile the networks, capture CUDA graphs, when the run loads the model.
        checkpoint: write a checkpoint next to the first output file, from which an interrupted
            video is resumed.
        checkpoint_every: seconds between two checkpoints.
        keep_checkpoint: keep the checkpoint when the video is complete.
        guard: what happens when frames drift away from the prompt's first blocks: "off", "warn",
            "anchor" or "restart".
        directed: apply the commands of `Run.control` before each block. False: the next block is
            sampled while one is decoded, which is faster, and equal configurations give equal
            files.
        interactive: a client directs the run, so it runs in real time unless `realtime` is given.
        watch: read the prompt file again when it changes.
        web: the port of a page that shows and directs the run; 0 is any free one.
        host: the address on which the page listens.
        token: the secret in the page's address. Default: none on this machine, else a new one.
        realtime: generate blocks only as fast as they play. Default: with `interactive`, `watch`
            or `web`.
        history: seconds of video that a rewind can go back.
    """

    story: Prompts
    outputs: Sequence[str | os.PathLike[str]] = ()
    minutes: float | None = None
    seconds: float | None = None
    frames: int | None = None
    endless: bool = False
    every: float | None = None
    overwrite: bool = False
    container: str | None = None
    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    nvenc: bool = False
    segment: float | None = None
    window: int | None = None
    size: tuple[int, int] | None = None
    fps: float | Fraction | None = None
    seed: int = 0
    steps: int | Sequence[float] | None = None
    solver: str | None = None
    flow_shift: float | None = None
    guidance: float | None = None
    negative_prompt: str | None = None
    memory: str | None = None
    block_frames: int | None = None
    image: str | os.PathLike[str] | None = None
    video: str | os.PathLike[str] | None = None
    model: str | os.PathLike[str] = "pocket"
    parts: str | os.PathLike[str] | None = None
    loras: Sequence[tuple[str | os.PathLike[str], float]] = ()
    quantize: str | None = None
    quantize_text: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    decoder: str | None = None
    decode_frames: int | None = None
    compile: bool = False
    graphs: bool = False
    checkpoint: bool = False
    checkpoint_every: float = 30.0
    keep_checkpoint: bool = False
    guard: str = "warn"
    directed: bool = True
    interactive: bool = False
    watch: bool = False
    web: int | None = None
    host: str = "127.0.0.1"
    token: str | None = field(default=None, repr=False)
    realtime: bool | None = None
    history: float = 30.0

    def __post_init__(self) -> None:
        for name, value in _checked(self).items():
            object.__setattr__(self, name, value)

    def check(self) -> None:
        """Refuse values that exclude each other.

        Raises:
            ConfigError: which parameters, and what to do.
        """
        lengths = (self.minutes, self.seconds, self.frames, self.endless or None)
        if sum(length is not None for length in lengths) > 1:
            raise ConfigError("minutes, seconds, frames and endless are lengths: give one of them")
        if self.image is not None and self.video is not None:
            raise ConfigError("image and video are both given: a stream begins with one of them")
        self.check_watch()
        check_outputs(self.targets, self.container, self.segment, self.window)

    def check_watch(self) -> None:
        """Refuse to watch a story that is not read from a file.

        Raises:
            ConfigError: what to give.
        """
        if self.watch and self.prompt_file in (None, STDOUT):
            raise ConfigError("watch=True needs a file: give story='story.txt'")

    @property
    def targets(self) -> tuple[str, ...]:
        """The outputs as text."""
        return tuple(os.fspath(output) for output in self.outputs)

    @property
    def files(self) -> tuple[str, ...]:
        """The outputs by the names that they have on the disk."""
        if self.segment is None:
            return self.targets
        return tuple(first_segment(out) if is_video_file(out) else out for out in self.targets)

    @property
    def prompt_file(self) -> str | None:
        """The path of the story, where it is read from a file; `-` is standard input."""
        return str(self.story) if isinstance(self.story, PurePath) else None

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompts, where they are not read from a file."""
        if isinstance(self.story, Story):
            return tuple(cue.prompt for cue in self.story.cues)
        return self.story if isinstance(self.story, tuple) else ()

    @property
    def title(self) -> str:
        """The title in the video's metadata: the prompt file's name, or the first prompt."""
        if self.prompt_file in (None, STDOUT):
            return self.prompts[0].partition(IMAGE_MARK)[0] if self.prompts else ""
        return PurePath(str(self.prompt_file)).stem

    @property
    def live(self) -> bool:
        """Whether clients outside of the caller's code may direct the run."""
        return self.interactive or self.watch or self.web is not None

    @property
    def paced(self) -> bool:
        """Whether blocks are generated only as fast as they play."""
        return self.live if self.realtime is None else self.realtime

    def read_story(self) -> Story:
        """The story; raises `StoryError` for one that cannot be read."""
        if isinstance(self.story, Story):
            return self.story
        if isinstance(self.story, PurePath):
            return read_story(str(self.story))
        return Story.of(self.prompts)


def field_names() -> frozenset[str]:
    """The names of the parameters."""
    return frozenset(each.name for each in fields(RunConfig))


def check_names(given: Iterable[str]) -> None:
    """Refuse parameters that `RunConfig` does not have.

    Raises:
        ConfigError: the first of them, and the nearest that exists.
    """
    from difflib import get_close_matches

    for name in given:
        if name not in field_names():
            near = get_close_matches(name, field_names(), n=1)
            hint = f"did you mean {near[0]}?" if near else "see RunConfig for those that exist"
            raise ConfigError(f"{name} is not a parameter of a run: {hint}")


_FLAGS = (
    *("endless", "overwrite", "nvenc", "compile", "graphs", "checkpoint", "keep_checkpoint"),
    *("directed", "interactive", "watch"),
)
_WORDS = (
    *("container", "codec", "preset", "solver", "memory", "quantize", "quantize_text"),
    *("device", "dtype", "decoder", "host", "token", "guard"),
)
_PATHS = ("image", "video", "parts")
_COUNTS = {"frames": 1 << 53, "window": 10**9, "block_frames": 10_000, "decode_frames": 100_000}
_ABOVE_ZERO = ("minutes", "seconds", "every", "segment", "flow_shift", "history")


def _checked(config: RunConfig) -> dict[str, Any]:
    """Every field in its plain form: numbers as int or float, sequences as tuples."""
    found: dict[str, Any] = {"story": _story(config.story), "outputs": _outputs(config.outputs)}
    found |= {name: ARGUMENTS.flag(name, getattr(config, name)) for name in _FLAGS}
    if config.realtime is not None:
        found["realtime"] = ARGUMENTS.flag("realtime", config.realtime)
    given = {each.name: getattr(config, each.name) for each in fields(config)}
    given = {name: value for name, value in given.items() if value is not None}
    found |= {name: ARGUMENTS.word(name, given[name]) for name in _WORDS if name in given}
    found |= {name: _path(name, given[name]) for name in (*_PATHS, "model") if name in given}
    for name, most in _COUNTS.items():
        if name in given:
            found[name] = ARGUMENTS.whole(name, given[name], 1, most)
    for name in _ABOVE_ZERO:
        if name in given:
            found[name] = ARGUMENTS.number(name, given[name], above=0, most=LONGEST)
    found["checkpoint_every"] = ARGUMENTS.number(
        "checkpoint_every", config.checkpoint_every, 0, LONGEST
    )
    found["seed"] = ARGUMENTS.whole("seed", config.seed, 0, 2**63 - 1)
    if "crf" in given:
        found["crf"] = ARGUMENTS.whole("crf", config.crf)
    if "web" in given:
        found["web"] = ARGUMENTS.whole("web", config.web, 0, 65535)
    if "guidance" in given:
        found["guidance"] = ARGUMENTS.number("guidance", config.guidance, 0)
    if "negative_prompt" in given:
        negative = config.negative_prompt
        found["negative_prompt"] = ARGUMENTS.text("negative_prompt", negative, empty=True)
    found |= {"size": _size(config.size), "fps": _fps(config.fps)}
    found |= {"steps": _steps(config.steps), "loras": _loras(config.loras)}
    return found


def _story(given: object) -> Path | tuple[str, ...] | Story:
    if isinstance(given, Story):
        return given
    if isinstance(given, os.PathLike):
        return Path(given)
    if isinstance(given, str):
        if given.lower().endswith(STORY_SUFFIXES) and "\n" not in given:
            return expand_user(given)
        return parse_story(given, "the story")
    prompts = ARGUMENTS.items(
        "story", given, "a path, a text, a Story or a list of prompts", MOST_PROMPTS
    )
    if not prompts:
        raise ConfigError('story is empty: give a prompt such as "a red boat at dusk"')
    return tuple(ARGUMENTS.word("story", prompt) for prompt in prompts)


def _outputs(given: object) -> tuple[str, ...]:
    if isinstance(given, str | os.PathLike):
        given = (given,)
    found = ARGUMENTS.items("outputs", given, "a list of paths and URLs", MOST_OUTPUTS)
    return tuple(_target(output) for output in found)


def _target(given: object) -> str:
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ConfigError(f"outputs {shown(given)}: give paths, - or URLs")
    return text


def _path(name: str, given: object) -> str:
    if isinstance(given, str | os.PathLike):
        text = os.fspath(given)
        if isinstance(text, str) and text.strip():
            return text
    raise ConfigError(f"{name} {shown(given)}: give a path (a str or a Path)")


def _size(given: object) -> tuple[int, int] | None:
    if given is None:
        return None
    sides = ARGUMENTS.items("size", given, "(width, height) in pixels", 2)
    if len(sides) != 2:
        raise ConfigError("size: give (width, height) in pixels, such as (832, 480)")
    return ARGUMENTS.whole("size", sides[0]), ARGUMENTS.whole("size", sides[1])


def _fps(given: object) -> Fraction | None:
    if given is None:
        return None
    if not isinstance(given, Fraction):
        ARGUMENTS.number("fps", given, above=0, most=MOST)
    rate = rate_of(given)  # pyright: ignore[reportArgumentType] - it is a number
    if not LEAST <= rate <= MOST:
        raise ConfigError(f"fps {float(rate):g}: give {float(LEAST):g} to {MOST}")
    return rate


def _steps(given: object) -> int | tuple[float, ...] | None:
    if given is None:
        return None
    if not isinstance(given, Iterable):
        return ARGUMENTS.whole("steps", given, 1, MOST_STEPS)
    steps = ARGUMENTS.items("steps", given, "a number of steps, or timesteps", MOST_STEPS)
    return tuple(ARGUMENTS.number("steps", step) for step in steps)


def _loras(given: object) -> tuple[tuple[str, float], ...]:
    told = "pairs (file, scale)"
    pairs = ARGUMENTS.items("loras", given, told, MOST_LORAS)
    found = []
    for pair in pairs:
        parts = ARGUMENTS.items("loras", pair, told, 2)
        if len(parts) != 2:
            raise ConfigError(f"loras: give {told}")
        found.append((_path("loras", parts[0]), ARGUMENTS.number("loras", parts[1])))
    return tuple(found)

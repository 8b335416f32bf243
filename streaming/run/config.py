"""What one run is asked to make: the record that a Python user gives and a checkpoint stores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import PurePath

from sana_stream._prompts import IMAGE_MARK, split_blend
from sana_stream.engine.story.read import read_story
from sana_stream.engine.story.story import Story
from sana_stream.errors import ConfigError
from sana_stream.streaming.outputs.targets import (
    STDOUT,
    check_outputs,
    first_segment,
    is_video_file,
)

from .config_values import check_values

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
            unix:// udp:// rtmp:// http:// whip:// srt://`).
        minutes, seconds, frames, endless: the length, one of them. Default: 10 seconds a prompt.
        every: seconds between prompts without times. Default: they share the length evenly.
        overwrite: replace output files that exist.
        container: the container of standard output and of URLs.
        codec, crf, preset, nvenc, bit_depth: the encoder, as `EncoderSettings` takes them.
        segment: seconds after which a new video file begins.
        window: blocks that a playlist keeps, 3 or more. Default: all.
        mark: write into every output that a model has generated it: IPTC's digital source type,
            the model, the seed and the prompts, which EU law requires.
        sign: a PEM file with a certificate and its private key, with which finished `.mp4` and
            `.mov` files get content credentials (C2PA). Checkpoints do not store it.
        audio: the path of an audio file that becomes the sound of the video, cut or repeated to its
            length.
        size: width and height in pixels.
        aspect: width / height, or text such as "16:9", in place of `size`.
        fps: frames per second at which the video plays.
        seed: 0 to 2**63 - 1.
        steps: the number of denoising steps, or the timesteps themselves.
        solver, flow_shift, guidance, negative_prompt, memory, block_frames: as `Engine.session`
            takes them.
        image: the path of a picture with which the video begins.
        video: the path of a clip that the video continues.
        model, parts, loras, quantize, quantize_text, device, dtype, decoder, decode_frames: as
            `Engine.load` takes them, where the run loads the model itself. With a loaded engine
            they are only stored in checkpoints, for `sana-stream resume`.
        devices: compute the stream on this many devices together, one process each. Default: 1,
            under torchrun its number of processes.
        parallel: how they divide it: "guidance", "decoder", "frames", "rows" or parts such as
            "2x2" (frames x rows). Default: by the number of devices and the guidance.
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
    bit_depth: int | None = None
    segment: float | None = None
    window: int | None = None
    mark: bool = True
    sign: str | os.PathLike[str] | None = None
    audio: str | os.PathLike[str] | None = None
    size: tuple[int, int] | None = None
    aspect: str | float | None = None
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
    devices: int | None = None
    parallel: str | None = None
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
        for name, value in check_values(_values(self)).items():
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
        if self.size is not None and self.aspect is not None:
            raise ConfigError("size and aspect are both given: a video has one of them")
        self.check_sign()
        self.check_watch()
        check_outputs(self.targets, self.container, self.segment, self.window)

    def check_sign(self) -> None:
        """Refuse to sign a video without its mark.

        Raises:
            ConfigError: what to leave out.
        """
        if self.sign is not None and not self.mark:
            raise ConfigError("sign= says that a model has made the video: leave mark=False out")

    def check_watch(self) -> None:
        """Refuse to watch a story that is not read from a file.

        Raises:
            ConfigError: what to give.
        """
        if self.watch and self.prompt_file in (None, STDOUT):
            raise ConfigError("watch=True needs a prompt file: add story='story.txt'")

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
            first = self.prompts[0].partition(IMAGE_MARK)[0] if self.prompts else ""
            return split_blend(first)[1]
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


def _values(config: RunConfig) -> dict[str, object]:
    return {each.name: getattr(config, each.name) for each in fields(config)}

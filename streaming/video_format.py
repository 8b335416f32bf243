"""The format, the encoder settings and the metadata of a stream, as plain records."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from numbers import Rational
from typing import TYPE_CHECKING, cast

from sana_stream._arguments import OUTPUT_ARGUMENTS, shown
from sana_stream.errors import InvalidOutputError

from .ai_mark import DIGITAL_SOURCE_TYPE, AiMark
from .codec_limits import LIMITS
from .run_mark import ANONYMOUS, run_mark

if TYPE_CHECKING:
    from .audio import AudioTrack

FINEST = 100_000  # the largest denominator of a rate that containers keep
MOST = 1000
LEAST = Fraction(1, 1000)
_DECIMAL = re.compile(r"[0-9]{1,12}(?:\.[0-9]{0,20})?|\.[0-9]{1,20}")


def read_rate(text: str) -> Fraction | None:
    """Parse a frame rate; None if the text is not one.

    Whole numbers, decimal numbers and fractions of them are read: 16, 23.976, 24000/1001, 24/1.001.
    A rounded broadcast rate becomes its exact fraction.
    """
    over, slash, under = text.strip().partition("/")
    over, under = over.strip(), under.strip()
    if not _DECIMAL.fullmatch(over) or (slash and not _DECIMAL.fullmatch(under)):
        return None
    if slash:
        return Fraction(over) / Fraction(under) if Fraction(under) else None
    return _broadcast(over) or Fraction(over).limit_denominator(FINEST)


def rate_of(value: float | Fraction) -> Fraction:
    """The exact rate of a number; a float is read by its decimal digits."""
    if isinstance(value, Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    found = read_rate(str(value))  # a float32 of numpy has its own digits
    return Fraction(float(value)).limit_denominator(FINEST) if found is None else found


def _broadcast(text: str) -> Fraction | None:
    """`N * 1000 / 1001` if the text is that rate, rounded to the same number of digits."""
    digits = len(text.partition(".")[2].rstrip("0"))
    if digits < 2:
        return None
    value = Fraction(text)
    rate = Fraction(ceil(value) * 1000, 1001)
    # of two digits only common rates are read so: 23.98 is one of them, 24.98 is not
    usual = digits > 2 or not (ceil(value) % 12 and ceil(value) % 15)
    # the last digit may be cut off instead of rounded
    slack = Fraction(1, 2 * 10**digits) if digits <= 3 else Fraction(1, 10**digits)
    return rate if usual and abs(rate - value) <= max(slack, Fraction(1, 10**9)) else None


CODECS = tuple(LIMITS)
NVENC_CODECS = ("h264", "h265", "av1")
MOST_PROMPTS = 1_000_000  # in the tags of one file
LARGEST = 1 << 16  # pixels of a side, for frames without an encoder


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """The size of the frames in pixels and the frame rate in frames per second.

    `fps` becomes an exact fraction: 29.97 is 30000/1001. Raises InvalidOutputError for a size or
    rate that no output can hold.
    """

    width: int
    height: int
    fps: Fraction | float

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            value = OUTPUT_ARGUMENTS.whole(name, getattr(self, name), most=LARGEST)
            object.__setattr__(self, name, value)
            if value < 2 or value % 2:
                nearest = max(2, value // 2 * 2)
                raise InvalidOutputError(
                    f"{name} {value}: video is stored with half the colour resolution, which "
                    f"needs an even number of pixels; {nearest} is the nearest"
                )
        object.__setattr__(self, "fps", _exact_rate(self.fps))

    @property
    def rate(self) -> Fraction:
        """Frames per second."""
        return Fraction(self.fps)

    @property
    def frame_time(self) -> Fraction:
        """The seconds for which a frame is shown."""
        return 1 / self.rate

    def seconds(self, frames: int) -> float:
        """The duration of `frames` frames."""
        return float(frames * self.frame_time)


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """How frames are encoded; None is the default of the container or the codec.

    `crf` is the quality on the codec's own scale (lower is better). `preset` is its speed: a name
    for h264 and h265, a number for av1 (0 to 13) and vp9 (0 to 8); for prores and dnxhr it is the
    profile, which decides the quality. ffv1 is lossless and has neither. `nvenc` uses the encoder
    of an NVIDIA GPU, which takes no preset. `bit_depth` is 8, or 10 for h265 and av1; prores and
    the profile hqx of dnxhr always have 10. Raises InvalidOutputError for other values.
    """

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    nvenc: bool = False
    bit_depth: int | None = None

    def __post_init__(self) -> None:
        for name in ("codec", "preset"):
            if getattr(self, name) is not None:
                OUTPUT_ARGUMENTS.word(name, getattr(self, name))
        if self.crf is not None:
            object.__setattr__(self, "crf", OUTPUT_ARGUMENTS.whole("crf", self.crf))
        OUTPUT_ARGUMENTS.flag("nvenc", self.nvenc)
        if self.bit_depth is not None:
            depth = OUTPUT_ARGUMENTS.whole("bit_depth", self.bit_depth)
            object.__setattr__(self, "bit_depth", depth)
        if self.codec is not None and self.codec not in CODECS:
            raise InvalidOutputError(f"codec {shown(self.codec)}: use one of {', '.join(CODECS)}")
        if self.codec is not None:
            self.check(self.codec)

    def check(self, codec: str) -> None:
        """Refuse values that `codec` does not take."""
        if self.nvenc and codec not in NVENC_CODECS:
            raise InvalidOutputError(
                f"codec {codec!r}: NVIDIA GPUs encode {', '.join(NVENC_CODECS)}"
            )
        if self.nvenc and self.preset is not None:
            raise InvalidOutputError(
                f"preset {shown(self.preset)}: leave it out when the GPU encodes"
            )
        limits = LIMITS[codec]
        if self.crf is not None:
            if limits.crf is None:
                why = "its preset decides its quality" if limits.presets else "it is lossless"
                raise InvalidOutputError(f"crf {shown(self.crf)}: leave it out for {codec}: {why}")
            if not 0 <= self.crf <= limits.crf:
                raise InvalidOutputError(f"crf {shown(self.crf)}: {codec} takes 0 to {limits.crf}")
        if self.preset is not None and self.preset not in limits.presets:
            allowed = ", ".join(limits.presets) or "none; leave it out"
            raise InvalidOutputError(f"preset {shown(self.preset)}: {codec} takes {allowed}")
        self._check_bit_depth(codec, limits.bit_depths)

    def _check_bit_depth(self, codec: str, known: tuple[int, ...]) -> None:
        if codec == "dnxhr":
            known = (10,) if self.preset in (None, "hqx") else (8,)
        if self.bit_depth is not None and self.bit_depth not in known:
            others = ", ".join(
                name
                for name in CODECS
                if name != codec and self.bit_depth in LIMITS[name].bit_depths
            )
            advice = f"; use another codec ({others})" if others else ""
            profile = f" with preset {self.preset or 'hqx'}" if codec == "dnxhr" else ""
            raise InvalidOutputError(
                f"bit_depth {self.bit_depth}: {codec}{profile} takes"
                f" {' or '.join(map(str, known))}{advice}"
            )


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata that is written into a file.

    With `mark`, the file says that a model has generated it, in IPTC's terms: the digital source
    type `trainedAlgorithmicMedia`, the model, the software, the seed and the prompts.
    """

    title: str = ""
    prompts: tuple[str, ...] = ()
    seed: int | None = None
    run: str | None = ANONYMOUS  # the run's id; None for a run of a version without ids
    model: str = ""
    mark: bool = True

    def __post_init__(self) -> None:
        OUTPUT_ARGUMENTS.word("title", self.title)
        OUTPUT_ARGUMENTS.word("model", self.model)
        OUTPUT_ARGUMENTS.flag("mark", self.mark)
        prompts = OUTPUT_ARGUMENTS.items(
            "prompts", self.prompts, "the prompts' texts", MOST_PROMPTS
        )
        for prompt in prompts:
            OUTPUT_ARGUMENTS.word("prompts", prompt)
        object.__setattr__(self, "prompts", tuple(prompts))
        if self.seed is not None:
            object.__setattr__(
                self, "seed", OUTPUT_ARGUMENTS.whole("seed", self.seed, 0, 2**63 - 1)
            )

    def as_dict(self) -> dict[str, str]:
        """The tags, with the names that MP4 and Matroska share; `comment` is JSON."""
        facts = {"seed": self.seed, "run": None if self.run is None else run_mark(self.run)}
        comment = {name: value for name, value in facts.items() if value is not None}
        mark = self.ai_mark()
        if mark is not None:
            comment |= mark.facts()
        tags = {
            "title": self.title,
            "description": "\n".join(self.prompts),
            "comment": json.dumps(comment) if comment else "",
            "digital_source_type": "" if mark is None else DIGITAL_SOURCE_TYPE,
        }
        return {name: _storable(text) for name, text in tags.items() if text}

    def ai_mark(self, prompt: str | None = None) -> AiMark | None:
        """The mark of generated media, with the prompt of one block or all prompts; None without
        `mark`."""
        if not self.mark:
            return None
        prompts = "\n".join(self.prompts) if prompt is None else prompt
        return AiMark(_storable(self.model), self.seed, _storable(prompts))


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What a stream looks like, how it is compressed, its metadata and its sound.

    Raises InvalidOutputError for a field of another type.
    """

    video: VideoFormat
    encoder: EncoderSettings = EncoderSettings()
    metadata: Metadata = Metadata()
    audio: AudioTrack | None = None

    def __post_init__(self) -> None:
        for name, kind in (
            ("video", VideoFormat),
            ("encoder", EncoderSettings),
            ("metadata", Metadata),
        ):
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise InvalidOutputError(f"{name} {shown(value)}: give a {kind.__name__}")


def check_limits(codec: str, video: VideoFormat) -> None:
    """Refuse a stream that the encoder of `codec` does not take.

    Raises:
        InvalidOutputError: its size or rate, with the limit and what to do.
    """
    limits, size = LIMITS[codec], f"{video.width}x{video.height}"
    others = ", ".join(name for name in CODECS if name != codec and _takes(name, video))
    advice = f"; use another codec ({others})" if others else "; use another size"
    (least_width, least_height), (most_width, most_height) = limits.smallest, limits.largest
    if video.width < least_width or video.height < least_height:
        raise InvalidOutputError(
            f"codec {codec}: {size} is too small for its encoder, which takes frames from"
            f" {least_width}x{least_height}{advice}"
        )
    if video.width > most_width or video.height > most_height:
        raise InvalidOutputError(
            f"codec {codec}: {size} is too large for its encoder, which takes frames of at most"
            f" {most_width}x{most_height}{advice}"
        )
    if video.rate > limits.fastest:
        raise InvalidOutputError(
            f"codec {codec}: {float(video.rate):g} frames a second are too many for its encoder,"
            f" which takes {limits.fastest}; give fewer"
        )


def _takes(codec: str, video: VideoFormat) -> bool:
    limits = LIMITS[codec]
    sides = zip(limits.smallest, (video.width, video.height), limits.largest, strict=True)
    return all(least <= side <= most for least, side, most in sides)


def _exact_rate(given: object) -> Fraction:
    if not isinstance(given, Fraction):
        OUTPUT_ARGUMENTS.number("fps", given, most=MOST, above=0)
    rate = rate_of(cast("float", given))
    if not LEAST <= rate <= MOST:
        raise InvalidOutputError(
            f"{shown(float(rate))} frames a second: give {float(LEAST):g} to {MOST}"
        )
    if rate.denominator > FINEST:
        raise InvalidOutputError(
            f"fps {rate.numerator}/{rate.denominator}: give a fraction with a denominator of at"
            f" most {FINEST}; {rate.limit_denominator(FINEST)} is the nearest"
        )
    return rate


def _storable(text: str) -> str:
    """Replace what a tag cannot hold: NUL characters, and what is not UTF-8."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")

"""What a checkpoint may say about its run: every value typed and bounded before it is used."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sana_stream._prompts import MOST_BLOCKS

MAX_FPS = 1000


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character")
    return text


def _rate(text: str) -> str:
    numerator, _, denominator = text.partition("/")
    value = Fraction(int(numerator), int(denominator or 1) or 1)
    if not 0 < value <= MAX_FPS or denominator.strip("0") == "" != denominator:
        raise ValueError(f"a rate of more than 0 and at most {MAX_FPS}")
    return text


Text = Annotated[str, Field(max_length=100_000), AfterValidator(_without_nul)]
Word = Annotated[str, Field(max_length=100), AfterValidator(_without_nul)]
PathText = Annotated[str, Field(max_length=32_768), AfterValidator(_without_nul)]
Seconds = Annotated[float, Field(ge=0, le=1e10)]
Count = Annotated[int, Field(ge=0, le=1 << 53)]
Pixels = Annotated[int, Field(ge=1, le=1 << 16)]
Number = Annotated[float, Field(ge=-1e9, le=1e9)]
Rate = Annotated[str, Field(pattern=r"^\d{1,9}(/\d{1,9})?$"), AfterValidator(_rate)]


class _Stored(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class StoredLength(_Stored):
    """How long the video is to be."""

    minutes: Seconds | None = None
    seconds: Seconds | None = None
    frames: Count | None = None
    endless: bool = False


class StoredOptions(_Stored):
    """A `RunConfig` under the keys of a checkpoint; those of later versions have defaults."""

    prompts: Annotated[list[Text], Field(max_length=100_000)]
    prompt_file: PathText | None = None
    every: Seconds | None = None
    length: StoredLength
    outputs: Annotated[list[PathText], Field(max_length=100)]
    overwrite: bool = False
    container: Word | None = None
    codec: Word | None = None
    crf: Annotated[int, Field(ge=-1000, le=1000)] | None = None
    preset: Word | None = None
    nvenc: bool = False
    segment: Seconds | None = None
    window: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    interactive: bool = False
    watch: bool = False
    web: Annotated[int, Field(ge=0, le=65535)] | None = None
    host: Word = "127.0.0.1"
    token: None = None
    realtime: bool | None = None
    history: Seconds = 30.0
    size: Annotated[list[Pixels], Field(min_length=2, max_length=2)] | None = None
    fps: Rate | None = None
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    guidance: Annotated[float, Field(ge=0, le=1e6)] | None = None
    negative_prompt: Text | None = None
    steps: (
        Annotated[int, Field(ge=1, le=10_000)]
        | Annotated[list[Number], Field(min_length=1, max_length=10_000)]
        | None
    ) = None
    solver: Word | None = None
    flow_shift: Annotated[float, Field(gt=0, le=1e6)] | None = None
    model: PathText
    parts: PathText | None = None
    image: PathText | None = None
    video: PathText | None = None
    loras: Annotated[
        list[Annotated[list[PathText | Number], Field(min_length=2, max_length=2)]],
        Field(max_length=1000),
    ] = []
    quantize: Word | None = None
    quantize_text: Word | None = None
    device: Word = "auto"
    dtype: Word = "auto"
    memory: Word | None = None
    block_frames: Annotated[int, Field(ge=1, le=10_000)] | None = None
    decoder: PathText | None = None
    compile: bool = False
    graphs: bool = False
    decode_frames: Annotated[int, Field(ge=1, le=100_000)] | None = None
    parallel: Word | None = None
    checkpoint_every: Seconds = 30.0
    keep_checkpoint: bool = False
    guard: Literal["off", "warn", "anchor", "restart"] = "warn"
    quiet: bool = False
    debug: bool = False
    mark: bool = True
    audio: PathText | None = None
    bit_depth: Annotated[int, Field(ge=1, le=64)] | None = None


class StoredStory(_Stored):
    """A story: each cue is its start in seconds, prompt, start in frames, image, negative prompt,
    blocks of its blend."""

    name: Text
    cues: Annotated[
        list[Annotated[list[Any], Field(min_length=2, max_length=6)]],
        Field(min_length=1, max_length=1_000_000),
    ]


class StoredCue(_Stored):
    """One cue of a story."""

    start_seconds: Seconds | None
    prompt: Text
    start_frame: Count | None = None
    image: PathText | None = None
    negative: Text | None = None
    blend: Annotated[int, Field(ge=0, le=MOST_BLOCKS)] = 0


class StoredJob(_Stored):
    """Everything that a checkpoint says about the run that it belongs to."""

    options: StoredOptions
    story: StoredStory
    first_block: Count
    take: Annotated[list[Count], Field(min_length=2, max_length=2)] = [0, 0]
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None
    checkpoint: PathText | None = None
    signed: bool = False

"""The schema of a checkpoint's header: types and bounds of every value.

Field names are those of the files and do not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError

from sana_stream._files import parse_json
from sana_stream._prompts import MOST_BLOCKS, MOST_PROMPTS
from sana_stream._text import safe_text
from sana_stream.engine.peers import MAX_DEVICES
from sana_stream.models.schema import Schema

Words = Annotated[str, Field(max_length=1_000_000)]
Name = Annotated[str, Field(max_length=1000)]
Count = Annotated[int, Field(ge=0, le=1 << 53)]
Finite = Annotated[float, Field(ge=-1e12, le=1e12)]
Timesteps = Annotated[
    list[Annotated[float, Field(ge=0, le=1000)]], Field(min_length=1, max_length=10_000)
]
Look = Annotated[list[Finite], Field(min_length=1, max_length=16)]
EXTRA_BYTES = 64 << 20  # more than a story of 24 hours


class StoredSettings(Schema):
    """`SessionSettings` as JSON."""

    seed: Annotated[int, Field(ge=0, lt=1 << 63)]
    height: Annotated[int, Field(ge=1, le=1 << 15)]
    width: Annotated[int, Field(ge=1, le=1 << 15)]
    block_frames: Annotated[int, Field(ge=1, le=10_000)]
    timesteps: Timesteps
    guidance: Annotated[float, Field(ge=0, le=1e6)]
    memory: Name
    solver: Name = "renoise"
    after_cut: Annotated[list[Name | Timesteps], Field(min_length=2, max_length=2)] | None = None


class StoredState(Schema):
    """The position of one state, and start and length of each of its slots."""

    position: Count
    slots: Annotated[
        list[Annotated[list[Count], Field(min_length=2, max_length=2)]], Field(max_length=100_000)
    ]


class StoredWatch(Schema):
    """`DriftReference` without its tensors."""

    prompt: Words
    look: Look
    blocks: Count
    quiet: Count
    good: bool
    negative: Words = ""  # earlier files have none of these
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    index: Annotated[int, Field(ge=-1, le=1 << 53)] = -1
    last: Look | None = None
    settling: Count = 0
    longer: Count = 0


class StoredTake(Schema):
    """`Shot` as JSON."""

    index: Count
    start: Count


StoredMix = Annotated[
    list[
        Annotated[
            list[Words | Annotated[float, Field(gt=0, le=1)]], Field(min_length=2, max_length=2)
        ]
    ],
    Field(min_length=1, max_length=MOST_PROMPTS),
]


class StoredBlend(Schema):
    """`PromptBlend` as JSON."""

    prompt: StoredMix
    negative: StoredMix
    blocks: Annotated[int, Field(ge=1, le=MOST_BLOCKS)]
    done: Annotated[int, Field(ge=0, lt=MOST_BLOCKS)]


class StoredHeader(Schema):
    """All values of a header; version 1 has neither `watch` nor `take`.

    Earlier files of version 2 have no `decode_frames`, `decode_tiles` or `blend`, those of one
    device no `devices` or `parallel`.
    """

    model: Name
    fingerprint: Words
    prompt: Words
    negative_prompt: Words
    index: Count
    frames: Count
    fps: Annotated[float, Field(gt=0, le=1000)]
    settings: StoredSettings
    states: Annotated[list[StoredState], Field(min_length=1, max_length=2)]
    beginning: Look | None
    device: Name
    dtype: Name
    extra: dict[str, Any]
    watch: StoredWatch | None = None
    take: StoredTake | None = None
    decode_frames: Annotated[int, Field(ge=1, le=10_001)] | None = None
    decode_tiles: bool | None = None
    blend: StoredBlend | None = None
    devices: Annotated[int, Field(ge=1, le=MAX_DEVICES)] = 1
    parallel: Name = ""


TEXT = ("model", "fingerprint", "prompt", "negative_prompt", "device", "dtype", "parallel")


def read_header_values(metadata: Mapping[str, str], names: tuple[str, ...]) -> StoredHeader:
    """Validate the header in a file's metadata.

    Raises:
        ValueError: a value is missing, is not JSON, or is not allowed; the message is one line
            that names it.
    """
    values: dict[str, Any] = {}
    for name in names:
        if name not in metadata:
            raise ValueError(f"{name} is missing")
        text = metadata[name]
        try:
            values[name] = text if name in TEXT else parse_json(text, EXTRA_BYTES)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    try:
        return StoredHeader.model_validate(values)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error


def first_problem(error: ValidationError) -> str:
    """The first fault of pydantic, as `settings.height: Input should be ... (given: -1)`."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(map(str, problem["loc"]))
    given = safe_text(repr(problem["input"])[:200], 60)
    return f"{safe_text(where, 80)}: {problem['msg']} (given: {given})"

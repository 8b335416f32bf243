"""A story: prompts and the times at which they take over."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from sana_stream._files import expand_user
from sana_stream._text import safe_text
from sana_stream.errors import StoryError

DEFAULT_SPACING_SECONDS = 10.0  # of prompts without times in a video without an end
MAX_PROMPTS = 20_000  # far above any film's subtitles
MAX_CHARACTERS = 10_000  # of a prompt; a model reads a few hundred words
MAX_SECONDS = 36_000_000.0  # 10000 hours
MAX_FRAME = 10**10

IMAGE_MARK = "<image>"  # what stands behind it in a prompt is the path of a picture
# controls, and bytes that were not UTF-8
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# how other tools write what is not to be seen behind a prompt
_NEGATIVE = re.compile(
    r"(?:^|\s)--(?:neg(?:ative)?(?:[-_ ]?prompts?)?|no)(?:[\s=:]+|$)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Cue:
    """One prompt of a story, with its start in seconds, in frames of the stream, or without."""

    start_seconds: float | None
    prompt: str
    start_frame: int | None = None
    line: int | None = field(default=None, compare=False)  # in the file, from 1, for messages
    image: str | None = None  # the path of a picture that the film cuts to
    negative: str | None = None  # what is not to be seen; None for what holds otherwise

    @property
    def timed(self) -> bool:
        return self.start_seconds is not None or self.start_frame is not None


@dataclass(frozen=True, slots=True)
class Story:
    """Prompts in their order: all of them with a start, or none.

    A prompt's white space becomes single spaces, `a boat<image>boat.png` is the prompt `a boat`
    with a picture, and `a boat --neg rain` the prompt `a boat` with a negative one; a first prompt
    without a start takes 0 where others have one. Raises `StoryError` when there is no prompt or
    there are more than `MAX_PROMPTS`, an empty one, a too long one, one that is no text, only some
    have a start, starts do not ascend, or the first is not 0.
    """

    cues: tuple[Cue, ...]
    name: str = field(default="the story", compare=False)  # what messages call it
    notes: tuple[str, ...] = field(default=(), compare=False)  # what was left out or understood

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", safe_text(self.name))
        if not self.cues:
            raise StoryError(f"{self.name} holds no prompt: write one a line")
        if len(self.cues) > MAX_PROMPTS:
            raise StoryError(f"{self.name} holds more than {MAX_PROMPTS} prompts: leave some out")
        for cue in self.cues:
            _check_types(cue, self)
        cues = tuple(_read_prompt(cue, self.where(cue)) for cue in self.cues)
        object.__setattr__(self, "cues", _first_at_zero(cues))
        for cue in self.cues:
            _check_cue(cue, self)
        for before, cue in pairwise(self.cues):
            _check_order(before, cue, self)

    @classmethod
    def of(cls, prompts: Iterable[str], name: str = "the prompts") -> Story:
        """A story of prompts without times."""
        return cls(tuple(Cue(None, prompt) for prompt in prompts), name)

    def with_image_root(self, folder: Path) -> Story:
        """The story with its pictures' paths as they are seen from there."""

        def found(cue: Cue) -> Cue:
            path = None if cue.image is None else folder / expand_user(cue.image)
            return cue if path is None else replace(cue, image=str(path))

        return replace(self, cues=tuple(found(cue) for cue in self.cues))

    @property
    def timed(self) -> bool:
        """Whether the prompts have starts of their own."""
        return self.cues[0].timed

    def schedule(self, seconds: float | None, every: float | None, fps: float) -> tuple[Cue, ...]:
        """The cues with every start known in seconds, ascending, the first at 0.

        Prompts without times share `seconds` evenly, or follow one another `every` so many
        seconds; without an end (`seconds` None) that is every 10 s. The last one holds.
        `fps` turns starts given in frames into seconds.

        Raises `StoryError` for a start at or past the end, and for `every` with a timed story.
        """
        if every is not None and not 0 < every <= MAX_SECONDS:
            raise StoryError(f"{every:g} s between prompts is not possible: give more than 0")
        if self.timed:
            if every is not None:
                raise StoryError(f"{self.name} has times of its own: leave out the even spacing")
            cues = tuple(_in_seconds(cue, fps) for cue in self.cues)
        else:
            cues = _spaced(self.cues, self._spacing(seconds, every))
        for cue in cues:
            _check_fits(cue, seconds, self)
        return cues

    def where(self, cue: Cue) -> str:
        """The place of a cue, for the beginning of a message."""
        if cue.line is None:
            return self.name
        return f"{self.name}, line {cue.line}"

    def _spacing(self, seconds: float | None, every: float | None) -> float:
        if every is not None:
            return every
        return DEFAULT_SPACING_SECONDS if seconds is None else seconds / len(self.cues)


def format_time(seconds: float) -> str:
    """A time as people write it: 0:20, 1:05.5, 1:02:03 (to the millisecond)."""
    millis = round(seconds * 1000)
    minutes, millis = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{millis % 1000:03d}".rstrip("0").rstrip(".")
    tail = f"{millis // 1000:02d}{fraction}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def split_negative(prompt: str) -> tuple[str, str | None]:
    """A prompt, and behind `--neg`, `--negative` or `--no` what is not to be seen, if it is told.

    Deforum, ComfyUI's schedules and others write it so.
    """
    if (match := _NEGATIVE.search(prompt)) is None:
        return prompt, None
    rest = _NEGATIVE.sub(" ", prompt[match.end() :])
    return prompt[: match.start()].strip(), " ".join(rest.split()) or None


def _check_types(cue: Cue, story: Story) -> None:
    """Cues may come from data that nobody has looked at."""
    texts: tuple[object, ...] = (cue.prompt, cue.image or "", cue.negative or "")
    for text in texts:
        if not isinstance(text, str):
            raise StoryError(f"{story.where(cue)}: a prompt is text, and {safe_text(text)} is none")
    starts: tuple[tuple[object, object], ...] = (
        (cue.start_seconds, (int, float)),
        (cue.start_frame, int),
    )
    for start, kind in starts:
        if start is not None and (isinstance(start, bool) or not isinstance(start, kind)):
            raise StoryError(
                f"{story.where(cue)}: a start is a number, and {safe_text(start, 40)} is none"
            )


def _read_prompt(cue: Cue, where: str) -> Cue:
    text, mark, path = cue.prompt.partition(IMAGE_MARK)
    if mark and not path.strip():
        raise StoryError(f"{where}: {IMAGE_MARK} names no picture: write its path behind it")
    (text, negative), (path, behind) = split_negative(text), split_negative(path)
    return replace(
        cue,
        prompt=" ".join(text.split()),
        image=path.strip() or cue.image,
        negative=negative or behind or cue.negative,
    )


def _first_at_zero(cues: tuple[Cue, ...]) -> tuple[Cue, ...]:
    first, *rest = cues
    if first.timed or not any(cue.timed for cue in rest):
        return cues
    if any(cue.start_frame is not None for cue in rest):
        return (replace(first, start_frame=0), *rest)
    return (replace(first, start_seconds=0.0), *rest)


def _check_cue(cue: Cue, story: Story) -> None:
    where = story.where(cue)
    if not cue.prompt:
        raise StoryError(f"{where}: an empty prompt: write what is to be seen")
    for text in (cue.prompt, cue.negative or ""):
        if match := _NO_TEXT.search(text):
            raise StoryError(f"{where}: a prompt is text, and {match[0]!a} is none: leave it out")
        if len(text) > MAX_CHARACTERS:
            raise StoryError(
                f"{where}: a prompt of {len(text)} characters: at most {MAX_CHARACTERS} are "
                "allowed, and a model reads a few hundred words"
            )
    first = story.cues[0]
    if cue.timed != first.timed:
        raise StoryError(
            f"{where}: {_short(cue.prompt)} has no time, but other prompts have one: "
            "give every prompt a time, or none (\\ in front of a line makes all of it text)"
        )
    if (cue.start_frame is None) != (first.start_frame is None):
        raise StoryError(
            f"{where}: {_short(cue.prompt)} starts at {_written(cue)}, other prompts at "
            f"{_written(first)}: give all of them times, or all of them frames"
        )
    _check_start(cue, story)


def _check_start(cue: Cue, story: Story) -> None:
    start, where = _start(cue), story.where(cue)
    latest = MAX_SECONDS if cue.start_frame is None else MAX_FRAME
    if start is not None and not 0 <= start <= latest:
        shown = f"{min(max(start, -1e300), 1e300) if isinstance(start, int) else start:g}"
        raise StoryError(
            f"{where}: a prompt cannot start at {shown}: times begin at 0:00 "
            "and end after 10000 hours"
        )
    if cue is story.cues[0] and start:
        raise StoryError(
            f"{where}: the first prompt starts at {_written(cue)}, and nothing comes before it: "
            "start it at 0:00 (if this is no time but text, put \\ in front)"
        )


def _check_order(before: Cue, cue: Cue, story: Story) -> None:
    earlier, later = _start(before), _start(cue)
    if earlier is None or later is None or later > earlier:
        return
    raise StoryError(
        f"{story.where(cue)}: {_written(cue)} does not come after {_written(before)}: "
        "times must ascend"
    )


def _check_fits(cue: Cue, seconds: float | None, story: Story) -> None:
    start = cue.start_seconds
    if seconds is None or start is None or start < seconds:
        return
    raise StoryError(
        f"{story.where(cue)}: {_short(cue.prompt)} would start at {format_time(start)}, but the"
        f" video ends at {format_time(seconds)}: make it longer, or start the prompt earlier"
    )


def _start(cue: Cue) -> float | None:
    return cue.start_seconds if cue.start_frame is None else cue.start_frame


def _written(cue: Cue) -> str:
    if cue.start_frame is not None:
        return f"frame {cue.start_frame}"
    return "no time" if cue.start_seconds is None else format_time(cue.start_seconds)


def _in_seconds(cue: Cue, fps: float) -> Cue:
    if cue.start_frame is None:
        return cue
    return replace(cue, start_seconds=cue.start_frame / fps, start_frame=None)


def _spaced(cues: Sequence[Cue], spacing: float) -> tuple[Cue, ...]:
    return tuple(replace(cue, start_seconds=index * spacing) for index, cue in enumerate(cues))


def _short(prompt: str, width: int = 40) -> str:
    cut = prompt if len(prompt) <= width else f"{prompt[: width - 3].rstrip()}..."
    return f'"{safe_text(cut)}"'

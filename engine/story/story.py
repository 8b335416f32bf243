"""A story: prompts and their start times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from sana_stream._files import expand_user
from sana_stream._prompts import IMAGE_MARK, MOST_BLOCKS, parse_mix, split_blend, split_negative
from sana_stream._text import find_control, safe_text
from sana_stream.errors import StoryError

DEFAULT_SPACING_SECONDS = 10.0  # of prompts without times in an endless video
MAX_PROMPTS = 20_000  # far above any film's subtitles
MAX_CHARACTERS = 10_000  # of a prompt; a model reads a few hundred words
MAX_SECONDS = 36_000_000.0  # 10000 hours
MAX_FRAME = 10**10


@dataclass(frozen=True, slots=True)
class Cue:
    """One prompt of a story, with its start in seconds, in frames of the stream, or neither."""

    start_seconds: float | None
    prompt: str
    start_frame: int | None = None
    line: int | None = field(default=None, compare=False)  # in the file, from 1, for messages
    image: str | None = None  # path of an image that the video cuts to
    negative: str | None = None  # negative prompt; None for the stream's own
    blend: int = 0  # blocks over which it is blended in

    @property
    def timed(self) -> bool:
        return self.start_seconds is not None or self.start_frame is not None


@dataclass(frozen=True, slots=True)
class Story:
    """Prompts in order: all of them with a start, or none.

    White space in a prompt becomes single spaces. `a boat<image>boat.png` is the prompt `a boat`
    with an image, and `a boat --neg rain` the prompt `a boat` with a negative one.
    `a boat :0.7 | a train :0.3` holds two prompts at weights. A first prompt without a start gets 0
    if others have one.

    Raises:
        StoryError: no prompt, or more than `MAX_PROMPTS`; an empty prompt, one that is too long or
            not text; weights that do not add up to 1; a blend in a cut to an image; only some have
            a start, starts do not ascend, or the first is not 0.
    """

    cues: tuple[Cue, ...]
    name: str = field(default="the story", compare=False)  # for messages
    notes: tuple[str, ...] = field(default=(), compare=False)  # what was ignored or interpreted

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", safe_text(self.name))
        if not self.cues:
            raise StoryError(f"{self.name} holds no prompt: write one a line")
        if len(self.cues) > MAX_PROMPTS:
            raise StoryError(f"{self.name} holds more than {MAX_PROMPTS} prompts: remove some")
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
        """Create a story of prompts without times; `~2 night falls` is blended in."""
        return cls(tuple(read_blend(Cue(None, prompt), name) for prompt in prompts), name)

    def with_image_root(self, folder: Path) -> Story:
        """Resolve the paths of images against a folder."""

        def resolved(cue: Cue) -> Cue:
            path = None if cue.image is None else folder / expand_user(cue.image)
            return cue if path is None else replace(cue, image=str(path))

        return replace(self, cues=tuple(resolved(cue) for cue in self.cues))

    def check_no_images(self) -> None:
        """Refuse a story that names images, for stories from clients: they would read local files.

        Raises:
            StoryError: which prompt.
        """
        for cue in self.cues:
            if cue.image is not None:
                raise StoryError(
                    f"{self.where(cue)}: a story from a client cannot name pictures of this"
                    f" machine: leave {IMAGE_MARK} out"
                )

    @property
    def timed(self) -> bool:
        """Whether the prompts have starts."""
        return self.cues[0].timed

    def schedule(self, seconds: float | None, every: float | None, fps: float) -> tuple[Cue, ...]:
        """Compute every cue's start in seconds, ascending, the first at 0.

        Prompts without times share `seconds` evenly, or start `every` seconds; in an endless
        stream (`seconds` None) the default is 10 s. The last prompt continues to the end.

        Args:
            seconds: duration of the video.
            every: seconds between prompts without times.
            fps: frames per second, to convert starts given in frames.

        Raises:
            StoryError: a start at or past the end, or `every` for a timed story.
        """
        if every is not None and not 0 < every <= MAX_SECONDS:
            raise StoryError(f"{every:g} s between prompts is not possible: give more than 0")
        if self.timed:
            if every is not None:
                raise StoryError(f"{self.name} has times already: leave out the even spacing")
            cues = tuple(_in_seconds(cue, fps) for cue in self.cues)
        else:
            cues = _spaced(self.cues, self._spacing(seconds, every))
        for cue in cues:
            _check_fits(cue, seconds, self)
        return cues

    def where(self, cue: Cue) -> str:
        """Format the place of a cue, for the beginning of a message."""
        if cue.line is None:
            return self.name
        return f"{self.name}, line {cue.line}"

    def _spacing(self, seconds: float | None, every: float | None) -> float:
        if every is not None:
            return every
        return DEFAULT_SPACING_SECONDS if seconds is None else seconds / len(self.cues)


def format_time(seconds: float) -> str:
    """Format a time, to the millisecond: 0:20, 1:05.5, 1:02:03."""
    millis = round(seconds * 1000)
    minutes, millis = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{millis % 1000:03d}".rstrip("0").rstrip(".")
    tail = f"{millis // 1000:02d}{fraction}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def read_blend(cue: Cue, name: str) -> Cue:
    """Move the notation of a blend, as in `~2 night falls`, from a cue's prompt to its number.

    Readers of stories call this once; `Cue` and `Story` themselves take such a prompt as text.

    Raises:
        StoryError: not a number of blocks.
    """
    if not isinstance(cue.prompt, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        return cue
    try:
        blend, prompt = split_blend(cue.prompt)
    except ValueError as error:
        where = name if cue.line is None else f"{name}, line {cue.line}"
        raise StoryError(f"{safe_text(where)}: {error}") from None
    return replace(cue, prompt=prompt, blend=blend)


def _check_types(cue: Cue, story: Story) -> None:
    """Check types: cues may be created from unchecked data."""
    texts: tuple[object, ...] = (cue.prompt, cue.image or "", cue.negative or "")
    for text in texts:
        if not isinstance(text, str):
            raise StoryError(f"{story.where(cue)}: a prompt must be text, not {safe_text(text)}")
    starts: tuple[tuple[object, object], ...] = (
        (cue.start_seconds, (int, float)),
        (cue.start_frame, int),
    )
    for start, kind in starts:
        if start is not None and (isinstance(start, bool) or not isinstance(start, kind)):
            raise StoryError(
                f"{story.where(cue)}: a start must be a number, not {safe_text(start, 40)}"
            )
    if type(cue.blend) is not int or not 0 <= cue.blend <= MOST_BLOCKS:
        raise StoryError(
            f"{story.where(cue)}: a blend over {safe_text(cue.blend, 40)} blocks: give a whole"
            f" number from 0 to {MOST_BLOCKS}"
        )


def _read_prompt(cue: Cue, where: str) -> Cue:
    text, mark, path = cue.prompt.partition(IMAGE_MARK)
    if mark and not path.strip():
        raise StoryError(f"{where}: {IMAGE_MARK} names no image: write its path after it")
    (text, negative), (path, after) = split_negative(text), split_negative(path)
    return replace(
        cue,
        prompt=" ".join(text.split()),
        image=path.strip() or cue.image,
        negative=negative or after or cue.negative,
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
        raise StoryError(f"{where}: an empty prompt: describe the scene")
    for text in (cue.prompt, cue.negative or ""):
        if match := find_control(text):
            raise StoryError(f"{where}: a prompt must not contain {match[0]!a}: leave it out")
        if len(text) > MAX_CHARACTERS:
            raise StoryError(
                f"{where}: a prompt of {len(text)} characters: at most {MAX_CHARACTERS} are "
                "allowed, and a model reads a few hundred words"
            )
    try:
        parse_mix(cue.prompt)
    except ValueError as error:
        raise StoryError(f"{where}: {error}") from None
    if cue.blend and cue.image is not None:
        raise StoryError(
            f"{where}: a cut to an image cannot be blended over {cue.blend} blocks: leave"
            f" ~{cue.blend} out"
        )
    first = story.cues[0]
    if cue.timed != first.timed:
        raise StoryError(
            f"{where}: {_short(cue.prompt)} has no time, but other prompts have one: "
            "give every prompt a time, or none (\\ at the beginning of a line makes it text)"
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
            "start it at 0:00 (if this is text, not a time, put \\ in front)"
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

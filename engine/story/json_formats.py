"""Stories in the JSON formats of other tools.

Supported are:

- a list of prompts, or of objects with a time and a prompt, also one a line (JSONL);
- LongLive's `{"prompts": [...]}`;
- maps from frame number to prompt, with settings around them, of Deforum, ComfyUI's schedules (also
  without braces) and AnimateDiff's prompt travel;
- Scope's timeline of `startTime` and `prompts`;
- Whisper's `segments` and `chunks`, scenes and shots.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sana_stream._files import parse_json as parse_bounded
from sana_stream._text import safe_text
from sana_stream.errors import StoryError

from .markup import without_settings
from .story import Cue, Story, read_blend
from .times import read_time

_FORMS = (
    'a list of prompts, {"prompts": [...]}, a map from frame numbers to prompts '
    '{"0": "...", "48": "..."}, or a timeline {"prompts": [{"startTime": 0, ...}]}'
)
_MAPS = (
    "prompts", "prompt_map", "animation_prompts", "prompt_schedule", "segments", "timeline",
    "scenes", "shots", "chunks",
)  # fmt: skip
_OTHERS = (  # keys by which files of other programs are recognized
    (("keyframes", "rendered_frames"), "Parseq"),
    (("nodes", "links"), "ComfyUI's workflows"),
    (("wireMagic", "events"), "YouTube's captions"),
)
_BEFORE = ("head_prompt", "positive_prompts", "animation_prompts_positive", "pre_text")
_AFTER = ("tail_prompt", "app_text")
_NEGATIVES = ("n_prompt", "negative_prompts", "animation_prompts_negative", "negative_prompt")
_TIMES = ("startTime", "start_time", "start", "time", "timestamp", "t")
_FRAMES = ("frame", "start_frame", "startFrame")
_TEXTS = ("prompt", "text", "caption", "description")
_WEIGHT = re.compile(r":`[^`]*`")  # a weight of Deforum that is given by a formula
_PAIR = re.compile(r'\s*"\d{1,12}"\s*:\s*"')
_MAX_SETTINGS = 5  # settings in a note


def parse_json(text: str, name: str) -> Story:
    """Parse a story in one of the JSON formats; `StoryError` for any other content."""
    if _PAIR.match(text):
        text = "{" + text.strip().rstrip(",") + "}"
    notes: list[str] = []
    cues = _Reader(name, notes).cues(_load(text, name))
    return Story(tuple(read_blend(cue, name) for cue in cues), name, tuple(notes))


def looks_like_json(lines: list[str]) -> bool:
    """Whether a text without a known suffix is JSON: a list, an object, or an object's content."""
    first = next((line.strip() for line in lines if line.strip()), "")
    return first.startswith("{") or bool(re.match(r'\[\s*(?:["\[\]{}]|$|-?\d[\d.]*\s*[,\]])', first)
        or _PAIR.match(first))  # fmt: skip


def _load(text: str, name: str) -> Any:
    lines = [line for line in text.split("\n") if line.strip()]
    try:
        return parse_bounded(text, pairs=_unique)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise StoryError(
                f"{name}, line {error.lineno}: not valid JSON: {error.msg.lower()}"
            ) from None
    except ValueError as error:
        raise StoryError(f"{name}: not valid JSON: {safe_text(error)}") from None
    return _lines(lines, name)


def _lines(lines: list[str], name: str) -> list[Any]:
    """Parse a story of one prompt a line.

    Raises:
        StoryError: a line that is not JSON, or is a story itself.
    """
    found: list[Any] = []
    for line in lines:
        try:
            found.append(json.loads(line, object_pairs_hook=_unique))
        except ValueError:
            raise StoryError(f"{name}: not valid JSON: {safe_text(line, 40)!r}") from None
    if all(isinstance(item, str) or (isinstance(item, dict) and _is_cue(item)) for item in found):
        return found
    raise StoryError(f"{name} holds {len(lines)} stories, one a line: keep one of them")


def _is_cue(item: dict[str, Any]) -> bool:
    return any(isinstance(item.get(key), str) for key in _TEXTS)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Create an object and refuse a repeated key, of whose values one would be lost."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key '{key}' is given twice")
        found[key] = value
    return found


class _Reader:
    """Converter of parsed JSON to cues; notes what it ignores."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name = name
        self._notes = notes

    def cues(self, data: Any) -> tuple[Cue, ...]:
        """Convert JSON in one of the formats to cues."""
        before = after = ""
        negative = None
        self._check_others(data)
        key = next((key for key in _MAPS if isinstance(data, dict) and key in data), None)
        if isinstance(data, dict) and key is not None:
            before, after = self._text(data, _BEFORE), self._text(data, _AFTER)
            negative = self._text(data, _NEGATIVES) or None
            read = {key, *_BEFORE, *_AFTER, *_NEGATIVES}
            self._note_ignored([other for other in data if other not in read])
            data = data[key]
        cues = self._listed(data) if isinstance(data, list) else self._mapped(data)
        return tuple(self._complete(cue, before, after, negative) for cue in cues)

    def _check_others(self, data: Any) -> None:
        """Refuse the formats of other programs from which no story can be read."""
        if not isinstance(data, dict):
            return
        for keys, program in _OTHERS:
            if any(isinstance(data.get(key), list) for key in keys):
                raise StoryError(f"{self._name} is JSON of {program}, not a story: give {_FORMS}")
        if data and all(isinstance(v, dict) and "class_type" in v for v in data.values()):
            raise StoryError(
                f"{self._name} is JSON of ComfyUI's workflows, not a story: give {_FORMS}"
            )

    def _listed(self, data: list[Any]) -> list[Cue]:
        if all(isinstance(item, str) for item in data):
            return [Cue(None, prompt) for prompt in data]
        if all(isinstance(item, dict) for item in data):
            return [self._object(item, number) for number, item in enumerate(data, 1)]
        raise self._unknown()

    def _mapped(self, data: Any) -> list[Cue]:
        if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
            raise self._unknown()
        cues = [self._keyed(key, value) for key, value in data.items()]
        return sorted(cues, key=lambda cue: (cue.start_frame or 0, cue.start_seconds or 0))

    def _keyed(self, key: str, prompt: str) -> Cue:
        if re.fullmatch(r"\s*-?\d{1,15}\s*", key):
            return Cue(None, prompt, start_frame=int(key))
        shown = safe_text(key, 40)
        if ":" in key:
            return Cue(self._clock(key, f"{shown!r}"), prompt)
        if re.search(r"max_f|[-+*/()]", key):
            raise StoryError(
                f"{self._name}: {shown!r} is a formula of Deforum, not a frame number: write "
                "the number"
            )
        raise StoryError(f"{self._name}: {shown!r} is not a frame number: give {_FORMS}")

    def _object(self, item: dict[str, Any], number: int) -> Cue:
        where = f"{self._name}, prompt {number}"
        if not item.keys() & {"prompts", *_TIMES, *_FRAMES, *_TEXTS}:
            raise self._unknown()
        start, frame = self._start(item, number)
        negative = item.get("negative_prompt")
        if negative is not None and not isinstance(negative, str):
            raise StoryError(f"{where}: negative_prompt must be text")
        return Cue(start, self._prompt(item, where), frame, negative=negative)

    def _start(self, item: dict[str, Any], number: int) -> tuple[float | None, int | None]:
        """Read the start of an object's prompt: seconds, a frame, or neither."""
        where = f"{self._name}, prompt {number}"
        key = next((key for key in _TIMES if key in item), None)
        frame_key = next((key for key in _FRAMES if key in item), None)
        if key is None and frame_key is not None:
            frame = item[frame_key]
            if isinstance(frame, bool) or not isinstance(frame, int):
                raise StoryError(f"{where}: {frame_key} must be a whole number")
            return None, frame
        if key is None and "prompts" not in item:
            return None, None
        start = item.get(key or "startTime")
        if isinstance(start, list) and len(start) == 2:  # start and end
            start = start[0]
        if isinstance(start, str):
            return self._clock(_first_of_range(start), f"prompt {number}: {key}"), None
        if isinstance(start, bool) or not isinstance(start, int | float):
            raise StoryError(f"{where}: {key or 'startTime'} must be a number of seconds")
        return float(start), None

    def _prompt(self, item: dict[str, Any], where: str) -> str:
        key = next((key for key in _TEXTS if key in item), None)
        if key is not None and "prompts" not in item:
            if not isinstance(item[key], str):
                raise StoryError(f"{where}: {key} must be text")
            return item[key]
        prompts = item.get("prompts")
        texts = [_weighted_text(prompt) for prompt in prompts] if isinstance(prompts, list) else []
        if not texts or None in texts:
            raise StoryError(f'{where}: prompts must be a list of {{"prompt": "...", "weight": 1}}')
        shown = [text for text in texts if text and text[0]]
        if len(shown) < 2:
            return "".join(text for text, _ in shown)
        if any("|" in text for text, _ in shown):
            raise StoryError(f"{where}: a | in one of several prompts: leave it out")
        total = sum(weight for _, weight in shown)
        return " | ".join(f"{text} :{weight / total:.4f}" for text, weight in shown)

    def _clock(self, text: str, where: str) -> float:
        try:
            start = read_time(text.strip())
        except ValueError as error:
            raise StoryError(f"{self._name}, {where}: {error}") from None
        if start.relative:
            raise StoryError(f"{self._name}, {where}: write the time from the beginning: 0:20")
        return start.seconds

    def _complete(self, cue: Cue, before: str, after: str, negative: str | None) -> Cue:
        """Add the file's common texts to a prompt, and remove formulas and settings."""
        prompt = cue.prompt
        if _WEIGHT.search(prompt):
            self._note_once("weights given by a formula (`...`) are ignored")
            prompt = _WEIGHT.sub("", prompt)
        if (bare := without_settings(prompt)) != prompt:
            self._note_once("weights and settings of other programs are ignored")
            prompt = bare
        prompt, mark, own = prompt.partition("--neg")
        parts = (before.rstrip(" ,"), prompt.strip(" ,"), after.lstrip(" ,"))
        if before or after:
            prompt = ", ".join(part for part in parts if part.strip()) + " "
        return Cue(
            cue.start_seconds,
            prompt + mark + own,
            cue.start_frame,
            negative=cue.negative or negative,
        )

    def _text(self, data: Mapping[str, Any], keys: tuple[str, ...]) -> str:
        for key in keys:
            value = data.get(key)
            if isinstance(value, list) and all(isinstance(part, str) for part in value):
                value = ", ".join(part for part in value if part)
            if value is not None and not isinstance(value, str):
                raise StoryError(f"{self._name}: {key} must be text")
            if value and value.strip():
                return value.strip()
        return ""

    def _note_once(self, message: str) -> None:
        note = f"{self._name}: {message}"
        if note not in self._notes:
            self._notes.append(note)

    def _note_ignored(self, keys: list[str]) -> None:
        if keys:
            named = ", ".join(safe_text(key, 30) for key in keys[:_MAX_SETTINGS])
            more = f" and {len(keys) - _MAX_SETTINGS} more" if len(keys) > _MAX_SETTINGS else ""
            self._notes.append(f"{self._name}: only the prompts are read, not {named}{more}")

    def _unknown(self) -> StoryError:
        return StoryError(f"{self._name}: JSON of an unknown format: give {_FORMS}")


def _first_of_range(text: str) -> str:
    """Return the start of a range such as 0:00-0:10."""
    return re.split(r"\s*(?:-->|[-\u2013\u2014]|\bto\b)\s*", text.strip(), maxsplit=1)[0] or text


def _weighted_text(prompt: Any) -> tuple[str, float] | None:
    """Text of a weighted prompt, empty at weight 0, and its weight; `None` for anything else."""
    text = prompt.get("prompt", prompt.get("text")) if isinstance(prompt, dict) else None
    if not isinstance(text, str):
        return None
    weight = prompt.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < 1e9:
        return None
    return "" if weight == 0 else text.strip(), float(weight)

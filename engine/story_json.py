"""Stories in the JSON forms of other tools, so that their files play here as they are.

Understood: a list of prompts; LongLive's `{"prompts": [...]}`, also one a line (JSONL); Deforum's
and ComfyUI's map from frame number to prompt; Scope's timeline of `startTime` and `prompts`.
"""

from __future__ import annotations

import json
from typing import Any

from .story import Cue, Story, StoryError

_FORMS = (
    'a list of prompts, {"prompts": [...]}, a map from frame numbers to prompts '
    '{"0": "...", "48": "..."}, or a timeline {"prompts": [{"startTime": 0, ...}]}'
)


def parse_json(text: str, name: str) -> Story:
    """The story in one of the JSON forms; `StoryError` for any other content."""
    return Story(_cues(_load(text, name), name), name)


def looks_like_json(lines: list[str]) -> bool:
    """Whether a text without a telling name is JSON: a list or an object."""
    first = next((line.strip() for line in lines if line.strip()), "")
    return first.startswith(("{", "["))


def _load(text: str, name: str) -> Any:
    lines = [line for line in text.split("\n") if line.strip()]
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise StoryError(
                f"{name}, line {error.lineno}: not valid JSON: {error.msg.lower()}"
            ) from None
    except RecursionError:
        raise StoryError(f"{name}: nested too deeply: give {_FORMS}") from None
    raise StoryError(
        f"{name} holds {len(lines)} stories, one a line: a video takes one, keep only that line"
    )


def _cues(data: Any, name: str) -> tuple[Cue, ...]:
    if isinstance(data, dict) and "prompts" in data:
        data = data["prompts"]
    if isinstance(data, list) and all(isinstance(item, str) for item in data):
        return tuple(Cue(None, prompt) for prompt in data)
    if isinstance(data, list) and all(isinstance(item, dict) for item in data):
        return tuple(_timeline_cue(item, number, name) for number, item in enumerate(data, 1))
    if isinstance(data, dict) and all(isinstance(value, str) for value in data.values()):
        numbered = [(_frame(key, name), value) for key, value in data.items()]
        return tuple(Cue(None, prompt, start_frame=frame) for frame, prompt in sorted(numbered))
    raise StoryError(f"{name}: JSON of an unknown form: give {_FORMS}")


def _frame(key: str, name: str) -> int:
    try:
        return int(key)
    except ValueError:
        raise StoryError(f"{name}: {key[:40]!r} is not a frame number: give {_FORMS}") from None


def _timeline_cue(item: dict[str, Any], number: int, name: str) -> Cue:
    start = item.get("startTime")
    if isinstance(start, bool) or not isinstance(start, int | float):
        raise StoryError(f"{name}, prompt {number}: startTime must be a number of seconds")
    prompts = item.get("prompts")
    texts = [_weighted_text(prompt) for prompt in prompts] if isinstance(prompts, list) else []
    if not texts or None in texts:
        raise StoryError(f'{name}, prompt {number}: prompts must be a list of {{"text": "..."}}')
    shown = [text for text in texts if text]
    if len(shown) > 1:
        raise StoryError(
            f"{name}, prompt {number}: blends {len(shown)} prompts, and a stream shows one at a "
            "time: keep one, or set the weight of the others to 0"
        )
    return Cue(float(start), "".join(text or "" for text in shown))


def _weighted_text(prompt: Any) -> str | None:
    """The text of a weighted prompt, empty at weight 0; `None` for anything else."""
    if not isinstance(prompt, dict) or not isinstance(prompt.get("text"), str):
        return None
    return "" if prompt.get("weight") == 0 else prompt["text"].strip()

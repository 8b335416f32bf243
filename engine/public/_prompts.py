"""The notation of prompts: images, negative prompts, blends over blocks, prompts at weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ._text import safe_text

IMAGE_MARK = "<image>"  # the text after it in a prompt is the path of an image
# a negative prompt after a prompt, as other tools write it
_NEGATIVE = re.compile(
    r"(?:^|\s)--(?:neg(?:ative)?(?:[-_ ]?prompts?)?|no)(?:[\s=:]+|$)", re.IGNORECASE
)

Mix = tuple[tuple[str, float], ...]
"""Prompts with their shares of a block; the shares are above 0 and add up to 1."""

SEPARATOR = "|"
MOST_PROMPTS = 8  # of a block: each is embedded, and its tokens are attended to
MOST_BLOCKS = 1000  # of a change
_TOLERANCE = 0.0101  # of the sum of weights: three of .33 are accepted
_ALLOWED = "write a boat :0.7 | a train :0.3"
# a digit right before the colon makes it a time, and a space after it makes it text
_WEIGHTED = re.compile(r"(.*?)(?<!\d):(\d{1,6}(?:\.\d{1,6})?|\.\d{1,6})")


def split_negative(prompt: str) -> tuple[str, str | None]:
    """Split a prompt from its negative prompt after `--neg`, `--negative` or `--no`.

    This is the syntax of Deforum, ComfyUI's schedules and others. The negative prompt is `None` if
    there is none.
    """
    if (match := _NEGATIVE.search(prompt)) is None:
        return prompt, None
    rest = _NEGATIVE.sub(" ", prompt[match.end() :])
    return prompt[: match.start()].strip(), " ".join(rest.split()) or None


_BLEND = re.compile(r"~(\d{1,9})(?:\s+(.*)|$)", re.DOTALL)
# what is no number of blocks, such as ~2s, is refused and not shown as text
_BLEND_LIKE = re.compile(r"~\s?\d+(?:\.\d+)?\s?(?:s|sec|seconds?|b|blocks?)?(?:\s|$)")
_ESCAPED = re.compile(r"\\+~\s?\d")


def blocks_of_chunks(chunks: int) -> int:
    """The blocks of a blend whose length is given as `transition_chunks`.

    In vLLM-Omni's protocol these count the block that has the new prompt alone, too.
    """
    return max(0, chunks - 1)


def split_blend(prompt: str) -> tuple[int, str]:
    """Split a prompt from the number of blocks over which it is blended in: `~2 night falls`.

    The number is 0 without one. `\\~2` is the text ~2.

    Raises:
        ValueError: not a number of blocks from 0 to 1000.
    """
    text = prompt.strip()
    if _ESCAPED.match(text):
        return 0, text[1:]
    match = _BLEND.fullmatch(text)
    if match is not None and int(match[1]) <= MOST_BLOCKS:
        return int(match[1]), (match[2] or "").strip()
    if match or _BLEND_LIKE.match(text):
        raise ValueError(
            f"{safe_text(text, 20)!r} does not begin with a number of blocks: write ~2, at most"
            f" ~{MOST_BLOCKS} (if it is text, put \\ in front)"
        )
    return 0, prompt


def escape_blend(prompt: str) -> str:
    """The text that `split_blend` reads as this prompt, without a blend."""
    is_blend = _ESCAPED.match(prompt) or _BLEND_LIKE.match(prompt)
    return f"\\{prompt}" if is_blend else prompt


def parse_mix(prompt: str) -> Mix:
    """Split a prompt into the prompts that it holds at weights; one without weights is its own mix.

    Raises:
        ValueError: only some parts have a weight, a part is empty, there are more than 8, or the
            weights do not add up to 1.
    """
    parts = _weighted_parts(prompt)
    if parts is None:
        return ((prompt, 1.0),)
    if any(not text for text, _ in parts):
        raise ValueError(f"a weight has no prompt before it: {_ALLOWED}")
    if len(parts) > MOST_PROMPTS:
        raise ValueError(f"{len(parts)} prompts at weights: at most {MOST_PROMPTS} are mixed")
    total = sum(weight for _, weight in parts)
    if abs(total - 1) > _TOLERANCE:
        given = " + ".join(f"{weight:g}" for _, weight in parts)
        raise ValueError(f"the weights {given} add up to {total:g}, not to 1: {_ALLOWED}")
    return merge((text, weight / total) for text, weight in parts)


def merge(shares: Iterable[tuple[str, float]]) -> Mix:
    """Add up the shares of equal prompts, and leave out those of nothing.

    Of more than 8 prompts those with the largest shares are kept.
    """
    found: dict[str, float] = {}
    for text, share in shares:
        if share > 0:
            found[text] = found.get(text, 0.0) + share
    if len(found) == 1:
        return tuple((text, 1.0) for text in found)
    if len(found) > MOST_PROMPTS:
        largest = sorted(found, key=lambda text: -found[text])[:MOST_PROMPTS]
        total = sum(found[text] for text in largest)
        found = {text: share / total for text, share in found.items() if text in largest}
    return tuple(found.items())


def prompt_texts(prompt: str) -> tuple[str, ...]:
    """The prompts that a prompt holds, without their weights.

    Raises:
        ValueError: as `parse_mix`.
    """
    return tuple(text for text, _ in parse_mix(prompt))


def add_suffix(prompt: str, suffix: str) -> str:
    """Append a text to a prompt, or to each of the prompts that it holds at weights."""
    return _edited(prompt, lambda text: text + suffix)


def remove_suffix(prompt: str, suffix: str) -> str:
    """Undo `add_suffix`."""
    return _edited(prompt, lambda text: text.removesuffix(suffix))


def _edited(prompt: str, edit: Callable[[str], str]) -> str:
    """A prompt with its text changed, or the text of each part; weights and spaces are kept."""
    if _weighted_parts(prompt) is None:
        return edit(prompt)
    parts = []
    for part in prompt.split(SEPARATOR):
        begin = len(part) - len(part.lstrip())
        match = _WEIGHTED.fullmatch(part.strip())
        end = begin + len(match[1].rstrip()) if match else len(part)
        parts.append(part[:begin] + edit(part[begin:end]) + part[end:])
    return SEPARATOR.join(parts)


def _weighted_parts(prompt: str) -> tuple[tuple[str, float], ...] | None:
    """The parts of a prompt with their weights; `None` for one without weights.

    Raises:
        ValueError: only some parts have a weight.
    """
    if SEPARATOR not in prompt:
        return None
    texts = [text.strip() for text in prompt.split(SEPARATOR)]
    found = [_WEIGHTED.fullmatch(text) for text in texts]
    if not any(found):
        return None
    for text, match in zip(texts, found, strict=True):
        if match is None:
            raise ValueError(
                f"{safe_text(text, 40)!r} has no weight, but other parts have one: {_ALLOWED}"
            )
    return tuple((match[1].strip(), float(match[2])) for match in found if match)

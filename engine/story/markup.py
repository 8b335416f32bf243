"""Removal of markup that lists, notes and chat programs write around prompts."""

from __future__ import annotations

import re

_FENCE = re.compile(r"\s*(?:```|~~~)[\w+-]*\s*")
_BULLET = re.compile(r"(?:[-*+•\u2013]|(\d{1,4})[.)])\s+(?=\S)")
_BOLD = re.compile(r"(\*\*|__)(?=\S)([^*_]+?)(?<=\S)\1")
_QUOTED = re.compile(r"""["\u201c]([^"\u201c\u201d]+)["\u201d](,?)""")

_WEIGHT = re.compile(r"\(([^()]{1,1000}?)(?<!\d)\s?:\s?(?:\d?\.\d{1,6}|\d)\)")  # (a boat:1.2)
_NETWORK = re.compile(r"\s*<(?:lora|lyco|hypernet|embedding):[^<>\n]{1,500}>", re.IGNORECASE)
_SETTING = re.compile(  # of Midjourney, after its prompts
    r"\s+--(?:ar|aspect|v|version|style|stylize|s|chaos|c|quality|q|seed|niji|iw|stop|weird|tile|raw)"
    r"(?:\s+[\w.:]{1,20})?(?=\s+--|\s*$)"
)


def unfenced(lines: list[str]) -> tuple[list[str], bool]:
    """Keep the lines of a text's only code block, and make all others blank.

    Returns the lines, and whether there was text outside the block; the same lines if the text has
    no such block.
    """
    fences = [index for index, line in enumerate(lines) if _FENCE.fullmatch(line)]
    if len(fences) != 2 or fences[1] - fences[0] < 2 or lines[fences[1]].strip(" \t`~"):
        return lines, False
    kept = range(fences[0] + 1, fences[1])
    outside = any(line.strip() for index, line in enumerate(lines) if index not in (*fences, *kept))
    return [line if index in kept else "" for index, line in enumerate(lines)], outside


def are_listed(prompts: list[str]) -> bool:
    """Whether two or more prompts are items of one list: bulleted, or numbered in order."""
    found = [_BULLET.match(prompt) for prompt in prompts]
    if len(prompts) < 2 or None in found:
        return False
    numbers = [match[1] for match in found if match]
    if all(number is None for number in numbers):
        return True
    first = int(numbers[0] or -2)
    return numbers == [str(number) for number in range(first, first + len(numbers))]


def without_bullet(prompt: str) -> str:
    """Remove the bullet or number of a list item."""
    return _BULLET.sub("", prompt, count=1)


def without_bold(prompt: str) -> str:
    """Remove Markdown's bold marks from a prompt."""
    return _BOLD.sub(r"\2", prompt)


def are_quoted(prompts: list[str]) -> bool:
    """Whether all prompts are in quotation marks: several, or one with a comma after it."""
    found = [_QUOTED.fullmatch(prompt) for prompt in prompts]
    return None not in found and (len(found) > 1 or any(match and match[2] for match in found))


def without_quotes(prompt: str) -> str:
    """Remove the quotation marks around a prompt, and the comma after them."""
    return _QUOTED.sub(r"\1", prompt, count=1)


def without_settings(prompt: str) -> str:
    """Remove the syntax of other programs: weights, networks, `--ar 16:9`."""
    line = " ".join(prompt.split())  # patterns take quadratic time on long white space
    bare = _SETTING.sub("", _NETWORK.sub("", _WEIGHT.sub(r"\1", line))).strip(" ,")
    return bare if bare and bare != line.strip(" ,") else prompt

"""Messages of the library in the words of the command line: flags in place of parameters."""

from __future__ import annotations

import re

_FLAGS = tuple(
    (re.compile(pattern), flag)
    for pattern, flag in (
        (r"^output (?=.*(?:is given twice|is a folder|would write|is the video that|: its capt))",
         "--out "),
        (r"(?<=the same files as )output ", "--out "),
        (r"^container (.*) is for standard output and for", r"--format \1 is for --out - and for"),
        (r"^(segment|window)( is for .* such as )", r"--\1\2--out "),
        (r"^guidance(?= \S+ is not possible)", "--guidance"),
        (r"^negative_prompt(?= has no effect)", "--negative-prompt"),
        (r"\bguidance=4", "--guidance 4"),
        (r"\boverwrite=True", "--overwrite"),
        (r"\bkeep_checkpoint=True", "--keep-checkpoint"),
        (r"\bcheckpoint=False", "--checkpoint-every off"),
        (r"\bwatch=True", "--watch"),
        (r"\bwatch needs a file: give story='story.txt'",
         "--watch needs a file: give --prompt-file story.txt"),
        (r"begin it with outputs=\['film.mp4'\]",
         "begin it with --out film.mp4, or serve with --record films"),
        (r"give it again in outputs", "give it again with --out"),
        (r"give interactive, watch or web again", "give --interactive, --watch or --web again"),
        (r"and (image|video) is given: leave one out", r"and --\1 is given: leave one out"),
        (r"give a smaller picture \(size=\), shorter blocks \(block_frames=\) or",
         "ask for a smaller picture (--size), shorter blocks (--block-frames) or"),
        (r"\(decode_frames=1\)", "(--decode-frames 1)"),
        (r"\(keep\)", "(--keep)"),
        (r"give another folder \(record\)", "give another --record folder"),
    )
)  # fmt: skip


def with_flags(message: str) -> str:
    """A message with each parameter replaced by the flag that sets it."""
    for pattern, flag in _FLAGS:
        message = pattern.sub(flag, message)
    return message

"""A run as data that a checkpoint keeps: what was asked for, and where the video stands."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from ..engine.plan import FROM_THE_START, Take
from ..engine.story import Cue, Story
from .options import Length, Options, is_live


@dataclass(frozen=True, slots=True)
class Job:
    """What one run is to make.

    A video may begin in the middle of a stream (a branch), and go on with what an earlier run has
    made of it.
    """

    options: Options
    story: Story
    first_block: int = 0  # number of the stream's block with which the video begins
    take: Take = FROM_THE_START  # where the stream's past begins then
    checkpoint: Path | None = None  # where the stream goes on from
    kept: int = 0  # frames of the video that are there

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it, with paths that mean the same from every folder, without secrets."""
        options = asdict(self._from_anywhere())
        fps = self.options.fps
        cues = [
            [
                cue.start_seconds,
                cue.prompt,
                cue.start_frame,
                cue.image and _absolute(cue.image),
                cue.negative,
            ]
            for cue in self.story.cues
        ]
        return {
            "options": options | {"fps": None if fps is None else str(fps), "token": None},
            "story": {"name": self.story.name, "cues": cues},
            "first_block": self.first_block,
            "take": [self.take.index, self.take.start],
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The job whose `to_json` this is; KeyError, TypeError or ValueError for anything else."""
        given = dict(values["options"])
        fps, size, steps = given["fps"], given["size"], given["steps"]
        options = Options(
            **given
            | {
                "prompts": tuple(given["prompts"]),
                "length": Length(**given["length"]),
                "outputs": tuple(given["outputs"]),
                "fps": None if fps is None else Fraction(fps),
                "size": None if size is None else tuple(size),
                "steps": tuple(steps) if isinstance(steps, list) else steps,
                "loras": tuple((file, float(scale)) for file, scale in given["loras"]),
            }
        )
        cues = (
            Cue(start, prompt, frame, image=(*rest, None)[0], negative=(*rest, None, None)[1])
            for start, prompt, frame, *rest in values["story"]["cues"]
        )
        story = Story(tuple(cues), values["story"]["name"])
        take = Take(*values["take"]) if "take" in values else FROM_THE_START
        return cls(options, story, int(values["first_block"]), take)

    def _from_anywhere(self) -> Options:
        options = self.options
        outputs = (out if is_live(out) else _absolute(out) for out in options.outputs)
        parts, image, video = (
            None if path is None else _absolute_if_there(path)
            for path in (options.parts, options.image, options.video)
        )
        return replace(
            options,
            outputs=tuple(outputs),
            model=_absolute_if_there(options.model),
            parts=parts,
            image=image,
            video=video,
            loras=tuple((_absolute_if_there(file), scale) for file, scale in options.loras),
            decoder=_decoder_from_anywhere(options.decoder),
        )


def _decoder_from_anywhere(decoder: str | None) -> str | None:
    kind, mark, file = (decoder or "").partition("=")
    return f"{kind}={_absolute_if_there(file)}" if mark else decoder


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _absolute_if_there(path: str) -> str:
    return _absolute(path) if Path(path).expanduser().exists() else path

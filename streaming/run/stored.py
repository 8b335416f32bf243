"""A run as a checkpoint stores it, and the id that its files have in common."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sana_stream._files import expand_user
from sana_stream.engine.block import FIRST_SHOT, Shot
from sana_stream.engine.story.story import Cue, Story
from sana_stream.streaming.outputs.targets import is_live

from .checkpoint_files import checkpoint_path
from .config import RunConfig
from .plan import RunPlan

if TYPE_CHECKING:
    from sana_stream.engine.engine import Engine

# The keys of a checkpoint are those of the command line that wrote the first ones. They stay, so
# that every version reads the checkpoints of every other.
_SAME = (
    *("every", "overwrite", "container", "codec", "crf", "preset", "nvenc", "segment", "window"),
    *("interactive", "watch", "web", "host", "realtime", "history", "size", "fps", "seed"),
    *("guidance", "negative_prompt", "steps", "solver", "flow_shift", "model", "parts", "image"),
    *("video", "loras", "quantize", "quantize_text", "device", "dtype", "memory", "block_frames"),
    *("decoder", "compile", "graphs", "decode_frames", "keep_checkpoint", "guard"),
)
# keys of later versions: only values that differ are stored, so that earlier versions read the rest
_LATER = {"mark": True, "bit_depth": None, "audio": None}
# keys that change nothing in the video's frames or in how they are encoded
_NOT_OF_THE_VIDEO = frozenset(
    (
        *("prompts", "prompt_file", "outputs", "overwrite", "segment", "window", "container"),
        *("interactive", "watch", "web", "host", "token", "realtime", "history"),
        *("checkpoint_every", "keep_checkpoint", "quiet", "debug"),
    )
)


@dataclass(frozen=True, slots=True)
class StoredRun:
    """The run in a checkpoint: what it was asked for, and where it began in its stream."""

    config: RunConfig
    story: Story
    first_block: int = 0
    shot: Shot = FIRST_SHOT
    checkpoint: Path | None = None  # where the checkpoint was when it was written
    id: str | None = None
    signed: bool = False  # whether it was to be signed; with what is not stored

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """The run that `run_to_json` described.

        Raises:
            ValidationError: pydantic's, for anything else.
            ConfigError: a value that no run can have.
        """
        from .config_schema import StoredCue, StoredJob

        stored = StoredJob.model_validate(values)
        names = ("start_seconds", "prompt", "start_frame", "image", "negative", "blend")
        cues = (
            StoredCue.model_validate(dict(zip(names, cue, strict=False)))
            for cue in stored.story.cues
        )
        story = Story(
            tuple(
                Cue(
                    *(c.start_seconds, c.prompt, c.start_frame),
                    image=c.image,
                    negative=c.negative,
                    blend=c.blend,
                )
                for c in cues
            ),
            stored.story.name,
        )
        config = _config(stored.options.model_dump(), story)
        before = stored.checkpoint or checkpoint_path(config.targets)
        return cls(
            config,
            story,
            stored.first_block,
            Shot(*stored.take),
            None if before is None else Path(before),
            stored.id,
            stored.signed,
        )


def run_to_json(plan: RunPlan) -> dict[str, Any]:
    """A run as JSON can hold it: paths mean the same from every folder, secrets are left out."""
    targets = plan.config.targets
    checkpoint = checkpoint_path(targets)
    cues = [
        [
            cue.start_seconds,
            cue.prompt,
            cue.start_frame,
            cue.image and _absolute(cue.image),
            cue.negative,
            *([cue.blend] if cue.blend else []),  # so the keys of other cues are as before
        ]
        for cue in plan.story.cues
    ]
    signed = {} if plan.config.sign is None else {"signed": True}  # earlier versions read the rest
    return signed | {
        "options": json.loads(json.dumps(_options(plan.config), default=str)),
        "story": {"name": plan.story.name, "cues": cues},
        "first_block": plan.origin.first_block,
        "take": [plan.origin.shot.index, plan.origin.shot.start],
        "id": plan.id,
        "checkpoint": None if checkpoint is None else _absolute(str(checkpoint)),
    }


def with_new_id(plan: RunPlan) -> RunPlan:
    """The plan of a run that makes a new video.

    Equal runs have equal ids, because they make the same video bit for bit. A run that may be
    directed while it lasts has an id of its own.
    """
    if plan.config.directed or plan.config.live:
        return replace(plan, id=secrets.token_hex(8))
    facts = run_to_json(replace(plan, id=None))
    options = facts["options"]
    facts["options"] = {key: options[key] for key in options.keys() - _NOT_OF_THE_VIDEO}
    del facts["story"]["name"]
    facts.pop("signed", None)
    saved = plan.origin.saved
    facts |= {"checkpoint": None, "from": None if saved is None else saved.checksum}
    digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=8)
    return replace(plan, id=digest.hexdigest())


def with_engine(config: RunConfig, engine: Engine) -> RunConfig:
    """The configuration with the engine's model, device, dtype and quantization, if it has none.

    Without them a checkpoint would be resumed with the embedded model, or in another precision.
    """
    from sana_stream.engine.loading.locate import EMBEDDED  # loads torch

    given = {
        "model": engine.source or EMBEDDED,
        "device": str(engine.device) if engine.peers.devices == 1 else engine.device.type,
        "dtype": str(engine.dtype).removeprefix("torch."),
        "quantize": engine.quantized,
        "quantize_text": engine.text_quantized,
    }
    defaults = {"model": EMBEDDED, "device": "auto", "dtype": "auto"}
    defaults |= {"quantize": None, "quantize_text": None}
    return replace(
        config, **{name: given[name] for name in given if getattr(config, name) == defaults[name]}
    )


def _options(config: RunConfig) -> dict[str, Any]:
    """The configuration under the keys of a checkpoint."""
    values = {name: getattr(config, name) for name in _SAME}
    if config.parallel is not None:  # earlier versions cannot read the key
        values["parallel"] = config.parallel
    for name in ("parts", "image", "video", "model"):
        if values[name] is not None:
            values[name] = _absolute_if_there(str(values[name]))
    values["loras"] = [(_absolute_if_there(str(file)), scale) for file, scale in config.loras]
    values["decoder"] = _decoder_from_anywhere(config.decoder)
    for name, default in _LATER.items():
        if (value := getattr(config, name)) != default:
            values[name] = _absolute_if_there(str(value)) if name == "audio" else value
    file = config.prompt_file
    return values | {
        "prompts": config.prompts,
        "prompt_file": None if file is None else _absolute_if_there(file),
        "length": {
            "minutes": config.minutes,
            "seconds": config.seconds,
            "frames": config.frames,
            "endless": config.endless,
        },
        "outputs": [out if is_live(out) else _absolute(out) for out in config.targets],
        "token": None,
        "checkpoint_every": config.checkpoint_every if config.checkpoint else 0.0,
        "quiet": False,
        "debug": False,
    }


def _config(options: Mapping[str, Any], story: Story) -> RunConfig:
    """The configuration that the keys of a checkpoint describe."""
    values = {name: options[name] for name in (*_SAME, *_LATER, "parallel")}
    fps, file, every = options["fps"], options["prompt_file"], options["checkpoint_every"]
    length = options["length"]
    return RunConfig(
        **values
        | {
            "story": Path(file) if file is not None else tuple(options["prompts"]) or story,
            "outputs": options["outputs"],
            "fps": None if fps is None else Fraction(fps),
            "endless": length["endless"],
            "minutes": length["minutes"],
            "seconds": length["seconds"],
            "frames": length["frames"],
            "checkpoint": every > 0,
            "checkpoint_every": every or 30.0,
        }
    )


def _decoder_from_anywhere(decoder: str | None) -> str | None:
    kind, mark, file = (decoder or "").partition("=")
    return f"{kind}={_absolute_if_there(file)}" if mark else decoder


def _absolute(path: str) -> str:
    return str(expand_user(path).absolute())


def _absolute_if_there(path: str) -> str:
    try:
        return _absolute(path) if expand_user(path).exists() else path
    except OSError:  # a folder that may not be looked into
        return path

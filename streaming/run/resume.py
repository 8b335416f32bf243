"""Runs that begin at a checkpoint: an interrupted video continued, or another one branched off."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sana_stream._prompts import escape_blend, remove_suffix
from sana_stream._text import safe_text
from sana_stream.engine.parallel.world import launched_world
from sana_stream.engine.story.story import Story
from sana_stream.errors import ConfigError, SnapshotError
from sana_stream.streaming.outputs.base import redact_url
from sana_stream.streaming.outputs.locks import OutputLocks
from sana_stream.streaming.outputs.targets import check_outputs, first_segment, is_image_pattern

from .checkpoint_files import SUFFIX, checkpoint_path
from .config import RunConfig, check_names
from .model import RunModel, describe, follow_first_process
from .plan import RunOrigin
from .resume_outputs import places_next_to, resumed_outputs
from .stored import StoredRun

if TYPE_CHECKING:
    from sana_stream.engine.engine import Engine
    from sana_stream.engine.snapshot.file import SavedStream
    from sana_stream.engine.snapshot.header import SnapshotHeader

logger = logging.getLogger(__name__)
MAY_CHANGE = (  # of an interrupted run
    *("container", "directed", "interactive", "watch", "web", "host", "token", "history"),
    *("sign", "realtime", "model", "device", "dtype", "devices", "parallel"),
)
OF_THE_CHECKPOINT = (  # a branch has these of its stream
    *(
        "size",
        "aspect",
        "block_frames",
        "guidance",
        "negative_prompt",
        "steps",
        "solver",
        "flow_shift",
    ),
    *("memory", "image", "video"),
)
OF_THE_RUN = (  # a branch has these of the checkpoint's run, unless they are given
    *("model", "parts", "device", "dtype", "fps", "loras", "decoder", "quantize"),
    "quantize_text",
)


@dataclass(frozen=True, slots=True)
class Continuation:
    """A run that begins at a checkpoint, ready to be opened."""

    model: RunModel
    config: RunConfig
    story: Story
    origin: RunOrigin
    locks: OutputLocks | None = None  # held


def resume_run(
    engine: Engine | None,
    video: str | os.PathLike[str],
    outputs: Sequence[str | os.PathLike[str]],
    changes: Mapping[str, Any],
) -> Continuation:
    """As `Run.resume`; the caller releases the locks."""
    _check_changes(changes)
    follow_first_process(engine)
    path = find_checkpoint(os.fspath(video))
    locks = OutputLocks()
    try:
        locks.acquire(path)
        saved, stored = read_checkpoint(path)
        frames = saved.header.extra.get("kept")
        if stored is None or not frames:
            raise ConfigError(
                f"{safe_text(path)} was saved without a video to resume: make one from it with"
                f" sana-stream branch {safe_text(path)} --prompt TEXT --out FILE"
            )
        division = _division(engine, saved.header, stored, changes)
        config = _resumed_config(stored, path, outputs, engine, dict(changes) | division)
        if engine is not None:
            _check_quantization(engine, stored.config)
        origin = RunOrigin(stored.first_block, stored.shot, saved, frames, stored.id)
        return Continuation(describe(engine, config), config, stored.story, origin, locks)
    except BaseException:
        locks.release_all()
        raise


def branch_run(
    engine: Engine | None,
    checkpoint: str | os.PathLike[str],
    parameters: Mapping[str, Any],
) -> Continuation:
    """As `Run.branch`."""
    check_names(parameters)
    for name in OF_THE_CHECKPOINT:
        if parameters.get(name) is not None:
            raise ConfigError(f"{name} is the checkpoint's in a branch: leave it out")
    path = find_checkpoint(os.fspath(checkpoint))
    saved, stored = read_checkpoint(path)
    division = _division(engine, saved.header, stored, parameters)
    config = _branched_config(saved.header, stored, dict(parameters) | division)
    config.check()
    if (same := find_same(config.targets, path, stored)) is not None:
        raise ConfigError(
            f"outputs={[safe_text(same)]!r} is the video that is branched: give another name"
        )
    model = describe(engine, config)
    if parameters.get("story") is None:
        prompt = remove_suffix(saved.header.prompt, model.preset.motion_score)
        config = replace(config, story=(escape_blend(prompt),))
    origin = RunOrigin(saved.header.index, saved.header.take, saved)
    return Continuation(model, config, config.read_story(), origin)


def find_checkpoint(video: str) -> Path:
    """The checkpoint of a video, or the one that is named itself.

    Raises:
        ConfigError: there is none.
    """
    name = safe_text(video)
    if "\0" in video:
        raise ConfigError(f"{name} is not a file name: it holds a NUL character")
    own = Path(video).suffix == SUFFIX
    path = Path(video) if own else checkpoint_path([video])
    if path is not None and not path.exists() and is_image_pattern(video):
        path = Path(video).parent.with_suffix(SUFFIX)  # its name in old versions
    if path is None:
        raise ConfigError(f"{name} keeps no video: give a video file or its checkpoint")
    if not path.exists():
        if not (own or _exists(video)):
            raise ConfigError(
                f"{name} does not exist, nor does its checkpoint {safe_text(path)}:"
                " give the name of an interrupted video, with its folder"
            )
        named = f"{name} does not exist" if own else f"{name} has no {safe_text(path)}"
        raise ConfigError(
            f"{named}: the video is whole, or was made without a checkpoint;"
            " keep_checkpoint=True keeps it when a video is whole"
        )
    return path


def _exists(video: str) -> bool:
    """Whether a video exists: its file, its first segment, or the folder of its frames."""
    if is_image_pattern(video):
        return Path(video).parent.is_dir()
    return any(map(os.path.lexists, (video, first_segment(video))))


def read_checkpoint(path: Path) -> tuple[SavedStream, StoredRun | None]:
    """A checkpoint, checked as a whole, and the run that wrote it, if there was one.

    Raises:
        SnapshotError: not a checkpoint, or damaged.
    """
    from sana_stream.engine.snapshot.file import read_saved

    saved = read_saved(path)
    return saved, _run_of(path, saved.header)


def find_same(outputs: Sequence[str], checkpoint: Path, stored: StoredRun | None) -> str | None:
    """The output that is a video of the checkpoint, or would replace the checkpoint."""
    videos = () if stored is None else places_next_to(stored, checkpoint)
    mine = {_stem(checkpoint), *map(os.path.realpath, videos)}
    for output in outputs:
        own = checkpoint_path([output])  # None for an output that keeps no video
        if own is not None and mine & {_stem(own), _stem(Path(output)), os.path.realpath(output)}:
            return output
    return None


def _check_changes(changes: Mapping[str, Any]) -> None:
    check_names(changes)
    for name in changes:
        if name not in MAY_CHANGE:
            raise ConfigError(
                f"{name} is the interrupted run's and cannot change: leave it out, or make a branch"
            )


def _check_quantization(engine: Engine, before: RunConfig) -> None:
    """Refuse an engine whose quantization differs from the interrupted run's: so do its frames."""
    kinds = {"quantize": engine.quantized, "quantize_text": engine.text_quantized}
    for name, own in kinds.items():
        if (kind := getattr(before, name)) != own:
            raise ConfigError(
                f"{name} is {kind!r} in the interrupted run and {own!r} in the engine: load it with"
                f" {name}={kind!r}, or make a branch"
            )


def _resumed_config(
    stored: StoredRun,
    path: Path,
    outputs: Sequence[str | os.PathLike[str]],
    engine: Engine | None,
    changes: Mapping[str, Any],
) -> RunConfig:
    """The run's configuration with what counts only when it is given again."""
    before = stored.config
    given = RunConfig(before.story, outputs, container=changes.get("container")).targets
    targets, left = resumed_outputs(stored, path, given)
    if engine is None and changes.get("model") is None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a checkpoint does not decide on downloads
    config = replace(before, outputs=targets, overwrite=False)
    config = replace(config, parallel=None, **_DIRECTED_BY_NONE)
    config = replace(
        config, **{name: value for name, value in changes.items() if value is not None}
    )
    if changes.get("realtime") is None:
        config = replace(config, realtime=None if config.live else before.realtime)
    config.check_watch()
    check_outputs(targets, changes.get("container"), before.segment, before.window)
    for output in left:
        logger.warning("%s is left out: give it again with outputs=", redact_url(output))
    if stored.signed and config.sign is None:
        logger.warning("the resumed video is not signed: give sign= again")
    if before.live and not (config.live or config.directed):
        logger.warning("it cannot be directed now: give interactive=, watch= or web= again")
    return config


_DIRECTED_BY_NONE: Mapping[str, Any] = {
    "directed": True,
    "interactive": False,
    "watch": False,
    "web": None,
    "host": "127.0.0.1",
    "token": None,
}


def _division(
    engine: Engine | None,
    header: SnapshotHeader,
    stored: StoredRun | None,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """The stream's devices and how they divide it: as before, or as is chosen now.

    Another number of devices, which is given or that of torchrun, is divided in its default way.
    """
    if engine is not None:
        return {}
    world = launched_world()
    count = given.get("devices") or (header.devices if world is None else world.size)
    found: dict[str, Any] = {}
    if world is None and count > 1:
        found["devices"] = count
    if stored is not None and count == header.devices:
        found["parallel"] = stored.config.parallel
    return {name: value for name, value in found.items() if given.get(name) is None}


def _branched_config(
    header: SnapshotHeader, stored: StoredRun | None, parameters: Mapping[str, Any]
) -> RunConfig:
    """What is given now; what the stream is made with comes from the checkpoint."""
    values: dict[str, Any] = {}
    if stored is not None:
        values = {name: getattr(stored.config, name) for name in OF_THE_RUN}
    values |= {name: value for name, value in parameters.items() if value is not None}
    settings = header.settings
    values.setdefault("story", (header.prompt,))
    values.setdefault("seed", settings.seed)
    return RunConfig(
        **values,
        size=(settings.width, settings.height),
        block_frames=settings.block_frames,
        guidance=settings.guidance,
        negative_prompt=header.negative_prompt if settings.guidance != 1 else None,
        steps=settings.timesteps,
        solver=settings.solver,
        memory=settings.memory,
    )


def _run_of(path: Path, header: SnapshotHeader) -> StoredRun | None:
    from pydantic import ValidationError

    from sana_stream.engine.snapshot.schema import first_problem

    if "run" not in header.extra:
        return None
    frames = header.extra.get("kept", 0)
    try:
        if type(frames) is not int or not 0 <= frames <= 1 << 53:
            raise ValueError(f"kept: {safe_text(repr(frames), 40)} frames")
        return StoredRun.from_json(header.extra["run"])
    except (ValidationError, ConfigError, ValueError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else error
        raise SnapshotError(
            f"{safe_text(path)}: the run in it cannot be read ({reason})"
        ) from error


def _stem(path: Path) -> str:
    """A path without its suffix, links followed."""
    return os.path.splitext(os.path.realpath(path))[0]

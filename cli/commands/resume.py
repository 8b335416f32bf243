"""`sana-stream resume`: continue a video that was interrupted."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sana_stream._text import safe_text
from sana_stream.cli import argument_types
from sana_stream.cli.live_options import LIVE
from sana_stream.cli.options import STDOUT, Options, check_live, check_outputs, is_image_pattern
from sana_stream.cli.parser import Parser, add_device, add_group, add_option
from sana_stream.errors import ConfigError
from sana_stream.streaming.outputs.base import redact_url
from sana_stream.streaming.outputs.locks import OutputLocks
from sana_stream.streaming.outputs.pipe import claim_stdout
from sana_stream.streaming.run.checkpoint_files import SUFFIX, checkpoint_path
from sana_stream.streaming.run.config import Job
from sana_stream.streaming.run.resume_outputs import resumed_outputs

if TYPE_CHECKING:
    from sana_stream.engine.snapshot.file import SavedStream
    from sana_stream.engine.snapshot.header import SnapshotHeader


def add_options(parser: Parser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "video",
        type=argument_types.file_name,
        metavar="VIDEO",
        help="the interrupted video, or the checkpoint next to it",
    )
    again = parser.add_argument_group("outputs other than files (used only when given again)")
    add_option(
        again,
        "outputs",
        help="URL, - for standard output, or a file of the run in another folder; repeat the "
        "option for several",
    )
    add_option(again, "container")
    add_group(parser, LIVE)
    other = parser.add_argument_group("model and device (default: as before)")
    add_option(other, "model", default=None, help="the model, if it has moved")
    add_device(other, default=None)
    add_option(parser, "quiet")


def run(args: Namespace) -> int:
    """Continue; the finished video equals an uninterrupted one."""
    path = find_checkpoint(args.video)
    with OutputLocks() as locks:
        locks.acquire(path)
        saved, job = read_checkpoint(path)
        if job is None or not saved.header.extra.get("kept"):
            raise ConfigError(
                f"{safe_text(path)} was saved without a video to resume: make one from it with"
                f" sana-stream branch {safe_text(path)} --prompt TEXT --out FILE"
            )
        outputs, left = resumed_outputs(job, path, args.out or ())
        options = _options(args, job.options, outputs)
        stdout = claim_stdout() if STDOUT in outputs else None
        from .generate import generate_job

        kept = saved.header.extra["kept"]
        notes = [f"{redact_url(output)} is left out: give it again with --out" for output in left]
        if job.options.live and not options.live:
            notes.append("nobody can direct it now: give --interactive, --watch or --web again")
        job = replace(job, options=options, saved=saved, kept=kept)
        return generate_job(job, stdout, locks, notes)


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
        path = Path(video).parent.with_suffix(SUFFIX)  # as old versions called it
    if path is None:
        raise ConfigError(f"{name} keeps no video: give a video file or its checkpoint")
    if not path.exists():
        named = f"{name} does not exist" if own else f"{name} has no {safe_text(path)}"
        raise ConfigError(
            f"{named}: the video is whole, or was made without a checkpoint;"
            " --keep-checkpoint keeps it when a video is whole"
        )
    return path


def read_checkpoint(path: Path) -> tuple[SavedStream, Job | None]:
    """A checkpoint, whole and undamaged, and the run that it was made in, if there was one.

    Raises:
        SnapshotError: not a checkpoint, or damaged.
    """
    from sana_stream.engine.snapshot.file import read_saved

    saved = read_saved(path)
    return saved, _job_of(path, saved.header)


def _job_of(path: Path, header: SnapshotHeader) -> Job | None:
    from pydantic import ValidationError

    from sana_stream.engine.snapshot.schema import first_problem
    from sana_stream.errors import SnapshotError

    if "run" not in header.extra:
        return None
    kept = header.extra.get("kept", 0)
    try:
        if type(kept) is not int or not 0 <= kept <= 1 << 53:
            raise ValueError(f"kept: {safe_text(repr(kept), 40)} frames")
        return Job.from_json(header.extra["run"])
    except (ValidationError, ConfigError, ValueError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else error
        raise SnapshotError(
            f"{safe_text(path)}: the run in it cannot be read ({reason})"
        ) from error


def _options(args: Namespace, before: Options, outputs: tuple[str, ...]) -> Options:
    """The run's options with what counts only when it is given again."""
    if args.model is None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a checkpoint does not decide on downloads
    given = {name: value for name in ("device", "dtype", "model") if (value := getattr(args, name))}
    live = args.interactive or args.watch or args.web is not None
    check_live(Namespace(**vars(args) | {"prompt_file": before.prompt_file}))
    check_outputs(outputs, args.format, before.segment, before.window)
    return replace(
        before,
        outputs=outputs,
        container=args.format or before.container,
        interactive=args.interactive,
        watch=args.watch,
        web=args.web,
        host=args.host,
        token=args.token,
        history=args.history,
        realtime=args.realtime if args.realtime is not None or live else before.realtime,
        quiet=args.quiet,
        debug=args.debug,
        overwrite=False,
        **given,
    )

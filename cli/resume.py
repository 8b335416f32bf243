"""`sana-stream resume`: go on with a video that was interrupted."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..models.errors import ConfigError
from ..streaming.stdout import claim_stdout
from . import values
from .checkpoints import SUFFIX, checkpoint_path
from .job import Job
from .options import STDOUT, is_live
from .parser import Parser, add_device, add_quiet

if TYPE_CHECKING:
    from ..engine.snapshot_header import SnapshotHeader


def add_options(parser: Parser) -> None:
    """The options of the command."""
    parser.add_argument(
        "video",
        type=values.file_name,
        metavar="VIDEO",
        help="the video, or the checkpoint beside it",
    )
    add_device(parser.add_argument_group("another one than the run had"), default=None)
    add_quiet(parser)


def run(args: Namespace) -> int:
    """Go on; the finished video equals an uninterrupted one."""
    path = find_checkpoint(args.video)
    header, job = read_job(path)
    if job is None or "kept" not in header.extra:
        raise ConfigError(
            f"{path} was saved without a video to go on with: make one from it with"
            f" sana-stream branch {path} --prompt TEXT --out FILE"
        )
    given = {name: value for name in ("device", "dtype") if (value := getattr(args, name))}
    outputs = tuple(_where_it_is(output, path) for output in job.options.outputs)
    options = replace(
        job.options, outputs=outputs, quiet=args.quiet, debug=args.debug, overwrite=False, **given
    )
    stdout = claim_stdout() if STDOUT in outputs else None
    from .generate import produce

    kept = int(header.extra["kept"])
    return produce(replace(job, options=options, checkpoint=path, kept=kept), stdout)


def find_checkpoint(video: str) -> Path:
    """The checkpoint of a video, or the one that is named itself.

    Raises:
        ConfigError: there is none.
    """
    path = Path(video) if Path(video).suffix == SUFFIX else checkpoint_path([video])
    if path is None or not path.exists():
        named = f"{video} does not exist" if path == Path(video) else f"{video} has no {path}"
        raise ConfigError(
            f"{named}: the video is whole, or was made without a checkpoint;"
            " --keep-checkpoint keeps it when a video is whole"
        )
    return path


def read_job(path: Path) -> tuple[SnapshotHeader, Job | None]:
    """What a checkpoint says of its stream, and of the run that it was made in, if there was one.

    Raises:
        SnapshotError: not a checkpoint, or damaged.
    """
    from ..engine.snapshot_file import read_header
    from ..engine.snapshot_header import SnapshotError

    header = read_header(path)
    if "run" not in header.extra:
        return header, None
    try:
        return header, Job.from_json(header.extra["run"])
    except (KeyError, TypeError, ValueError) as error:
        raise SnapshotError(f"{path}: the run in it cannot be read ({error!r})") from error


def _where_it_is(output: str, checkpoint: Path) -> str:
    """An output on disk may have been moved together with its checkpoint."""
    if is_live(output) or "%" in output or Path(output).exists():
        return output
    beside = checkpoint.with_name(Path(output).name)
    return str(beside) if beside.exists() else output

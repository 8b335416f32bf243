"""`sana-stream branch`: another video from where a checkpoint stands."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sana_stream._text import safe_text
from sana_stream.cli import argument_types
from sana_stream.cli.options import LENGTH, OUTPUT, PROMPTS, SAFETY, STDOUT, Options
from sana_stream.cli.parser import Parser, add_device, add_group, add_option, build_parser
from sana_stream.errors import ConfigError
from sana_stream.streaming.outputs.pipe import claim_stdout
from sana_stream.streaming.run.checkpoint_files import checkpoint_path
from sana_stream.streaming.run.config import Job
from sana_stream.streaming.run.resume_outputs import places_beside

from .resume import find_checkpoint, read_checkpoint

if TYPE_CHECKING:
    from sana_stream.engine.snapshot.header import SnapshotHeader


def add_options(parser: Parser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "checkpoint",
        type=argument_types.file_name,
        metavar="CHECKPOINT",
        help="the checkpoint to start from, or its video",
    )
    add_group(parser, PROMPTS, leave_out=("image", "video"))
    add_group(parser, LENGTH)
    add_group(parser, OUTPUT)
    add_option(parser, "seed", default=None, help="seed of the noise (default: as before)")
    add_option(parser, "model", default=None, help="the model, if it has moved")
    add_device(parser, default=None)
    add_group(parser, SAFETY)
    add_option(parser, "quiet")


def run(args: Namespace) -> int:
    """Make a video whose first frame follows the checkpoint's last one."""
    path = find_checkpoint(args.checkpoint)
    saved, job = read_checkpoint(path)
    header = saved.header
    if not args.out:
        raise ConfigError("a branch is a video of its own: give it a name with --out FILE")
    options = _options(args, path, header, job)
    stdout = claim_stdout() if STDOUT in options.outputs else None
    from .generate import generate_job

    branch = Job(options, options.story(), header.index, header.take, saved=saved)
    return generate_job(branch, stdout)


def _options(args: Namespace, path: Path, header: SnapshotHeader, job: Job | None) -> Options:
    """What is asked for now; what the stream is made with comes from the checkpoint."""
    settings, before = header.settings, None if job is None else job.options
    defaults = vars(build_parser("").parse([]))
    if before is not None:
        defaults |= {name: getattr(before, name) for name in ("model", "parts", "device", "dtype")}
        defaults |= {"fps": before.fps, "lora": before.loras, "decoder": before.decoder}
        defaults |= {"quantize": before.quantize, "quantize_text": before.quantize_text}
    given = {name: value for name, value in vars(args).items() if value is not None}
    options = Options.of(Namespace(**(defaults | given)))
    if (same := find_same(options.outputs, path, job)) is not None:
        raise ConfigError(
            f"--out {safe_text(same)} is the video that is branched: give another name"
        )
    return replace(
        options,
        size=(settings.width, settings.height),
        block_frames=settings.block_frames,
        guidance=settings.guidance,
        negative_prompt=header.negative_prompt if settings.guidance != 1 else None,
        steps=settings.timesteps,
        solver=settings.solver,
        memory=settings.memory,
        seed=settings.seed if args.seed is None else args.seed,
    )


def find_same(outputs: tuple[str, ...], checkpoint: Path, job: Job | None) -> str | None:
    """The output that is a video of the checkpoint, or would take the checkpoint's place."""
    videos = () if job is None else places_beside(job, checkpoint)
    mine = {_stem(checkpoint), *map(os.path.realpath, videos)}
    for output in outputs:
        own = checkpoint_path([output])  # none for what passes on
        if own is not None and mine & {_stem(own), _stem(Path(output)), os.path.realpath(output)}:
            return output
    return None


def _stem(path: Path) -> str:
    """A name without its suffix, links followed."""
    return os.path.splitext(os.path.realpath(path))[0]

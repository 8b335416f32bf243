"""Options of `serve` for a fleet: where its replicas run, and its store."""

from __future__ import annotations

from argparse import Namespace

from sana_stream.errors import ConfigError
from sana_stream.streaming.fleet.cluster import LOCAL, FleetConfig, check_address

from . import argument_types
from .options import OPTIONS
from .parser import Parser

_NEED_FLEET = ("store", "replicas", "snapshot_every", "block_timeout")


def add_fleet_options(parser: Parser) -> None:
    """Add the section of `--help`."""
    group = parser.add_argument_group("fleet (pip install 'sana-stream[fleet]')")
    group.add_argument(
        "--fleet",
        nargs="?",
        type=argument_types.filled,
        const=LOCAL,
        metavar="ADDRESS",
        help="generate on replicas of Ray Serve: when one is lost, its streams pause but lose "
        "no frame; this process serves the page. Without ADDRESS Ray is started on this machine; "
        "auto or HOST:6379 joins a cluster that this machine belongs to",
    )
    group.add_argument(
        "--replicas",
        type=argument_types.positive_count,
        metavar="N",
        help="number of replicas, each with its own model and GPU (default: 2)",
    )
    group.add_argument(
        "--store",
        type=argument_types.filled,
        metavar="URL",
        help="where the streams' snapshots are stored: a folder that all machines share, or "
        "s3://BUCKET/FOLDER, gs://, az://; a server that is started with it again continues them",
    )
    group.add_argument(
        "--snapshot-every",
        type=argument_types.positive_count,
        metavar="BLOCKS",
        help="blocks between two snapshots of a stream; at most this many are generated again "
        "when a replica is lost (default: 8)",
    )
    group.add_argument(
        "--block-timeout",
        type=argument_types.positive_duration,
        metavar="TIME",
        help="how long a replica may take for a block before another one is asked (default: 30s)",
    )


def fleet_config(args: Namespace) -> FleetConfig | None:
    """The fleet in a parsed namespace, None for a server without one.

    Raises:
        ConfigError: options that need each other, or an address that cannot be used.
    """
    given = {name: getattr(args, name) for name in _NEED_FLEET if getattr(args, name) is not None}
    if args.fleet is None:
        if given:
            flag = next(iter(given)).replace("_", "-")
            raise ConfigError(f"--{flag} is an option of a fleet: add --fleet")
        return None
    if args.store is None:
        raise ConfigError(
            "--fleet needs a store: add --store FOLDER, or --store s3://BUCKET/FOLDER"
        )
    if args.overcommit:
        raise ConfigError("--overcommit is for one device; a fleet has more replicas instead")
    if args.checkpoint_every != OPTIONS["checkpoint_every"].arguments["default"]:
        raise ConfigError("--checkpoint-every is for one device; a fleet has --snapshot-every")
    check_address(args.fleet)
    replicas = given.get("replicas", FleetConfig.replicas)
    after_a_loss = -(-args.streams // max(1, replicas - 1))  # on each replica that is left
    return FleetConfig(
        address=args.fleet,
        store=args.store,
        replicas=replicas,
        cached=max(FleetConfig.cached, after_a_loss),
        every=given.get("snapshot_every", FleetConfig.every),
        block_seconds=given.get("block_timeout", FleetConfig.block_seconds),
    )

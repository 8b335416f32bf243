"""The options of a run that is watched and directed while it goes on."""

from __future__ import annotations

import argparse

from . import argument_types

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8765


def add_live(parser: argparse.ArgumentParser) -> None:
    """Where prompts come from while the stream is made, and who sees it."""
    group = parser.add_argument_group("live (without a length given, until it is stopped)")
    group.add_argument(
        "--interactive",
        action="store_true",
        help="each line typed is the next prompt, or one of /pause /resume /stop /seed N "
        "/negative TEXT /back SECONDS /branch NAME",
    )
    group.add_argument(
        "--watch", action="store_true", help="read the prompt file again when it changes"
    )
    group.add_argument(
        "--web",
        nargs="?",
        type=argument_types.port,
        const=DEFAULT_PORT,
        metavar="PORT",
        help=f"show the stream on a page, on which it is directed (port {DEFAULT_PORT})",
    )
    add_address(group)
    group.add_argument(
        "--realtime",
        action=argparse.BooleanOptionalAction,
        help="make blocks only as fast as they play, so that a new prompt soon shows (default: "
        "when live)",
    )
    group.add_argument(
        "--history",
        type=argument_types.positive_duration,
        default=30.0,
        metavar="TIME",
        help="how far /back can go: 30s (default), 5m; kept in memory",
    )


def add_address(group: argparse._ActionsContainer) -> None:
    """Where the page is, and who may open it."""
    group.add_argument(
        "--host",
        type=argument_types.filled,
        default=DEFAULT_HOST,
        metavar="ADDRESS",
        help="where the page listens: 0.0.0.0 for the whole network (default: 127.0.0.1, this "
        "machine only)",
    )
    group.add_argument(
        "--token",
        type=argument_types.token,
        metavar="TEXT",
        help="the secret in the page's address, 8 letters or more (default: a new one each time, "
        "none on this machine)",
    )

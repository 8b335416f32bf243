"""Options of a run that is controlled while it generates."""

from __future__ import annotations

from argparse import BooleanOptionalAction
from dataclasses import dataclass

from . import argument_types
from .option_fields import Group, option, switch

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8765
LIVE = Group("live control (endless unless a length is given)")


@dataclass(frozen=True, kw_only=True)
class LiveOptions:
    """Where prompts come from during a run, and the page that shows it."""

    interactive: bool = switch(
        "--interactive",
        group=LIVE,
        help="read standard input: each line is the next prompt (~4 TEXT: blended in over 4 "
        "blocks), or one of /pause /resume /stop /seed N /negative TEXT /back SECONDS /branch NAME",
    )
    watch: bool = switch("--watch", group=LIVE, help="reload the prompt file when it changes")
    web: int | None = option(  # port
        "--web",
        group=LIVE,
        nargs="?",
        parse=argument_types.port,
        const=DEFAULT_PORT,
        metavar="PORT",
        help=f"serve a page that shows and controls the stream (default port: {DEFAULT_PORT}; 0 "
        "takes any free one)",
    )
    host: str = option(
        "--host",
        group=LIVE,
        parse=argument_types.filled,
        default=DEFAULT_HOST,
        metavar="ADDRESS",
        help="address that the page listens on; 0.0.0.0 for the whole network (default: "
        "127.0.0.1, this machine only)",
    )
    token: str | None = option(
        "--token",
        group=LIVE,
        parse=argument_types.token,
        metavar="TEXT",
        help="secret in the page's URL, at least 8 characters (default: a new one for each run; "
        "none on 127.0.0.1)",
    )
    realtime: bool | None = option(
        "--realtime",
        group=LIVE,
        action=BooleanOptionalAction,
        help="generate blocks no faster than they play, so that a new prompt is soon visible "
        "(default: on with live control)",
    )
    history: float = option(  # seconds
        "--history",
        group=LIVE,
        parse=argument_types.positive_duration,
        default=30.0,
        metavar="TIME",
        help="how far /back can rewind, such as 5m; kept in memory (default: 30s)",
    )

    @property
    def live(self) -> bool:
        """Whether prompts can be sent while the stream is generated."""
        return self.interactive or self.watch or self.web is not None

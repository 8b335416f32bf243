"""Options of `serve` for programs, other origins and reverse proxies."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable
from pathlib import Path

from sana_stream._files import expand_user, read_bounded
from sana_stream._text import os_reason, safe_text
from sana_stream.errors import ConfigError
from sana_stream.streaming.web.options import (
    WebOptions,
    check_api_key,
    check_origin,
    check_root_path,
)

from . import argument_types
from .parser import Parser

KEY_VARIABLE = "SANA_STREAM_API_KEY"
_FILE_BYTES = 64 << 10


def add_web_options(parser: Parser) -> None:
    """Add the section of `--help`."""
    group = parser.add_argument_group("programs, other web sites and proxies")
    group.add_argument(
        "--api-key",
        action="append",
        type=_checked(check_api_key),
        metavar="KEY",
        help="key that may direct streams, sent as Authorization: Bearer KEY, at least 16 "
        "characters; repeat the option for several. Other users of the machine can read command "
        f"lines: prefer --api-key-file, or the variable {KEY_VARIABLE}",
    )
    group.add_argument(
        "--api-key-file",
        type=argument_types.filled,
        metavar="FILE",
        help="file with a key on each line; lines that begin with # are comments",
    )
    group.add_argument(
        "--cors-origin",
        action="append",
        type=_checked(check_origin),
        metavar="ORIGIN",
        help="origin of web pages that may send requests, such as https://example.com; repeat the "
        "option for several. With * every page that a user of this machine opens may, and without "
        "keys it may direct the streams",
    )
    group.add_argument(
        "--root-path",
        type=_checked(check_root_path),
        metavar="PATH",
        help="path below which a reverse proxy serves this server, such as /video",
    )


def web_options(args: Namespace) -> WebOptions:
    """The options in a parsed namespace.

    Raises:
        ConfigError: a key that cannot be used, or a file that cannot be read.
    """
    keys = list(args.api_key or ())
    if args.api_key_file is not None:
        keys += _keys_in(Path(args.api_key_file))
    keys += _keys(os.environ.get(KEY_VARIABLE, "").split(), f"the variable {KEY_VARIABLE}")
    return WebOptions(
        tuple(dict.fromkeys(keys)), tuple(args.cors_origin or ()), args.root_path or ""
    )


def _keys_in(path: Path) -> list[str]:
    name = safe_text(path)
    try:
        text = read_bounded(expand_user(str(path)), _FILE_BYTES).decode()
    except OSError as error:
        raise ConfigError(f"--api-key-file {name}: {os_reason(error)}") from error
    except ValueError as error:
        raise ConfigError(
            f"--api-key-file {name}: give text of at most {_FILE_BYTES} bytes, with a key on each "
            "line"
        ) from error
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise ConfigError(f"--api-key-file {name}: there is no key in it: write one on each line")
    return _keys(found, f"--api-key-file {name}")


def _keys(found: list[str], where: str) -> list[str]:
    try:
        return [check_api_key(key) for key in found]
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _checked(check: Callable[[str], str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        try:
            return check(text)
        except ConfigError as error:
            raise ArgumentTypeError(str(error)) from error

    return parse

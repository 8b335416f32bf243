"""How a web server is reached: the keys, the origins and the path that a proxy adds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError

ANY_ORIGIN = "*"
_KEY = re.compile(r"[!-~]{16,200}")
_ORIGIN = re.compile(
    r"https?://(\[[0-9a-f:.]{2,45}\]|[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)(:[0-9]{1,5})?"
)
_ROOT = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,99}){1,8}")


@dataclass(frozen=True, slots=True)
class WebOptions:
    """Settings of a web server next to its address and its tokens.

    Args:
        api_keys: keys of programs, which send them as `Authorization: Bearer KEY` and may direct
            streams. With one, a token is needed on loopback addresses, too.
        cors_origins: origins whose pages may send requests, such as `https://example.com`; `*` is
            every origin. Such requests need a token or a key of their own: cookies are ignored.
        root_path: the path below which a reverse proxy serves this server, such as `/video`.

    Raises:
        ConfigError: a value that cannot be used.
    """

    api_keys: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    root_path: str = ""

    def __post_init__(self) -> None:
        for key in self.api_keys:
            check_api_key(key)
        for origin in self.cors_origins:
            check_origin(origin)
        if self.root_path:
            check_root_path(self.root_path)

    def allows_origin(self, origin: str) -> bool:
        """Whether pages of an origin may send requests."""
        return bool(origin) and not {ANY_ORIGIN, origin}.isdisjoint(self.cors_origins)


NO_OPTIONS = WebOptions()


def check_api_key(key: str) -> str:
    """The key; raises ConfigError, without the key, for one that cannot be used."""
    if not _KEY.fullmatch(key):
        raise ConfigError("an API key has 16 to 200 ASCII characters without spaces")
    return key


def check_origin(origin: str) -> str:
    """The origin; raises ConfigError for a text that is none."""
    if origin != ANY_ORIGIN and not _ORIGIN.fullmatch(origin):
        raise ConfigError(
            f"{safe_text(origin, 60)!r} is not an origin: give scheme, host and port in lower case "
            "as a browser sends them, such as https://example.com or http://localhost:3000, or *"
        )
    return origin


def check_root_path(path: str) -> str:
    """The path; raises ConfigError for one that cannot be used."""
    if not _ROOT.fullmatch(path):
        raise ConfigError(
            f"{safe_text(path, 60)!r} is not a root path: give one such as /video, which begins "
            "with a slash and does not end with one"
        )
    return path

"""The store of a fleet: a folder or an object store, addressed by one URL."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from sana_stream._files import expand_user
from sana_stream._text import os_reason, safe_text
from sana_stream.errors import ConfigError, StoreError

T = TypeVar("T")
SCHEMES = ("s3", "gs", "az", "file", "memory")
_MISSING = "the fleet needs Ray and obstore: pip install 'sana-stream[fleet]'"
_RETRY: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=20)}
_CLIENT: dict[str, Any] = {"connect_timeout": "5s", "timeout": "60s"}


class StreamStore:
    """Named objects in a folder or a bucket. A put replaces an object atomically.

    Credentials of object stores come from the environment, as their own tools read them
    (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, ...). `memory://` is for tests: each store of this URL
    is another one.

    Args:
        url: a folder, or a URL `s3://bucket/folder`, `gs://`, `az://`, `file://`.

    Raises:
        ConfigError: the URL is not known, or obstore is not installed.
        StoreError: the folder cannot be made.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._store = _open(url)
        prefix = getattr(self._store, "prefix", None)
        self._path = prefix if isinstance(prefix, Path) else None  # of a folder

    def put(self, name: str, data: bytes) -> None:
        """Write an object, in place of one of the same name; raises StoreError."""
        self._call(lambda: self._store.put(name, data))

    def create(self, name: str, data: bytes) -> bool:
        """Write an object, unless there is one of this name; raises StoreError."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError  # pyright: ignore[reportMissingImports]

        try:
            self._store.put(name, data, mode="create")
        except (AlreadyExistsError, PreconditionError):
            return False
        except Exception as error:
            raise self._failure(error) from error
        return True

    def get(self, name: str) -> bytes | None:
        """An object's content, None where there is none; raises StoreError."""
        try:
            return bytes(self._store.get(name).bytes())
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failure(error) from error

    def names(self, folder: str) -> list[str]:
        """The names of all objects in a folder, without the folder's own; raises StoreError."""
        found = self._call(lambda: self._store.list(prefix=folder).collect())
        return sorted(str(each["path"]).removeprefix(f"{folder}/") for each in found)

    def folders(self) -> list[str]:
        """The names of the folders at the top; raises StoreError."""
        found = self._call(lambda: self._store.list_with_delimiter()["common_prefixes"])
        return sorted(str(name).strip("/") for name in found)

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; raises StoreError."""
        for name in names:
            try:
                self._store.delete(name)
            except FileNotFoundError:
                continue
            except Exception as error:
                raise self._failure(error) from error

    def delete_folder(self, folder: str) -> None:
        """Remove all objects of a folder; raises StoreError."""
        self.delete(f"{folder}/{name}" for name in self.names(folder))
        if self._path is not None:
            with suppress(OSError):  # a late writer has put another object there
                (self._path / folder).rmdir()

    def check(self) -> None:
        """Write, read, list and remove an object; raises StoreError, which names what failed."""
        name, data = f"check/{secrets.token_hex(4)}", b"sana-stream"
        self.put(name, data)
        if self.get(name) != data:
            raise StoreError(f"{safe_text(self.url)}: an object that was written cannot be read")
        self.folders()
        self.delete([name])

    def _call(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except Exception as error:  # the library's classes, which are of several kinds
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> StoreError:
        return StoreError(f"{safe_text(self.url)}: {store_reason(error)}")


def store_reason(error: Exception) -> str:
    """Why a store failed, on one line, with what to do."""
    line = " ".join(str(error).split("Debug source:")[0].split())
    kind = type(error).__name__
    denied = ("PermissionDenied", "Unauthenticated", "AccessDenied", "Permission denied")
    if isinstance(error, PermissionError) or any(w in kind or w in line for w in denied):
        return f"no right to read and write there; check its credentials ({safe_text(line, 200)})"
    unreachable = ("error sending request", "timed out", "dns error", "Connect")
    if any(word in line for word in unreachable):
        return f"cannot be reached; check its address and the network ({safe_text(line, 200)})"
    return safe_text(line, 300)


def unknown_store(url: str) -> str:
    """The line for a store that is none of those which replicas can share."""
    return f"--store {safe_text(url)}: give a folder or a URL of {', '.join(SCHEMES[:4])}"


def _client() -> dict[str, Any]:
    """The options of connections; without TLS where the endpoint that is set has none."""
    endpoints = (os.environ.get(f"AWS_{name}", "") for name in ("ENDPOINT_URL", "ENDPOINT"))
    plain = any(endpoint.startswith("http://") for endpoint in endpoints)
    return _CLIENT | {"allow_http": plain}


def _open(url: str) -> Any:
    try:
        from obstore.store import LocalStore, MemoryStore, from_url  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(_MISSING) from error
    scheme, mark, rest = url.partition("://")
    if mark and scheme not in SCHEMES:
        raise ConfigError(unknown_store(url))
    if scheme == "memory" and mark:
        return MemoryStore()
    if not mark or scheme == "file":
        path = Path(rest) if mark else expand_user(url)
        try:
            path.mkdir(parents=True, exist_ok=True)
            return LocalStore(path.absolute(), automatic_cleanup=False)
        except OSError as error:
            reason = os_reason(error)
            raise StoreError(f"{safe_text(url)}: {reason}; give another folder") from error
    if not rest.strip("/"):
        raise ConfigError(f"--store {safe_text(url)}: the bucket is missing: {scheme}://BUCKET/...")
    try:
        connect: Any = from_url  # one of its overloads for each kind of store
        return connect(url, client_options=_client(), retry_config=_RETRY)
    except Exception as error:
        raise StoreError(f"{safe_text(url)}: {store_reason(error)}") from error

"""Models by their hub id, through huggingface_hub: its cache, its progress, its switches.

Files are fetched once into the cache that other programs share (`HF_HOME`), a broken download goes
on where it stopped, and `HF_HUB_OFFLINE=1` uses what is there without asking.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ..models.errors import ConfigError

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}"
_ID = re.compile(
    rf"(?:hf://)?(?P<repo>{_NAME}/{_NAME})"
    r"(?P<file>(?:/[A-Za-z0-9_.-]{1,120}){1,8}\.(?:pth|pt|safetensors))?"
    r"(?:@(?P<revision>[A-Za-z0-9_./-]{1,120}))?"
)
_FILE = re.compile(r".*\.(?:pth|pt|safetensors|ckpt|bin|gguf|json)", re.IGNORECASE)
_STEPS_UP = re.compile(r"(?:^|/)\.\.?(?:/|$)")
SMALL = ("*.json", "LICENSE*", "README.md")
PARTS = ("vae", "text_encoder", "tokenizer", "scheduler")


@dataclass(frozen=True, slots=True)
class HubModel:
    """`owner/name`, `owner/name@revision` or `owner/name/path/to/file.pth`."""

    repo: str
    file: str = ""
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The model that a text names, `None` where it is no hub id."""
        match = _ID.fullmatch(text) if len(text) < 600 else None
        if match is None or _FILE.fullmatch(match["repo"]) or _STEPS_UP.search(text):
            return None  # a path of a file that is not there, or one that leaves its folder
        return cls(match["repo"], (match["file"] or "").strip("/"), match["revision"])

    def fetch(self, *, parts_only: bool = False) -> Path:
        """The model's folder or file in the cache, fetched where it is not there yet.

        Args:
            parts_only: leave the transformer out.

        Raises:
            ConfigError: the hub does not know it, does not give it, or cannot be reached.
        """
        from huggingface_hub import hf_hub_download, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        folders = PARTS if parts_only else ("transformer", *PARTS)
        wanted = [*SMALL, *(f"{folder}/*" for folder in folders)]
        try:
            if self.file:
                return Path(hf_hub_download(self.repo, self.file, revision=self.revision))
            return Path(snapshot_download(self.repo, revision=self.revision, allow_patterns=wanted))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
            raise ConfigError(self._reason(error)) from error

    def _reason(self, error: Exception) -> str:
        from huggingface_hub import constants
        from huggingface_hub.errors import (
            GatedRepoError,
            LocalEntryNotFoundError,
            RemoteEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        if constants.HF_HUB_OFFLINE:
            return (
                f"{self.repo} is not in the cache, and HF_HUB_OFFLINE is set;"
                " fetch it once without it"
            )
        if isinstance(error, GatedRepoError):
            return (
                f"{self.repo} asks for its licence to be accepted: do so on"
                f" https://huggingface.co/{self.repo}, then `hf auth login`"
            )
        if isinstance(error, RepositoryNotFoundError):
            return (
                f"{self.repo} is neither a folder here nor a model on the hub;"
                " check the path or the id (a private one needs `hf auth login`)"
            )
        if isinstance(error, RevisionNotFoundError):
            return f"{self.repo} has no revision {self.revision}; leave @{self.revision} out"
        if isinstance(error, RemoteEntryNotFoundError):
            return f"{self.repo} has no file {self.file}"
        if isinstance(error, LocalEntryNotFoundError):
            return (
                f"{self.repo} is no folder here and not in the cache, and the hub cannot be"
                " reached; check the path, or the network"
            )
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"{self.repo} is no folder here, and the hub does not give it: {first}"

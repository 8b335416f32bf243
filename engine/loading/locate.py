"""Locating a model's files by its name: embedded, a path, or an id on the Hugging Face hub.

Files of the hub are downloaded once into its shared cache (`HF_HOME`). A broken download is
resumed, and with `HF_HUB_OFFLINE=1` only the cache is used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Self

from sana_stream._arguments import ARGUMENTS, shown
from sana_stream._text import safe_text
from sana_stream.errors import CheckpointError, ConfigError
from sana_stream.models.weights.file_format import weight_format
from sana_stream.models.weights.files import read_json
from sana_stream.models.weights.load import OTHER_SUFFIXES, is_weights_file, read_transformer_config

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}"
_ID = re.compile(
    rf"(?:hf://)?(?P<repo>{_NAME}/{_NAME})"
    r"(?P<file>(?:/[A-Za-z0-9_.-]{1,120}){1,8}\.(?:pth|pt|safetensors))?"
    r"(?:@(?P<revision>[A-Za-z0-9_./-]{1,120}))?"
)
_FOLDER = re.compile(
    rf"(?:hf://)?(?P<repo>{_NAME}/{_NAME})"
    r"(?P<folder>(?:/[A-Za-z0-9_.-]{1,120}){0,8})"
    r"(?:@(?P<revision>[A-Za-z0-9_./-]{1,120}))?"
)
_FILE = re.compile(r".*\.(?:pth|pt|safetensors|ckpt|bin|gguf|json)", re.IGNORECASE)
_STEPS_UP = re.compile(r"(?:^|/)\.\.?(?:/|$)")
SMALL = ("*.json", "LICENSE*", "README.md")
PARTS = ("vae", "text_encoder", "tokenizer", "scheduler")


@dataclass(frozen=True, slots=True)
class HubModel:
    """`owner/name`, `owner/name@revision`, `owner/name/path/to/file.pth` or a folder's path."""

    repo: str
    file: str = ""
    revision: str | None = None
    folder: str = ""

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse a hub id; `None` where the text is not one."""
        match = _ID.fullmatch(text) if len(text) < 600 else None
        if match is None or _FILE.fullmatch(match["repo"]) or _STEPS_UP.search(text):
            return None  # a path of a missing file, or one that leaves its folder
        return cls(match["repo"], (match["file"] or "").strip("/"), match["revision"])

    @classmethod
    def parse_folder(cls, text: str) -> Self | None:
        """Parse a hub id that may end with a folder or a file; `None` where the text is not one."""
        if (hub := cls.parse(text)) is not None:
            return hub
        match = _FOLDER.fullmatch(text) if len(text) < 600 else None
        if match is None or _FILE.fullmatch(text) or _STEPS_UP.search(text):
            return None
        return cls(match["repo"], "", match["revision"], match["folder"].strip("/"))

    def fetch_vae(self) -> Path:
        """Download one VAE: the folder's, that of a repository or its `vae/`, or a file's.

        Returns:
            The folder that holds it or its `vae/`, or the file, with its config.json next to it.

        Raises:
            ConfigError: as `fetch`.
        """
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        place = self.folder or str(PurePosixPath(self.file).parent)
        within = "" if place == "." else f"{place}/"
        names = ("config.json", self.file.rpartition("/")[2] or "diffusion_pytorch_model*")
        wanted = [within + name for name in names] + ([] if within or self.file else ["vae/*"])
        try:
            found = snapshot_download(self.repo, revision=self.revision, allow_patterns=wanted)
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
            raise ConfigError(self._reason(error)) from error
        path = Path(found) / (self.file or self.folder)
        if not path.exists():
            raise ConfigError(f"{self.repo} has no {self.file or self.folder}")
        return path

    def fetch(self, *, parts_only: bool = False) -> Path:
        """Download the model where it is not in the cache, and return its folder or file there.

        Args:
            parts_only: leave the transformer out.

        Raises:
            ConfigError: the hub does not have it, refuses access, or cannot be reached.
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
                f"{self.repo} requires that its licence is accepted: do so on"
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
                f"{self.repo} is not a folder here and not in the cache, and the hub cannot be"
                " reached; check the path, or the network"
            )
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"{self.repo} is not a folder here, and the hub refuses it: {first}"


EMBEDDED = "pocket"
INDEX = "model_index.json"
# Where a single file's VAE and text encoder are published, by latent channels.
PUBLISHED_PARTS = {
    16: "Efficient-Large-Model/SANA-Video_2B_480p_diffusers",
    128: "Efficient-Large-Model/SANA-Video_2B_720p_diffusers",
}


def resolve_model(model: str | Path) -> Path:
    """Locate the folder or the file of a model.

    Args:
        model: "pocket" (embedded), a folder in the diffusers layout, a .pth, .pt or .safetensors
            file, or a hub id `owner/name[/file][@revision]`.

    Raises:
        ConfigError: no such model, or the hub refuses it.
        CheckpointError: a folder that is not in the diffusers layout, or not a checkpoint file.
    """
    return _checked(_find(model, parts_only=False))


def resolve_components(model: Path, parts: str | Path | None) -> Path:
    """Locate the folder with a model's VAE, text encoder and tokenizer.

    Args:
        model: what `resolve_model` returned.
        parts: a folder or hub id to take them from. `None`: the model's own folder, or, for a
            single file, the published model with as many latent channels.

    Raises:
        ConfigError, CheckpointError: as `resolve_model`.
    """
    if parts is None and model.is_dir():
        return model
    if parts is None:
        channels = read_transformer_config(model).in_channels
        if channels not in PUBLISHED_PARTS:
            raise ConfigError(
                f"{safe_text(model)} has only a transformer of {channels} latent channels;"
                " give parts, a folder with its vae/, text_encoder/ and tokenizer/"
            )
        parts = PUBLISHED_PARTS[channels]
    folder = _checked(_find(parts, parts_only=True))
    if not folder.is_dir():
        raise ConfigError(
            f"parts {safe_text(parts)}: give a folder or a hub id in the diffusers layout"
        )
    return folder


def _find(model: str | Path, *, parts_only: bool) -> Path:
    ARGUMENTS.path("model", model)
    if model == EMBEDDED:
        return Path(str(files("sana_stream.models"))) / EMBEDDED
    path = existing_path(model)
    if path is not None:
        return path
    hub = HubModel.parse(str(model))
    if hub is not None and _is_mistyped(str(model), hub):
        raise ConfigError(
            f"{safe_text(model)} does not exist, and {Path(hub.repo).parent} is a folder here;"
            f" check the path, or write hf://{hub.repo} for the hub"
        )
    if hub is None:
        raise ConfigError(
            f"model {shown(str(model))} is not known; use {EMBEDDED!r} (embedded), the path of a"
            " folder in the diffusers layout or of a .pth file, or a hub id such as"
            f" {PUBLISHED_PARTS[16]}"
        )
    return hub.fetch(parts_only=parts_only)


def _is_mistyped(model: str, hub: HubModel) -> bool:
    """Whether a hub id looks like a mistyped path: its first part is a folder here."""
    known = "://" in model or model in PUBLISHED_PARTS.values()
    return not known and Path(hub.repo).parent.is_dir()


def existing_path(model: str | Path) -> Path | None:
    """The path, if it exists; `None` otherwise, and for names that cannot exist."""
    try:
        path = Path(model).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, no such user, an impossible name
        return None


def _checked(path: Path) -> Path:
    if path.is_dir():
        if not (path / INDEX).exists():
            raise CheckpointError(
                f"{safe_text(path)} has no {INDEX}; give a folder in the diffusers layout"
            )
        read_json(path / INDEX)
    elif not is_weights_file(path):
        raise CheckpointError(
            f"{safe_text(path)} is not a checkpoint; give .pth, .pt or .safetensors"
        )
    else:
        _check_content(path)
    return path


def _check_content(path: Path) -> None:
    """Refuse a file of another format before its parts are looked for."""
    try:
        weight_format(path)
    except CheckpointError as error:
        if path.suffix in OTHER_SUFFIXES:  # also used for other files
            raise CheckpointError(f"{error}; give .pth, .pt or .safetensors") from None
        raise

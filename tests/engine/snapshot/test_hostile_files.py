"""Checkpoints that a stranger has written, with a right checksum, are refused before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from sana_stream.engine.engine import Engine
from sana_stream.engine.snapshot.header import checksum
from sana_stream.errors import SnapshotError

Parts = tuple[dict[str, str], dict[str, Tensor]]


@pytest.fixture(scope="module")
def parts(tiny_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """Header and tensors of a checkpoint after two blocks."""
    path = tmp_path_factory.mktemp("saved") / "story.ckpt"
    session = tiny_engine.session("a red boat", memory="window=2,sink=1", timesteps=(1000,))
    next(session)
    next(session)
    session.save(path)
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def sealed(path: Path, metadata: dict[str, str], tensors: dict[str, Tensor]) -> Path:
    """A file with a right checksum."""
    save_file(tensors, path, metadata | {"checksum": checksum(metadata, tensors)})
    return path


def refused(engine: Engine, path: Path) -> None:
    """The file is refused, on one line and in words of this program."""
    with pytest.raises(SnapshotError) as told:
        engine.resume(path)
    message = str(told.value)
    assert len(message.splitlines()) == 1
    assert "Error" not in message
    assert len(message) < 500


TENSORS = {
    "nothing": lambda tensor: tensor[:0],
    "one number": lambda tensor: torch.tensor(1.0),
    "other axes": lambda tensor: tensor.flatten()[:, None],
    "an axis more": lambda tensor: tensor[None],
    "two of them": lambda tensor: torch.cat([tensor, tensor]),
    "a part": lambda tensor: tensor[..., :1],
    "int8": lambda tensor: torch.zeros(tensor.shape, dtype=torch.int8),
    "complex": lambda tensor: torch.zeros(tensor.shape, dtype=torch.complex64),
    "NaN": lambda tensor: tensor * torch.nan,
}


@pytest.mark.parametrize("change", TENSORS)
@pytest.mark.parametrize(
    "name", ["recent.1", "cache.0", "cache.3", "state.0.tail", "state.0.slot.0.S", "model.sample"]
)
def test_tensors_that_do_not_fit_the_stream(
    tiny_engine: Engine, tmp_path: Path, parts: Parts, name: str, change: str
):
    metadata, tensors = parts
    name = next(known for known in tensors if known == name or known.startswith(f"{name}."))
    tensors = tensors | {name: TENSORS[change](tensors[name]).contiguous()}
    refused(tiny_engine, sealed(tmp_path / "a.ckpt", metadata, tensors))


@pytest.mark.parametrize("name", ["recent.", "cache.0.", "state.0.tail", "model.sample"])
def test_tensors_that_are_missing(tiny_engine: Engine, tmp_path: Path, parts: Parts, name: str):
    metadata, tensors = parts
    fewer = {key: tensor for key, tensor in tensors.items() if not key.startswith(name)}
    assert len(fewer) < len(tensors)
    refused(tiny_engine, sealed(tmp_path / "a.ckpt", metadata, fewer))


@pytest.mark.parametrize(
    "name",
    [
        "cache.99.01234",
        "cache.0.0",
        "cache.x.01234",
        "cache.",
        "recent.7",
        "good.recent.0",
        "given",
    ],
)
def test_tensors_that_are_too_many(tiny_engine: Engine, tmp_path: Path, parts: Parts, name: str):
    metadata, tensors = parts
    more = tensors | {name: torch.zeros(1, 2, 3, 4, 5)}
    changes = {"watch": json.dumps(VIEW)}
    refused(tiny_engine, sealed(tmp_path / "a.ckpt", metadata | changes, more))


VIEW = {"prompt": "a", "look": [0.1] * 3, "blocks": 1, "quiet": 1, "good": True}
HEADER: list[tuple[str, Any]] = [
    ("settings.height", 10_000),
    ("settings.height", 1 << 15),
    ("settings.block_frames", 10_000),
    ("settings.block_frames", 3),
    ("settings.memory", "window=1000000"),
    ("settings.memory", "window=9999"),
    ("settings.memory", "cumulative"),
    ("settings.guidance", 3.0),
    ("settings.solver", "x" * 900),
    ("settings.after_cut", [[1], [2]]),
    ("settings.after_cut", ["x", [1000]]),
    ("settings.timesteps", [0]),
    ("settings.timesteps", [500, 600]),
    ("states", []),
    ("states", [{"position": 5, "slots": [[0, 5]] * 100_000}]),
    ("take.index", 3),
    ("take.index", 1 << 53),
    ("beginning", [0.5]),
    ("watch", VIEW | {"last": [0] * 16}),
    ("index", 1 << 54),
    ("fps", 0),
]


@pytest.mark.parametrize(("key", "value"), HEADER, ids=[f"{k}-{str(v)[:20]}" for k, v in HEADER])
def test_a_header_that_does_not_fit_its_tensors(
    tiny_engine: Engine, tmp_path: Path, parts: Parts, key: str, value: Any
):
    metadata, tensors = parts
    top, _, inner = key.partition(".")
    told = json.loads(metadata[top]) | {inner: value} if inner else value
    changed = metadata | {top: json.dumps(told)}
    refused(tiny_engine, sealed(tmp_path / "a.ckpt", changed, tensors))

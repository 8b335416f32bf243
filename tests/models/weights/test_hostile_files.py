"""Reading of malicious and damaged weights files in bounded memory and time."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from .bounded_process import read_in_bounds
from .hostile_files import write_hostile_files

READERS = [
    "sana_stream.models.weights.headers:read_headers",
    "sana_stream.models.weights.files:read_weights",
    "sana_stream.models.lora.stack:read_lora",
    "sana_stream.engine.loading.locate:resolve_model",
    "sana_stream.engine.loading.inspect:inspect_model",
]
HARMLESS = (  # readable weights, though not of this model
    "an endless shape of nothing",
    "a name with terminal",
    "a name of a million",
    "many names",
    "a wrapped name twice",
    "folder",
)
DAMAGED = 300  # files

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="limits of memory are those of Linux"
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("hostile")
    files = write_hostile_files(folder)
    work = tmp_path_factory.mktemp("work")
    results = read_in_bounds(READERS, files, work)
    assert list(work.iterdir()) == [], "code in a file ran"
    return results


def test_hostile_file_ends_in_one_line_error(results: dict[str, Any]):
    for name, result in results.items():
        if name == "rss":
            continue
        if not result["error"]:  # resolving a path does not read the file
            assert name.startswith(HARMLESS) or name.endswith("resolve_model"), name
            continue
        assert "SanaStreamError" in result["error"], (name, result)
        assert result["message"].isprintable(), name
        assert len(result["message"]) < 1000, name


def test_hostile_files_take_bounded_time_and_memory(results: dict[str, Any]):
    slowest = max((v["seconds"], k) for k, v in results.items() if k != "rss")
    assert slowest[0] < 20, slowest
    assert results["rss"] < 1500 << 20


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bomb .pth", "is compressed"),
        ("overlapping members .pth", "within another member"),
        ("a pickle that holds itself .pth", "no dictionary of tensors"),
        ("bytes of gigabytes .pth", "bytearray"),
        ("an expanded tensor .pth", "has data of 1 elements"),
        ("GGUF .pth", "is a GGUF file"),
        ("a Git LFS pointer .pth", "git lfs pull"),
        ("a web page .pth", "is a web page"),
        ("ONNX .pth", "is an ONNX model"),
        ("a NumPy array .pth", "is a NumPy array"),
        ("zeros .pth", "begins with zeros"),
        ("nothing .pth", "is empty"),
        ("code alone .pth", "code in it could run"),
        ("a header without end .safetensors", "at most 33554432 are allowed"),
        ("pipe .pth", "not a regular file"),
        ("zero .safetensors", "not a regular file"),
        ("gone .pth", "is missing"),
    ],
)
def test_hostile_file_error_names_the_problem(results: dict[str, Any], name: str, message: str):
    assert message in results[f"{name} | read_weights"]["message"]


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Damage bytes: flip bits, remove or repeat parts, or truncate."""
    held = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.randrange(min(len(held), chance.choice((200, 1500, len(held)))))
        kind = chance.randrange(5)
        if kind == 0:
            held[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            held[at : at + 8] = chance.choice((b"\xff" * 8, bytes(8), b"r\xff\xff\xff\x7f"))
        elif kind == 2:
            held[at:at] = held[at : at + 40]
        elif kind == 3:
            del held[at : at + chance.randrange(1, 40)]
        else:
            del held[at:]
        held = held or bytearray(b"\0")
    return bytes(held)


def test_damaged_files_are_read_or_raise_checkpoint_error(tmp_path: Path):
    module = torch.nn.Linear(4, 3)
    factors = {"transformer.a.lora_A.weight": torch.ones(2, 4)}
    factors |= {"transformer.a.lora_B.weight": torch.ones(4, 2), "a.alpha": torch.tensor(2.0)}
    torch.save({"state_dict": module.state_dict(), "epoch": 3}, tmp_path / "new")
    torch.save(module.state_dict(), tmp_path / "old", _use_new_zipfile_serialization=False)
    whole = {".pth": (tmp_path / "new").read_bytes(), ".pt": (tmp_path / "old").read_bytes()}
    whole[".safetensors"] = save(factors)
    chance = random.Random(0)
    files: dict[str, Path] = {}
    for number in range(DAMAGED):
        suffix = chance.choice(list(whole))
        files[str(number)] = tmp_path / f"{number}{suffix}"
        files[str(number)].write_bytes(damaged(whole[suffix], chance))
    (tmp_path / "work").mkdir()
    results = read_in_bounds(READERS[:3], files, tmp_path / "work")
    read = [result for name, result in results.items() if name != "rss"]
    assert {r["error"][0] for r in read if r["error"]} == {"CheckpointError"}
    assert all(result["message"].isprintable() for result in read)

"""Reading of tensors and JSON from a model folder, and assignment of tensors to a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sana_stream._files import JSON_BYTES, parse_json, read_bounded
from sana_stream._text import name_list, os_reason, safe_text, shape_text
from sana_stream.errors import CheckpointError
from sana_stream.models.schema import OpenSchema, check_values

from .file_format import weight_format
from .tensor_names import plain_names
from .torch_file import read_torch_file

STEM = "diffusion_pytorch_model"
WEIGHTS = f"{STEM}.safetensors"
NAMED = 3  # how many keys an error message names
READ_FAULTS = (SafetensorError, OSError, RuntimeError, TypeError, ValueError, AttributeError)


class _Index(OpenSchema):
    """The index file of sharded weights: the shard of each tensor."""

    weight_map: Annotated[
        dict[str, Annotated[str, Field(max_length=255)]], Field(min_length=1, max_length=100_000)
    ]


def assign_weights(model: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Assign a tensor to every parameter of a model on the meta device.

    Raises:
        CheckpointError: keys are missing, unknown, of another shape or not floating-point; each is
            named.
    """
    check_shapes(model, tensors, source)
    model.load_state_dict(dict(tensors), assign=True)


def check_shapes(model: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Check names, shapes and types of tensors against a model; both may be on the meta device.

    Raises:
        CheckpointError: as `assign_weights`.
    """
    expected = model.state_dict()
    _refuse(source, "lacks", expected.keys() - tensors.keys())
    _refuse(source, "has unknown", tensors.keys() - expected.keys())
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{safe_text(source)}: {name} has shape {shape_text(tensor.shape)},"
                f" the configuration asks for {tuple(expected[name].shape)}"
            )
        if not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(
                f"{safe_text(source)}: {name} is of type {kind}, and weights are floating-point"
                " numbers; quantized files cannot be used (quantize when loading instead)"
            )


def check_finite(model: nn.Module, source: Path) -> None:
    """Refuse weights that are not finite: all frames would be black.

    Raises:
        CheckpointError: names the first tensors that hold NaN or infinity.
    """
    held = model.state_dict().items()
    named = [(name, value) for name, value in held if value.numel() and not value.is_meta]
    bad: list[str] = []
    for device in {value.device for _, value in named}:
        own = [(name, value.detach()) for name, value in named if value.device == device]
        ends = torch.stack([torch.stack(torch.aminmax(value)).float() for _, value in own])
        # a single transfer from the device
        finite = torch.isfinite(ends).all(dim=1).tolist()
        bad += [name for (name, _), whole in zip(own, finite, strict=True) if not whole]
    if bad:
        raise CheckpointError(
            f"{safe_text(source)}: {name_list(bad)} holds NaN or infinity in"
            f" {str(next(model.parameters()).dtype).removeprefix('torch.')}; it would decode to no"
            " frames. Fetch it again, or give another dtype"
        )


def read_tensors(part: Path) -> Iterator[tuple[str, Tensor]]:
    """Read every tensor of a component of a model folder, from all its files."""
    for file in weight_files(part):
        yield from read_weights(file).items()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read every tensor of one file, by plain names, in either format.

    Raises:
        CheckpointError: the file is missing, truncated, or not a weights file.
    """
    if weight_format(path) == "torch":
        return read_torch_file(path)
    return plain_names(read_safetensors(path), safe_text(path))


def weight_files(part: Path) -> list[Path]:
    """Find the files that hold a component's weights.

    One safetensors file, the shards that an index names, a variant of either (`.fp16.`, `.bf16.`)
    if there is no plain one, or the older `.bin`, whole or in shards.
    """
    older = part / f"{STEM}.bin"
    for index in (part / f"{WEIGHTS}.index.json", *_sorted(part, f"{WEIGHTS}.index.*.json")):
        if index.exists():
            return shards(index)
    for file in (part / WEIGHTS, *_sorted(part, f"{STEM}.*.safetensors"), older):
        if file.exists():
            return [file]
    index = part / f"{STEM}.bin.index.json"
    return shards(index) if index.exists() else [part / WEIGHTS]


def shards(index: Path) -> list[Path]:
    """List the files that an index names, all in its folder.

    Raises:
        CheckpointError: it names a file elsewhere, or is not an index.
    """
    values = read_json(index)
    if not values.get("weight_map"):
        raise CheckpointError(f"{safe_text(index)} has no weight_map; fetch it again")
    found = check_values(_Index, values, index, CheckpointError)["weight_map"]
    names = sorted(set(found.values()))
    for name in names:
        plain = PurePosixPath(name).name == name and name not in ("", "..")
        if not plain or any(sign in name for sign in "\\:\0"):
            given = safe_text(repr(name), 80)
            raise CheckpointError(f"{safe_text(index)} names {given}, not a file in its folder")
    return [index.parent / name for name in names]


def read_safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Read every tensor of one safetensors file, by its name in the file.

    Raises:
        CheckpointError: the file is missing or truncated.
    """
    if weight_format(path) != "safetensors":
        raise CheckpointError(f"{safe_text(path)} is not a safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                yield name, file.get_tensor(name)
    except READ_FAULTS as error:
        raise incomplete_file(path, error) from error


def incomplete_file(path: Path, error: Exception) -> CheckpointError:
    """Create the error for a safetensors file that its reader refuses."""
    reason = safe_text((str(error).strip().splitlines() or [type(error).__name__])[0])
    return CheckpointError(
        f"{safe_text(path)} is not a complete safetensors file ({reason}); fetch it again"
    )


def read_json(path: Path, limit: int = JSON_BYTES, *, constants: bool = False) -> dict[str, Any]:
    """Read a JSON object from a file of at most `limit` bytes; `constants` as for `parse_json`.

    Raises:
        CheckpointError: the file is missing or holds something else.
    """
    try:
        value = parse_json(read_bounded(path, limit), limit, constants=constants)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{safe_text(path)} is missing; the model folder is not complete"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{safe_text(path)} cannot be read: {os_reason(error)}") from error
    except ValueError as error:
        reason = safe_text(error)
        raise CheckpointError(f"{safe_text(path)} cannot be read: {reason}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{safe_text(path)} must hold a JSON object")
    return value


def _sorted(part: Path, pattern: str) -> list[Path]:
    return sorted(part.glob(pattern))


def _refuse(source: Path, problem: str, keys: set[str]) -> None:
    if keys:
        raise CheckpointError(
            f"{safe_text(source)} {problem} {name_list(keys, NAMED)};"
            " it is not a checkpoint of this model"
        )

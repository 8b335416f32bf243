"""LongSANA against latents that its authors' published code computed, block by block.

tests/data/authors_rollout/README.md says what the file holds. The model is loaded as any original
checkpoint is, and generates through a session; only the prompts' embeddings are given.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from sana_stream.engine.engine import Engine
from sana_stream.engine.sampling.schedule import nearest_sigmas

from ..tiny_model import save_tiny_model

DATA = Path(__file__).parents[1] / "data" / "authors_rollout" / "longsana.safetensors"
EXACT = 2e-6  # relative L2 of a block; 7e-7 was measured
NEAR = 1e-3  # with sigma = t / 1000, whose levels differ by up to 4e-4
BLOCKS = (11, 10, 10, 10, 10)  # latent frames
SWITCHES = {"plain": None, "switch_before_2": 2, "switch_before_3": 3}


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    with safe_open(DATA, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.fixture(scope="module")
def metadata() -> dict[str, str]:
    with safe_open(DATA, framework="pt") as file:
        return file.metadata()


@pytest.fixture(scope="module")
def engine(recorded: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Engine:
    place = tmp_path_factory.mktemp("authors")
    weights = {
        name.removeprefix("weight."): tensor
        for name, tensor in recorded.items()
        if name.startswith("weight.")
    }
    torch.save({"generator": weights}, place / "LongSANA.pt")
    parts = save_tiny_model(place / "parts", channels=16, caption_channels=32)
    return Engine.load(place / "LongSANA.pt", "cpu", "float32", parts=parts)


@pytest.fixture
def authors_inputs(
    engine: Engine, recorded: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorded embeddings in place of the text encoder's."""

    def encode(prompt: str) -> tuple[Tensor, Tensor]:
        return recorded[f"embeds.{prompt}"].float(), recorded[f"mask.{prompt}"]

    monkeypatch.setattr(engine, "encode_prompt", encode)


def generated(engine: Engine, recorded: dict[str, Tensor], switch: int | None) -> Iterator[Tensor]:
    """The latents of five blocks; prompt B from block `switch` on."""

    def noise(block: int, step: int, shape: tuple[int, ...]) -> Tensor:
        drawn = recorded[f"noise.{block}.{step}"].float()
        assert drawn.shape == shape
        return drawn

    session = engine.session("A", height=48, width=64, noise=noise)
    for block in range(len(BLOCKS)):
        if block == switch:
            session.switch("B")
        yield next(session).latents


def errors(found: Iterator[Tensor], reference: Tensor) -> list[float]:
    """The relative L2 difference of each block."""
    parts = reference.split(BLOCKS, dim=2)
    pairs = itertools.zip_longest(found, parts)
    return [float((mine - theirs).norm() / theirs.norm()) for mine, theirs in pairs]


@pytest.mark.usefixtures("authors_inputs")
@pytest.mark.parametrize("kind", SWITCHES)
def test_every_block_equals_the_authors(engine: Engine, recorded: dict[str, Tensor], kind: str):
    found = errors(generated(engine, recorded, SWITCHES[kind]), recorded[f"reference.{kind}"])
    assert max(found) < EXACT, found


@pytest.mark.usefixtures("authors_inputs")
def test_levels_of_other_models_stay_near(
    engine: Engine, recorded: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine, "preset", replace(engine.preset, sigma_shift=None))
    found = errors(generated(engine, recorded, None), recorded["reference.plain"])
    assert EXACT < max(found) < NEAR, found


def test_preset_has_the_authors_timesteps_and_levels(engine: Engine, metadata: dict[str, str]):
    timesteps = tuple(json.loads(f"[{metadata['timesteps']}]"))
    assert engine.preset.timesteps == timesteps
    assert engine.preset.sigma_shift == 7
    levels = nearest_sigmas(timesteps, engine.preset.sigma_shift)
    assert levels == tuple(json.loads(f"[{metadata['sigmas']}]"))

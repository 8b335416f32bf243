"""Engines for tests of sessions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sana_stream import Engine


@pytest.fixture
def dpm_engine(tiny_engine: Engine) -> Engine:
    """The tiny model with a preset like that of a published model that is not distilled."""
    return Engine(
        tiny_engine.transformer,
        tiny_engine.vae,
        tiny_engine.text_encoder,
        replace(tiny_engine.preset, solver="dpm++", steps=2, timesteps=()),
        tiny_engine.device,
        tiny_engine.dtype,
    )

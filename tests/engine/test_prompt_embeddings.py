"""Prompt embeddings against diffusers' pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import SanaVideoPipeline

from sana_stream.engine.engine import Engine

INSTRUCTION = ["the night falls", "red: "]
LENGTH = 12


@pytest.fixture(scope="module")
def pipeline(tiny_folder: Path) -> SanaVideoPipeline:
    return SanaVideoPipeline.from_pretrained(tiny_folder)


@pytest.mark.parametrize(
    "prompt",
    ["A red boat sails", "", "  Sea, SUN and moon.  ", "a fox " * 30, "unheard words here"],
    ids=["plain", "empty", "spaces", "too-long", "unknown"],
)
def test_embeddings_equal_diffusers(pipeline: SanaVideoPipeline, tiny_engine: Engine, prompt: str):
    expected = pipeline.encode_prompt(
        prompt,
        negative_prompt=prompt,
        complex_human_instruction=INSTRUCTION,
        max_sequence_length=LENGTH,
        device=torch.device("cpu"),
    )
    pairs = [tiny_engine.encode_prompt(prompt), tiny_engine.encode_negative_prompt(prompt)]
    for (embeds, mask), (reference, reference_mask) in zip(
        pairs, [expected[:2], expected[2:]], strict=True
    ):
        assert reference is not None
        assert reference_mask is not None
        assert torch.equal(mask, reference_mask)
        kept = mask.bool()
        torch.testing.assert_close(embeds[kept], reference[kept], rtol=1e-4, atol=1e-5)
        assert embeds.shape == (1, LENGTH, 24)

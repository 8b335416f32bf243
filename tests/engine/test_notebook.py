"""What a notebook shows of a block: HTML whose picture has the block's frames."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.engine.block import Block
from sana_stream.engine.engine import Engine
from sana_stream.engine.notebook import (
    HEIGHT,
    MOST_BYTES,
    MOST_FRAMES,
    WIDTH,
    encode_frames,
    figure,
)

from ..shown_html import Shown, decoded

TAGS = {"div", "figure", "img", "figcaption", "strong", "br", "small", "progress"}
HOSTILE = "<script>alert(1)</script>\" onload='x' & \x1b[2J \u202e"


@pytest.fixture
def block(tiny_engine: Engine) -> Block:
    return next(tiny_engine.session("a red boat"))


def test_block_is_shown_as_its_frames(block: Block) -> None:
    shades = np.linspace(0, 255, len(block.frames)).astype(np.uint8)
    frames = np.zeros_like(block.frames) + shades[:, None, None, None]
    shown = Shown(replace(block, frames=frames)._repr_html_())
    assert set(shown.attributes) <= TAGS
    pictures, times = shown.pictures
    assert pictures.shape == frames.shape
    assert np.abs(pictures.astype(int) - frames).max() < 12
    assert sum(times) == round(1000 * len(frames) / 16)
    assert shown.attributes["img"]["alt"] == "a red boat"
    for text in ("a red boat", "block 1", "0.00 to 0.56 s", "9 frames of 48x32", "made in"):
        assert text in shown.text
    assert "frames 0 to 8" in Shown(replace(block, fps=None)._repr_html_()).text
    assert "\n" not in repr(block)


@given(prompt=st.text(max_size=500) | st.just(HOSTILE), fact=st.text(max_size=50))
def test_prompts_cannot_leave_their_place(prompt: str, fact: str) -> None:
    html = figure(np.zeros((1, 4, 4, 3), np.uint8), 16, prompt, [fact])
    shown = Shown(html)
    assert set(shown.attributes) == TAGS - {"div", "progress"}
    assert set(shown.attributes["img"]) == {"src", "alt", "style"}
    assert shown.attributes["strong"] == {}
    assert html.isprintable()


@pytest.mark.parametrize(
    ("count", "height", "width"),
    [(1, 64, 96), (33, 480, 832), (MOST_FRAMES + 1, 8, 8), (2, 720, 16)],
)
def test_pictures_are_bounded(count: int, height: int, width: int) -> None:
    """Also of noise, which cannot be compressed."""
    frames = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    _, data = encode_frames(frames, 16)
    assert len(data) <= MOST_BYTES
    pictures, times = decoded(data)
    assert pictures.shape[1] <= HEIGHT
    assert pictures.shape[2] <= WIDTH
    assert len(pictures) <= MOST_FRAMES
    assert (len(pictures) > 1) == (count > 1)
    if count > 1:
        assert abs(sum(times) - 1000 * count / 16) <= 1000 * (count / len(pictures)) / 16


def test_without_webp_a_frame_is_a_png(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    frames = np.stack([np.full((8, 8, 3), 10 * n, np.uint8) for n in range(5)])
    kind, data = encode_frames(frames, 16)
    assert kind == "image/png"
    np.testing.assert_array_equal(decoded(data)[0], frames[2:3])


def test_session_is_printed_on_one_line(tiny_engine: Engine) -> None:
    session = tiny_engine.session("a red boat", seed=3)
    next(session)
    assert repr(session) == (
        "Session('a red boat', 48x32, seed=3, blocks=1, frames=9, device='cpu')"
    )


@pytest.mark.skipif(
    find_spec("ipykernel") is None or find_spec("nbclient") is None,
    reason="ipykernel and nbclient are not installed: pip install 'sana-stream[test]'",
)
def test_a_notebook_shows_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path))  # a home that cannot be written is none

    code = (
        "import numpy as np, torch\n"
        "from sana_stream import Block, BlockStats\n"
        "frames = np.stack([np.full((8, 8, 3), 80 * n, np.uint8) for n in range(3)])\n"
        "Block(0, 0, frames, torch.zeros(0), 'a red boat', BlockStats(0, 0, 1, 1, 0, 0, 0), 16.0)"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, timeout=120).execute()
    (output,) = notebook.cells[0].outputs
    assert Shown(output["data"]["text/html"]).pictures[0].shape == (3, 8, 8, 3)
    assert output["data"]["text/plain"].startswith("Block(index=0")

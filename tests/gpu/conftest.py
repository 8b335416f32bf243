"""Fixtures: sessions of published shapes on a fake CUDA device, with every operation recorded.

The recorder is `examples/benchmarks/fake_gpu`. One or two layers stand for all twenty: what is
recorded of them is proportional. Each trace has a stream's first block and its second,
`trace.steady`, after which every block is the same.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "benchmarks"))

from fake_gpu import guard
from fake_gpu.sessions import SessionTrace, published, trace_session

LAYERS = 2
BLOCKS = 2


@pytest.fixture(scope="session", autouse=True)
def _compiler() -> None:
    if reason := guard.missing():
        pytest.skip(reason)
    guard.load_guard()


@pytest.fixture(scope="session")
def whole_blocks(_compiler: None) -> SessionTrace:
    """2B at 480×832 in bfloat16 with Wan's decoder, which decodes a block at once."""
    return trace_session(published("2b-480p", LAYERS), blocks=BLOCKS, decode_frames=11)


@pytest.fixture(scope="session")
def single_frames(_compiler: None) -> SessionTrace:
    """2B at 480×832 that decodes one latent frame at a time, in blocks of two."""
    shapes = published("2b-480p", 1)
    return trace_session(shapes, blocks=BLOCKS, decode_frames=1, block_frames=2)


@pytest.fixture(scope="session")
def small_decoder(_compiler: None) -> SessionTrace:
    """2B at 480×832 with TAEHV's small decoder."""
    shapes = published("2b-480p", 1)
    return trace_session(shapes, blocks=BLOCKS, decode_frames=11, decoder="tiny")


@pytest.fixture(scope="session")
def hd_720(_compiler: None) -> SessionTrace:
    """2B at 704×1280 with the LTX-2 VAE of diffusers."""
    return trace_session(published("2b-720p", 1), blocks=BLOCKS, decode_frames=11)

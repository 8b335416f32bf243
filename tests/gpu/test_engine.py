"""What the engine chooses and does on a CUDA device, on a fake one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fake_gpu.cuda import DEVICE, GIB, fake_cuda
from fake_gpu.sessions import SessionTrace, published
from fake_gpu.trace import Trace
from sana_stream.engine.device import resolve_dtype
from sana_stream.engine.engine import Engine
from sana_stream.engine.loading import cuda_check, model
from sana_stream.engine.loading.decoder import resolve_decoder_dtype
from sana_stream.engine.performance.benchmark import matrix_rate
from sana_stream.engine.performance.random_model import SHAPES, engine_of
from sana_stream.errors import ConfigError
from sana_stream.models.text_encoder import TextEncoder
from sana_stream.models.vae.ltx2 import LTX2VAE
from sana_stream.models.vae.taehv import TAEHVConfig
from sana_stream.models.weights.files import check_finite
from sana_stream.models.weights.load import finalize_vae

from ..tiny_model import tiny_text_encoder, tiny_tokenizer

WAN, LTX = SHAPES["2b-480p"].vae, SHAPES["2b-720p"].vae


def test_emulated_bfloat16_is_not_chosen():
    """Turing and Volta cards emulate it; only decoders that stay finite use float16 there."""
    with fake_cuda(capability=(7, 5), bfloat16=False):
        assert resolve_dtype("auto", DEVICE) == torch.float32
        assert resolve_decoder_dtype("auto", DEVICE, WAN) == torch.float16
        assert resolve_decoder_dtype("auto", DEVICE, TAEHVConfig()) == torch.float16
        assert resolve_decoder_dtype("auto", DEVICE, LTX) == torch.float32
        assert resolve_decoder_dtype("float32", DEVICE, WAN) == torch.float32
        engine = engine_of(published("2b-480p", 1), DEVICE)
        assert (engine.dtype, engine.decoder_dtype) == (torch.float32, torch.float16)
    with fake_cuda():
        assert resolve_dtype("auto", DEVICE) == torch.bfloat16
        assert resolve_decoder_dtype("auto", DEVICE, WAN) == torch.bfloat16
    assert resolve_decoder_dtype("auto", torch.device("mps"), WAN) == torch.float32


def test_matrix_rate_counts_a_large_product_without_its_launch():
    with fake_cuda() as trace:
        rate = matrix_rate(DEVICE, torch.bfloat16)
    products = [operation for operation in trace.record.operations if operation.name == "mm"]
    assert {operation.inputs[0].shape for operation in products} == {(8192, 8192)}
    assert len(trace.record.waits) == 1
    assert rate == 20 * 2 * 8192**3 / 1e-3  # all of it in the 1 ms between two fake events


def of_torch(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged about torch; a missing Triton is reported elsewhere."""
    return [record.message for record in caplog.records if record.name == cuda_check.__name__]


def test_old_torch_is_reported_once(caplog: pytest.LogCaptureFixture, monkeypatch: Any):
    monkeypatch.setattr(torch, "__version__", "2.8.1+cu126")
    with fake_cuda(), caplog.at_level(logging.WARNING):
        engine_of(SHAPES["pocket"], DEVICE)
    assert of_torch(caplog) == [
        (
            "torch 2.8.1 on CUDA: some of its normalisations and convolutions are several times"
            " slower; install torch 2.10 or newer"
        )
    ]


@pytest.mark.parametrize("version", ["2.10.0", "2.13.0+cu130", "3.0.0a1"])
def test_current_torch_is_not_reported(
    version: str, caplog: pytest.LogCaptureFixture, monkeypatch: Any
):
    monkeypatch.setattr(torch, "__version__", version)
    with fake_cuda(), caplog.at_level(logging.WARNING):
        engine_of(SHAPES["pocket"], DEVICE)
    assert of_torch(caplog) == []


@pytest.mark.parametrize(
    ("cudnn", "dtype", "checked"),
    [
        (91002, "bfloat16", True),
        (90800, "bfloat16", True),
        (91299, "bfloat16", True),
        (90701, "bfloat16", False),
        (91501, "bfloat16", False),
        (91002, "float32", False),
        (None, "bfloat16", False),
    ],
)
def test_suspect_cudnn_is_compared_when_a_model_is_loaded(
    cudnn: int | None, dtype: str, checked: bool, monkeypatch: Any
):
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: cudnn)
    monkeypatch.setattr(model, "check_convolution", lambda *args: calls.append(args))
    with fake_cuda():
        engine_of(SHAPES["pocket"], DEVICE, dtype)
    kind = torch.bfloat16
    assert calls == ([(32, 8, 32, 56, kind, DEVICE)] if checked else [])


@pytest.mark.parametrize("frame", [None, 0, 4, 8])
def test_wrong_convolution_is_refused(frame: int | None, monkeypatch: Any):
    """A frame of a long input is wrong, as in pytorch issue 163539; short inputs are right."""
    real = torch.nn.functional.conv3d

    def conv3d(x: Tensor, *args: Any, **options: Any) -> Tensor:
        result = real(x, *args, **options)
        if x.shape[2] > 3 and frame is not None:
            result[:, :, frame, 0] = 0
        return result

    monkeypatch.setattr("torch.nn.functional.conv3d", conv3d)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    arguments: Any = (4, 9, 6, 8, torch.bfloat16, torch.device("cpu"))
    if frame is None:
        cuda_check.check_convolution(*arguments)
        return
    with pytest.raises(ConfigError, match="cuDNN 91002 computes a convolution of 9 frames of 8x6"):
        cuda_check.check_convolution(*arguments)


def test_fingerprint_is_read_once_and_anew_after_a_lora():
    with fake_cuda() as trace:
        engine = engine_of(SHAPES["pocket"], DEVICE)
        trace.clear()
        first = engine.fingerprint
        assert len(trace.record.waits) == 1
        assert engine.fingerprint is first
        assert len(trace.record.waits) == 1
        engine.set_loras(())
        assert engine.fingerprint is not first


def test_fingerprint_follows_the_weights_of_loras(tiny_folder: Path):
    engine = Engine.load(tiny_folder, device="cpu", dtype="float32")
    before = engine.fingerprint
    engine.set_loras(())
    assert torch.equal(engine.fingerprint.sample, before.sample)


def test_offloaded_text_encoder_is_copied_one_way_and_dropped():
    network = tiny_text_encoder().eval()
    weights = sum(weight.nbytes for weight in network.parameters())
    with fake_cuda() as trace:
        text = TextEncoder(tiny_tokenizer(), network, (), 12, DEVICE, torch.device("cpu"))
        assert all(map(trace.is_pinned, network.parameters()))
        trace.clear()
        embeds, _ = text.encode("a red boat")
        assert embeds.device == DEVICE
        operations = trace.record.operations
        copies = [o for o in operations if o.devices == {"cpu", "cuda"} and not o.view]
        assert all(o.inputs[0].device == "cpu" for o in copies)
        assert not [wait for wait in trace.record.waits if wait.what.startswith("copies cuda")]
        # those of transformers itself; the weights are copied without waiting
        assert len(trace.record.waits) <= 5 < len(list(network.parameters()))
        assert sum(o.written for o in copies) >= weights
        assert {weight.device.type for weight in network.parameters()} == {"cpu"}
        assert trace.record.held < weights / 2


def test_first_noise_is_drawn_while_the_device_commits():
    """Nothing between the commit and the draw waits for the device."""
    seen: list[tuple[int, list[str]]] = []

    def noise(block: int, step: int, shape: tuple[int, ...]) -> Tensor:
        own = [wait.what for wait in trace.record.waits]
        seen.append((step, own[:]))
        return torch.zeros(shape)

    with fake_cuda(Trace()) as trace:
        engine = engine_of(published("pocket", 1), DEVICE, "bfloat16")
        engine.decode_frames = 2
        session = engine.session("a red boat", height=64, width=64, block_frames=2, noise=noise)
        next(session)
        trace.clear()
        seen.clear()
        next(session)
    assert [step for step, _ in seen] == list(range(8))
    assert not [waits for _, waits in seen if waits]


@pytest.mark.parametrize(("name", "frames"), [("whole_blocks", 10), ("single_frames", 2)])
def test_decoding_waits_once_and_on_its_own_stream(
    name: str, frames: int, request: pytest.FixtureRequest
):
    """However many pieces: frames, latents, statistics and checks arrive together."""
    trace: SessionTrace = request.getfixturevalue(name)
    block = trace.steady
    first = next(n for n, o in enumerate(block.operations) if o.stage == "decode")
    on_device = [o for o in block.operations[first:] if "cuda" in o.devices]
    assert {operation.stream for operation in on_device} == {"side"}
    assert len([wait for wait in block.waits if wait.place.startswith("device.py")]) == 1
    copied = {o.inputs[-1].shape for o in on_device if "cpu" in o.devices}
    assert {(4 * frames, 3), (1, 16, frames, 60, 104)} <= copied


def test_blocks_hold_one_host_array(monkeypatch: Any):
    """The frames are the pinned memory that they were copied to, not a copy of it."""
    made: list[tuple[int, ...]] = []
    with fake_cuda(memory=16 * GIB) as trace:
        pin = trace.pin
        monkeypatch.setattr(trace, "pin", lambda t: (made.append(tuple(t.shape)), pin(t))[1])
        engine = engine_of(published("pocket", 1), DEVICE, "bfloat16")
        engine.decode_frames = 1
        block = next(engine.session("a red boat", height=64, width=64, block_frames=2))
    assert [shape for shape in made if shape[-1:] == (3,) and len(shape) == 4] == [
        block.frames.shape
    ]


def test_ltx2_encoder_is_loaded_when_it_first_encodes(monkeypatch: pytest.MonkeyPatch):
    shapes = published("2b-720p", 1)
    with fake_cuda() as trace:
        vae = engine_of(shapes, "cpu", "bfloat16").vae
        assert isinstance(vae, LTX2VAE)
        finalize_vae(vae, torch.bfloat16, DEVICE)
        assert {weight.device.type for weight in vae.decoder.parameters()} == {"cuda"}
        assert {weight.device.type for weight in vae.encoder.parameters()} == {"cpu"}
        assert vae.inner.latents_mean.device == DEVICE
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "tolist", lambda t: [True] * len(t))
            trace.clear()
            check_finite(vae.inner, Path("vae"))
            mixed = [o for o in trace.record.operations if len(o.devices) > 1]
        assert not mixed
        held = trace.record.held
        vae.encode(torch.zeros(1, 3, 1, 64, 64, device=DEVICE))
        assert {weight.device.type for weight in vae.encoder.parameters()} == {"cuda"}
        assert trace.record.held > held + 2 * GIB
        vae.decode(torch.zeros(1, 128, 1, 2, 2, device=DEVICE))

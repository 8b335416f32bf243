"""The networks' calls of a stream, recorded while a model is loaded and repeated in one launch.

Recorded are the two shapes that a stream's blocks have (the first one, and every later one) for
denoising and for the commit, and the steady decoding of later blocks. A memory policy shows its
past in one shape whatever it holds, and works it out before the call: every policy is served.
A block whose first frame is given, another size and a stream's first pictures run as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map, tree_unflatten

from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.session.settings import resolve_settings
from sana_stream.engine.snapshot.snapshot import initial_snapshot
from sana_stream.errors import ConfigError
from sana_stream.models.attention import AttentionState
from sana_stream.models.memory_policy import Past, StateUpdate
from sana_stream.models.rope import RotaryEmbedding
from sana_stream.models.transformer import SanaVideoTransformer, TextKV
from sana_stream.models.vae.taehv import TAEHVDecoder
from sana_stream.models.vae.wan import VAECache, WanVAE

WARM_UPS = 3  # runs before a recording, in which libraries choose their kernels and make workspaces

Work = Callable[[], None]


class GraphCapture(Protocol):
    """Records work that reads and writes the same memory each time it is repeated."""

    def capture(self, work: Work) -> Work:
        """What repeats the device's part of the work, without its Python."""
        ...

    def exclusive(self) -> AbstractContextManager[None]:
        """Only one recording is filled, repeated and read at a time, on whichever queue."""
        ...


class CudaGraphCapture:
    """CUDA graphs that share one pool of memory, which they may since they take turns."""

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._device = device
        self._cuda = cuda
        self._pool = cuda.graph_pool_handle()
        self._lock = Lock()
        self._read: Any = None  # the event after which the last turn's memory is free again

    def capture(self, work: Work) -> Work:
        with self._cuda.device(self._device):
            current, side = self._cuda.current_stream(), self._cuda.Stream()
            side.wait_stream(current)
            with self._cuda.stream(side):
                for _ in range(WARM_UPS):
                    work()
            current.wait_stream(side)
            graph = self._cuda.CUDAGraph()
            with self._cuda.graph(graph, pool=self._pool):
                work()
        return graph.replay

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        with self._lock:
            queue = self._cuda.current_stream(self._device)
            if self._read is not None:
                queue.wait_event(self._read)
            yield
            self._read = queue.record_event()


def graph_capture_for(device: torch.device) -> GraphCapture:
    """The recorder of a device.

    Raises:
        ConfigError: the device has none.
    """
    if device.type != "cuda":
        raise ConfigError(f"graphs need a CUDA device, this is {device.type}; leave graphs out")
    return CudaGraphCapture(device)


R = TypeVar("R")
Form = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class CapturedGraph(Generic[R]):
    """Memory that is filled, work on it, and memory that is read."""

    inputs: list[Tensor]
    replay: Work
    output: R


class GraphedFunction(Generic[R]):
    """Calls as `function` does, faster for arguments of the forms that were recorded.

    Arguments are tensors, alone and in tuples and named tuples. They are copied into a recording's
    own memory and the result is copied out of it, so neither is changed by a later call. A form is
    shapes, dtypes and the order of axes in memory; one that was not recorded runs as it is.
    """

    def __init__(self, function: Callable[..., R], recorder: GraphCapture) -> None:
        self._function = function
        self._recorder = recorder
        self._recordings: dict[Form, CapturedGraph[R]] = {}

    @torch.no_grad()
    def capture(self, *args: Any) -> None:
        """Record the work for arguments of this form; their values do not matter."""
        tensors, tree = tree_flatten(args)
        inputs = [tensor.clone() for tensor in tensors]
        outputs: list[R] = []

        def work() -> None:
            outputs[:] = [self._function(*tree_unflatten(inputs, tree))]

        repeat = self._recorder.capture(work)
        self._recordings[_form(inputs, tree)] = CapturedGraph(inputs, repeat, outputs[0])

    def __call__(self, *args: Any) -> R:
        tensors, tree = tree_flatten(args)
        recording = self._recordings.get(_form(tensors, tree))
        if recording is None:
            return self._function(*args)
        with self._recorder.exclusive():
            for own, given in zip(recording.inputs, tensors, strict=True):
                own.copy_(given)
            recording.replay()
            return tree_map(torch.clone, recording.output)


def _form(tensors: list[Tensor], tree: TreeSpec) -> Form:
    return tree, *((t.dtype, t.device, *map(_axis, t.shape, t.stride())) for t in tensors)


def _axis(size: int, stride: int) -> tuple[int, int]:
    return size, stride if size > 1 else 0  # where there is one element, no stride is taken


# Of a decoder's cache, which is copied in and out with each call. A larger one belongs to pictures
# so large that launching their kernels takes no time beside running them.
CACHE_LIMIT = 64 << 20  # bytes


class GraphedTransformer:
    """The transformer's calls; prompts keep their padding, so that all of them have one shape."""

    def __init__(self, model: SanaVideoTransformer, recorder: GraphCapture) -> None:
        self._model = model

        def denoise(
            latents: Tensor, times: Tensor, text: TextKV, past: Past, rotation: RotaryEmbedding
        ) -> Tensor:
            return model.denoise(latents, times, text, past, 0, rotation)

        def commit(
            latents: Tensor, text: TextKV, past: Past, rotation: RotaryEmbedding
        ) -> tuple[AttentionState, Tensor]:
            block = model.commit(latents, text, past, 0, rotation)
            return block.sums, block.conv_state

        self._denoise = GraphedFunction(denoise, recorder)
        self._commit = GraphedFunction(commit, recorder)

    def prepare_text(self, embeds: Tensor, mask: Tensor) -> TextKV:
        """As the transformer's."""
        return self._model.prepare_text(embeds, mask, keep_padding=True)

    def denoise(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: TextKV,
        past: Past,
        start: int,
        rotation: RotaryEmbedding | None = None,
    ) -> Tensor:
        """As the transformer's."""
        if rotation is None:
            rotation = self._model.rotation(latents, start)
        return self._denoise(latents, timestep, text, past, rotation)

    def commit(self, latents: Tensor, text: TextKV, past: Past, start: int) -> StateUpdate:
        """As the transformer's."""
        rotation = self._model.rotation(latents, start)
        sums, tail = self._commit(latents, text, past, rotation)
        return StateUpdate(sums, tail, start, latents.shape[2])

    def capture(self, latents: Tensor, text: TextKV, past: Past) -> None:
        """Record both calls for a block of the form of latents (1, C, T, h, w)."""
        rotation = self._model.rotation(latents, 0)
        timestep = torch.zeros(1, 1, device=latents.device)
        self._denoise.capture(latents, timestep, text, past, rotation)
        self._commit.capture(latents, text, past, rotation)


class GraphedDecoder:
    """A decoder's calls in the middle of a stream."""

    def __init__(self, decoder: WanVAE | TAEHVDecoder, recorder: GraphCapture) -> None:
        self._decoder = decoder
        self._paint = GraphedFunction(decoder.decode_frames, recorder)

    def decode(self, latents: Tensor, cache: VAECache | None = None) -> tuple[Tensor, VAECache]:
        """As the decoder's."""
        if cache is None:
            return self._decoder.decode(latents)
        frames, tails = self._paint(self._decoder.denormalize(latents), cache.tails)
        return frames.clamp(-1, 1), VAECache(tails)

    def capture(self, latents: Tensor, cache: VAECache) -> None:
        """Record the call for pieces of the form of latents (1, C, T', h, w)."""
        self._paint.capture(self._decoder.denormalize(latents), cache.tails)


@torch.no_grad()
def capture_graphs(
    model: LoadedModel,
    height: int | None = None,
    width: int | None = None,
    block_frames: int | None = None,
    recorder: GraphCapture | None = None,
) -> None:
    """Have an engine's calls recorded now, for streams of one size; others run as they are.

    Compile and quantize before: what is recorded stays. LoRA files may be changed afterwards.
    Recordings hold memory of their own, as much as the largest call.

    Args:
        engine: changed in place.
        height, width: pixels; what is not given comes from the preset.
        block_frames: latent frames a block.
        recorder: default: the device's.

    Raises:
        ConfigError: the device has no graphs, or the size does not fit the model.
    """
    mine = recorder or graph_capture_for(model.device)
    settings = resolve_settings(
        model.preset, model.size_multiple, height=height, width=width, block_frames=block_frames
    )
    past = initial_snapshot(model, settings, "", "").states[0].past()
    first, block = (
        torch.zeros(model.latent_shape(n, settings.height, settings.width), device=model.device)
        for n in (settings.block_frames + 1, settings.block_frames)
    )
    denoiser = GraphedTransformer(model.transformer, mine)
    text = denoiser.prepare_text(*model.encode_prompt(""))
    for latents in (first, block):
        denoiser.capture(latents, text, past)
    model.transformer_calls = denoiser
    if isinstance(model.decoder, WanVAE | TAEHVDecoder):
        # it runs beside the transformer, with which it must therefore share no memory
        own = recorder or graph_capture_for(model.device)
        decoder = GraphedDecoder(model.decoder, own)
        step = model.decode_frames_for(settings.block_frames, settings.height, settings.width)
        _record_decoding(decoder, first, block, step)
        model.decoder_calls = decoder


def _record_decoding(decoder: GraphedDecoder, first: Tensor, block: Tensor, step: int) -> None:
    """Decode a stream's two first blocks as they come, and record what the second one takes."""
    cache = None
    for piece in first.split(step, dim=2):
        _, cache = decoder.decode(piece, cache)
    assert cache is not None
    if cache.nbytes > CACHE_LIMIT:
        return
    for piece in block.split(step, dim=2):
        _, after = decoder.decode(piece, cache)
        decoder.capture(piece, after)
        cache = after

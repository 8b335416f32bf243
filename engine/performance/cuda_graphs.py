"""CUDA graphs of the networks' calls, captured after loading and replayed in one launch.

Denoising and commit are captured for the two shapes of a stream's blocks (the first one, and every
later one), decoding for later blocks. A memory policy computes its past before the call, always in
the same shape, so every policy is supported. Blocks with a given first frame, other sizes and the
decoding of a stream's first frames run without graphs.
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

from sana_stream.engine.device import HIGH_PRIORITY
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.session.clips import check_streaming
from sana_stream.engine.session.settings import resolve_settings
from sana_stream.engine.snapshot.snapshot import initial_snapshot
from sana_stream.errors import ConfigError
from sana_stream.models.attention import AttentionState
from sana_stream.models.memory_policy import Past, StateUpdate
from sana_stream.models.registry import VideoTransformer
from sana_stream.models.rope import RotaryEmbedding
from sana_stream.models.text_kv import TextKV
from sana_stream.models.transformer import SanaVideoTransformer
from sana_stream.models.vae.causal_ltx2 import CausalLTX2Decoder
from sana_stream.models.vae.streaming import VAECache
from sana_stream.models.vae.taehv import TAEHVDecoder
from sana_stream.models.vae.wan import WanVAE

WARM_UPS = 3  # runs before a capture, in which libraries choose kernels and allocate workspaces

Work = Callable[[], None]
CausalDecoder = WanVAE | TAEHVDecoder | CausalLTX2Decoder


class GraphCapture(Protocol):
    """Captures work that reads and writes the same memory each time it is replayed."""

    def capture(self, work: Work) -> Work:
        """Capture the work and return a function that replays its kernels."""
        ...

    def exclusive(self) -> AbstractContextManager[None]:
        """Enter while a graph's memory is in use: one graph at a time, on any stream."""
        ...


class CudaGraphCapture:
    """CUDA graphs that share one memory pool, since only one is replayed at a time.

    Args:
        device: of the graphs.
        cuda: torch.cuda, or a stand-in.
        priority: of the stream that they are replayed on. Kernels of a graph have the priority of
            the stream that they were captured on.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda, priority: int = 0) -> None:
        self._device = device
        self._cuda = cuda
        # of all captures: within a memory pool, memory is used again on its own stream only
        self._stream = cuda.Stream(device, priority=priority)
        self._pool = cuda.graph_pool_handle()
        self._lock = Lock()
        self._read: Any = None  # the event after which the memory is free again

    def capture(self, work: Work) -> Work:
        with self._cuda.device(self._device):
            current, side = self._cuda.current_stream(), self._stream
            side.wait_stream(current)
            with self._cuda.stream(side):
                for _ in range(WARM_UPS):
                    work()
            current.wait_stream(side)
            graph = self._cuda.CUDAGraph()
            with self._cuda.graph(graph, pool=self._pool, stream=side):
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


def graph_capture_for(device: torch.device, priority: int = 0) -> GraphCapture:
    """The graph capture of a device; `priority` as for `CudaGraphCapture`.

    Raises:
        ConfigError: not a CUDA device.
    """
    if device.type != "cuda":
        raise ConfigError(f"graphs need a CUDA device, this is {device.type}; leave graphs out")
    return CudaGraphCapture(device, priority=priority)


R = TypeVar("R")
Form = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class CapturedGraph(Generic[R]):
    """A graph with the memory of its inputs and output."""

    inputs: list[Tensor]
    replay: Work
    output: R


class GraphInputs:
    """Memory for the inputs of graphs of which one is replayed at a time, and so shared by them."""

    def __init__(self) -> None:
        self._held: dict[Form, list[Tensor]] = {}

    def place(self, tensors: list[Tensor]) -> list[Tensor]:
        """Tensors of the same shapes, dtypes and layouts, each of its own memory."""
        used: dict[Form, int] = {}
        places = []
        for tensor in tensors:
            form = _tensor_form(tensor)
            held, count = self._held.setdefault(form, []), used.get(form, 0)
            if count == len(held):
                held.append(tensor.clone())
            places.append(held[count])
            used[form] = count + 1
        return places


class GraphedFunction(Generic[R]):
    """A function that replays a graph for arguments whose form was captured.

    Arguments are tensors, alone and in tuples and named tuples. They are copied into the graph's
    memory and the result is copied out of it, so later calls change neither. A form is the shapes,
    dtypes and memory layouts. For other forms the function itself is called.

    Args:
        function: what is captured.
        recorder: captures it.
        inputs: memory shared with other functions of the same recorder.
    """

    def __init__(
        self,
        function: Callable[..., R],
        recorder: GraphCapture,
        inputs: GraphInputs | None = None,
    ) -> None:
        self._function = function
        self._recorder = recorder
        self._inputs = inputs or GraphInputs()
        self._graphs: dict[Form, CapturedGraph[R]] = {}

    @torch.no_grad()
    def capture(self, *args: Any) -> None:
        """Capture a graph for arguments of this form; their values do not matter."""
        tensors, tree = tree_flatten(args)
        inputs = self._inputs.place(tensors)
        outputs: list[R] = []

        def work() -> None:
            outputs[:] = [self._function(*tree_unflatten(inputs, tree))]

        replay = self._recorder.capture(work)
        self._graphs[_form(inputs, tree)] = CapturedGraph(inputs, replay, outputs[0])

    def __call__(self, *args: Any) -> R:
        tensors, tree = tree_flatten(args)
        graph = self._graphs.get(_form(tensors, tree))
        if graph is None:
            del tensors  # the function may free them
            return self._function(*args)
        with self._recorder.exclusive():
            for own, given in zip(graph.inputs, tensors, strict=True):
                own.copy_(given)
            graph.replay()
            return tree_map(torch.clone, graph.output)


def _form(tensors: list[Tensor], tree: TreeSpec) -> Form:
    return tree, *map(_tensor_form, tensors)


def _tensor_form(t: Tensor) -> Form:
    return t.dtype, t.device, *map(_axis, t.shape, t.stride())


def _axis(size: int, stride: int) -> tuple[int, int]:
    return size, stride if size > 1 else 0  # one element has no meaningful stride


# Of a decoder's cache, which is copied in and out with each call. With a larger one the frames are
# so large that launching kernels takes no noticeable time.
CACHE_LIMIT = 64 << 20  # bytes


class GraphedTransformer:
    """The transformer's calls as graphs; prompts keep their padding, so all have one shape.

    Raises:
        ConfigError: the transformer has no commit, as it makes one clip at a time.
    """

    def __init__(self, model: VideoTransformer, recorder: GraphCapture) -> None:
        if not isinstance(model, SanaVideoTransformer):
            raise ConfigError("this model makes one clip at a time: leave graphs out")
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

        inputs = GraphInputs()  # text and past are in every call
        self._denoise = GraphedFunction(denoise, recorder, inputs)
        self._commit = GraphedFunction(commit, recorder, inputs)

    def prepare_text(self, embeds: Tensor, mask: Tensor) -> TextKV:
        """As `SanaVideoTransformer`'s method."""
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
        """As `SanaVideoTransformer`'s method."""
        if rotation is None:
            rotation = self._model.rotation(latents, start)
        return self._denoise(latents, timestep, text, past, rotation)

    def commit(self, latents: Tensor, text: TextKV, past: Past, start: int) -> StateUpdate:
        """As `SanaVideoTransformer`'s method."""
        rotation = self._model.rotation(latents, start)
        sums, conv_state = self._commit(latents, text, past, rotation)
        return StateUpdate(sums, conv_state, start, latents.shape[2])

    def capture(self, latents: Tensor, text: TextKV, past: Past) -> None:
        """Capture both calls for blocks with the shape of `latents`, (1, C, T, h, w)."""
        rotation = self._model.rotation(latents, 0)
        timestep = torch.zeros(1, 1, device=latents.device)
        self._denoise.capture(latents, timestep, text, past, rotation)
        self._commit.capture(latents, text, past, rotation)


class GraphedDecoder:
    """A decoder's calls in mid-stream as graphs."""

    def __init__(self, decoder: CausalDecoder, recorder: GraphCapture) -> None:
        self._decoder = decoder
        self._decode_frames = GraphedFunction(decoder.decode_frames, recorder)

    def decode(self, latents: Tensor, cache: VAECache | None = None) -> tuple[Tensor, VAECache]:
        """As `WanVAE.decode`."""
        if cache is None:
            return self._decoder.decode(latents)
        frames, tails = self._decode_frames(self._decoder.denormalize(latents), cache.take())
        return frames.clamp(-1, 1), VAECache(tails)

    def capture(self, latents: Tensor, cache: VAECache) -> None:
        """Capture the call for pieces with the shape of `latents`, (1, C, T', h, w)."""
        self._decode_frames.capture(self._decoder.denormalize(latents), list(cache.tails))


@torch.no_grad()
def capture_graphs(
    model: LoadedModel,
    height: int | None = None,
    width: int | None = None,
    block_frames: int | None = None,
    recorder: GraphCapture | None = None,
) -> None:
    """Capture a model's calls as CUDA graphs for streams of one size.

    Compile and quantize before. LoRA files may be changed afterwards. The graphs take as much
    memory as the largest call. Streams of other sizes run without graphs.

    Args:
        model: changed in place.
        height, width: pixels; default: the preset's.
        block_frames: latent frames a block; default: the preset's.
        recorder: default: the device's.

    Raises:
        ConfigError: not a CUDA device, the size does not fit the model, or the model makes one
            clip at a time.
    """
    check_streaming(model.preset, model.transformer.config, "a CUDA graph")
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
    if isinstance(model.decoder, CausalDecoder):
        # it runs at the same time as the transformer, so they must not share memory
        own = recorder or graph_capture_for(model.device, HIGH_PRIORITY)
        decoder = GraphedDecoder(model.decoder, own)
        step = model.decode_frames_for(settings.block_frames, settings.height, settings.width)
        _capture_decoding(decoder, first, block, step)
        model.decoder_calls = decoder


def _capture_decoding(decoder: GraphedDecoder, first: Tensor, block: Tensor, step: int) -> None:
    """Decode a stream's first two blocks and capture the calls of the second one."""
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

"""Decoding on a device of its own: the calls of the first process, and the work of the other."""

from __future__ import annotations

import weakref
from itertools import count

import torch
import torch.distributed as dist
from torch import Tensor

from sana_stream.engine.loading.model import LoadedModel
from sana_stream.models.vae.streaming import SingleUseCache, VAECache

from .link import Link
from .messages import Decode, Decoded, pack, unpack


class RemoteCache(VAECache):
    """A decoder's cache on another device, which the next call uses up.

    It counts no bytes here, and no snapshot holds it: it is rebuilt from the last latents.
    """

    __slots__ = ("__weakref__", "number")
    number: int

    def __init__(self, number: int) -> None:
        super().__init__(())
        object.__setattr__(self, "number", number)

    @property
    def is_storable(self) -> bool:
        return False

    def for_single_use(self) -> VAECache:
        return self


class RemoteDecoder:
    """The `DecoderCalls` of the first process: sends latents, receives frames.

    Args:
        link: to the other processes.
        rank: of the process that decodes.
        group: of the two.
        device: of this process.
    """

    def __init__(
        self, link: Link, rank: int, group: dist.ProcessGroup, device: torch.device
    ) -> None:
        self._link = link
        self._rank = rank
        self._group = group
        self._device = device
        self._numbers = count()
        self._unused: list[int] = []  # caches that are not referred to any more
        self.bytes_sent = 0

    def decode(self, latents: Tensor, cache: VAECache | None = None) -> tuple[Tensor, VAECache]:
        """As `WanVAE.decode`; a cache of another origin, such as a checkpoint's, is sent.

        Raises:
            ParallelError: the other process has ended.
            OutOfMemoryError: its device has no memory left.
        """
        before = cache.number if isinstance(cache, RemoteCache) else None
        number = next(self._numbers)
        unused, self._unused = tuple(self._unused), []
        tails = b"" if cache is None or before is not None else pack(cache.tails)
        message = Decode(tuple(latents.shape), before, number, unused, tails)
        try:
            frames = self._exchange(message, latents.contiguous())
        except RuntimeError as error:
            raise self._link.explain(error) from error
        after = RemoteCache(number)
        weakref.finalize(after, self._unused.append, number)
        return frames, after

    def _exchange(self, message: Decode, latents: Tensor) -> Tensor:
        """Send latents and receive their frames."""
        self._link.send(message, [self._rank])
        dist.send(latents, self._rank, group=self._group)
        self.bytes_sent += latents.nbytes
        answer = self._link.receive(self._rank)
        assert isinstance(answer, Decoded)
        if answer.out_of_memory:
            raise torch.OutOfMemoryError("the device that decodes has no memory left")
        frames = torch.empty(answer.shape, dtype=torch.float32, device=self._device)
        dist.recv(frames, self._rank, group=self._group)
        return frames


class DecoderWorker:
    """Decodes what `RemoteDecoder` sends.

    Args:
        model: of this process.
        link: to the first process.
        group: of the two.
    """

    def __init__(self, model: LoadedModel, link: Link, group: dist.ProcessGroup) -> None:
        self._model = model
        self._link = link
        self._group = group
        self._caches: dict[int, VAECache] = {}

    @torch.no_grad()
    def decode(self, message: Decode) -> None:
        """Receive latents, decode them and send the frames."""
        for number in message.forget:
            self._caches.pop(number, None)
        latents = torch.empty(message.shape, dtype=torch.float32, device=self._model.device)
        dist.recv(latents, 0, group=self._group)
        before = None if message.before is None else self._caches.pop(message.before)
        if message.tails:
            before = SingleUseCache(tuple(t.to(self._model.device) for t in unpack(message.tails)))
        try:
            frames, after = self._model.decoder_calls.decode(latents, before)
        except torch.OutOfMemoryError:
            self._link.send(Decoded(out_of_memory=True))
            return
        self._caches[message.after] = after.for_single_use()
        del before, after
        frames = frames.float().contiguous()
        self._link.send(Decoded(tuple(frames.shape)))
        dist.send(frames, 0, group=self._group)

"""An engine whose streams are computed on several devices."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import torch

from sana_stream._arguments import ARGUMENTS
from sana_stream.engine.cpu_share import allowed_cores
from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.inspect import ModelInfo
from sana_stream.engine.noise import NoiseSource
from sana_stream.engine.sampling.prompt_mixing import Embedded
from sana_stream.engine.scheduling.text_cache import TextCache
from sana_stream.engine.session.session import Session
from sana_stream.engine.snapshot.snapshot import Snapshot
from sana_stream.errors import ConfigError, ParallelError

from .decoder import RemoteDecoder
from .devices import check_backend, device_of
from .groups import Groups, abort_collectives, join_world, leave_world
from .layout import check_devices, has_decoder
from .leader import Leader
from .link import END
from .start import (
    READY,
    Connection,
    LoadRequest,
    decoding_group,
    divide_calls,
    follow,
)
from .world import check_count, launched_world

END_SECONDS = 20.0  # for the other processes, before they are killed


class ParallelEngine(Engine):
    """A model loaded on several devices, one process each, that compute each stream together.

        with ParallelEngine.load("pocket", devices=2) as engine:
            for block in engine.session("a red boat at dusk"):
                ...

    Everything else is as with `Engine`: its sessions, snapshots and outputs are in this process.
    In float32 blocks differ from those of one device by rounding, about 1e-7. Sessions may not run
    at the same time.
    """

    _connection: Connection | None = None
    _leader: Leader | None = None
    _embedded: TextCache
    _threads = 0  # of torch, before the devices shared this machine's processors

    @classmethod
    def load(
        cls,
        model: str | Path | ModelInfo = "pocket",
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        *,
        devices: int | None = None,
        parallel: str | None = None,
        **arguments: Any,
    ) -> Self:
        """Load a checkpoint on several devices.

        The other processes are started here, or by torchrun. Under torchrun this does not return
        in the processes after the first one: they follow that one and exit with it.

        Args:
            model, device, dtype, **arguments: as for `Engine.load`; "cuda" without a number.
            devices: 2 or more. Default under torchrun: its number of processes.
            parallel: "guidance" (prompt and negative prompt), "decoder" (the last device decodes),
                "frames" (latent frames), "rows" (token rows) or parts such as "2x2" (frames x
                rows). Default: by the number of devices and by each stream's guidance.

        Raises:
            ConfigError: fewer devices than are asked for, or an argument of `Engine.load`.
            ParallelError: a process cannot start, or cannot load the model.
            SystemExit: in the other processes, when the first one has ended.
        """
        world = launched_world()
        if world is not None and world.rank:
            raise SystemExit(follow())
        count = check_count(devices)
        if count == 1:
            raise ConfigError("devices 1: give 2 or more, or use Engine")
        check_devices(count, parallel)
        check_backend()
        own = device_of(device, count, world)
        decoding = has_decoder(count, parallel)
        connection = Connection(count, world, own, lambda lost: abort_collectives())
        try:
            given = {"model": model, "dtype": dtype} | arguments
            link = connection.link
            link.send(LoadRequest(given, own.type, count, decoding))
            threads = torch.get_num_threads()
            _share_processors(own, count)
            engine = super().load(device=own, **given)
            for rank in range(1, count):
                if link.receive(rank) != READY:
                    raise ParallelError(f"process {rank} has not loaded the model")
            link.send(READY)
            join_world(connection.store, 0, count, own)
        except BaseException:
            connection.link.close()
            connection.stop(0)
            raise
        divide_calls(engine)
        engine._embedded = TextCache(engine._embed)
        engine._connection, engine._threads = connection, threads
        group = decoding_group(count, decoding)
        engine._leader = Leader(engine, link, Groups(own, 0), count, parallel)
        engine.peers = engine._leader
        if group is not None:
            engine.decoder_calls = RemoteDecoder(link, count - 1, group, own)
        atexit.register(engine.close)
        return engine

    def session(self, *args: Any, **kwargs: Any) -> Session:
        """As `Engine.session`.

        Raises:
            ConfigError: a stream of this size cannot be divided among the devices, besides.
        """
        return self._checked(super().session(*args, **kwargs))

    def session_from(self, snapshot: Snapshot, noise: NoiseSource | None = None) -> Session:
        """As `Engine.session_from`; the snapshot may be of another number of devices."""
        return self._checked(super().session_from(snapshot, noise))

    def encode_prompt(self, prompt: str) -> Embedded:
        """As `Engine.encode_prompt`; the last prompts' embeddings are cached."""
        prompt = ARGUMENTS.text("prompt", prompt, empty=True)
        return self._embedded(prompt, False)

    def encode_negative_prompt(self, prompt: str) -> Embedded:
        """As `Engine.encode_negative_prompt`; cached as for `encode_prompt`."""
        prompt = ARGUMENTS.text("negative_prompt", prompt, empty=True)
        return self._embedded(prompt, True)

    def set_loras(self, loras: Iterable[tuple[str | Path, float]]) -> None:
        """As `Engine.set_loras`, while the model is loaded.

        Raises:
            ConfigError: it is loaded already, on every device.
        """
        if self._leader is not None:
            raise ConfigError("the model is loaded on several devices; give LoRA files to load")
        super().set_loras(loras)

    @property
    def traffic(self) -> dict[str, int]:
        """Bytes that this process has sent to others, by purpose; see `exchange.Traffic`."""
        leader, decoder = self._leader, self.decoder_calls
        assert leader is not None
        counted = dict(leader.groups.traffic) | {"control": leader.link.bytes_sent}
        if isinstance(decoder, RemoteDecoder):
            counted["latents"] = decoder.bytes_sent
        return counted

    def process_ids(self) -> list[int]:
        """The numbers of the processes that were started here, without this one."""
        processes = None if self._connection is None else self._connection.processes
        return [] if processes is None else processes.pids()

    def close(self) -> None:
        """End the other processes; sessions cannot continue. Does nothing the second time."""
        connection, leader = self._connection, self._leader
        self._connection = None
        if connection is None or leader is None:
            return
        atexit.unregister(self.close)
        failed = leader.failed or leader.link.lost is not None
        leader.failed = True
        if not failed:
            try:
                leader.link.send(END)
            except ParallelError:
                failed = True
        leave_world(failed)
        if failed:
            leader.link.close()
        connection.stop(END_SECONDS)
        leader.link.close()
        if self.device.type == "cpu":
            torch.set_num_threads(self._threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _embed(self, prompt: str, negative: bool) -> Embedded:
        encode = super().encode_negative_prompt if negative else super().encode_prompt
        return encode(prompt)

    def _checked(self, session: Session) -> Session:
        if self._leader is not None:
            self._leader.layout_for(session.snapshot().settings)
        return session


def _share_processors(device: torch.device, devices: int) -> None:
    """Give each process its part of this machine's processors, unless the user has chosen."""
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, allowed_cores() // devices))

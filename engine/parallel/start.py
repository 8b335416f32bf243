"""Connecting the processes of a stream: the first one's side and the others'."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from sana_stream.engine.engine import Engine

from .calls import ContextParallelCalls
from .devices import cuda_device
from .embeddings import FollowerEngine
from .follower import Follower, end_with_first, ignore_signals, report
from .groups import Groups, join_world, leave_world
from .link import Link, Lost, accept_all, connect, open_listener
from .world import LINK, LOOPBACK, Processes, World, launched_world

ADDRESS = "sana_stream_link"  # key in the store, where no environment variable has it
READY = "ready"


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What the first process sends first: the model, and how the devices are used."""

    arguments: Mapping[str, Any]  # of `Engine.load`, without the device
    device: str  # its type
    devices: int
    decoding: bool  # the last device decodes


class Connection:
    """The first process's connection to the others, which it starts unless a launcher has.

    Args:
        devices: of the stream.
        world: of a launcher, or None.
        device: of this process.
        on_lost: called when a process has ended.

    Raises:
        ParallelError: a process has not started.
    """

    def __init__(
        self,
        devices: int,
        world: World | None,
        device: torch.device,
        on_lost: Callable[[Lost], None],
    ) -> None:
        key = secrets.token_bytes(32)
        host = LOOPBACK if world is None else world.address
        listener = open_listener(host, key)
        address = f"{host} {listener.address[1]} {key.hex()}"
        self.processes: Processes | None = None
        if world is None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", _loopback_interface())
            self.store: dist.Store = dist.TCPStore(
                LOOPBACK, 0, is_master=True, wait_for_workers=False
            )
            self.processes = Processes(
                *(devices - 1, devices, self.store.port, address),
                on_cpu=device.type == "cpu",
            )
        else:
            self.store = next(iter(dist.rendezvous("env://", 0, devices)))[0]
            self.store.set(ADDRESS, address)
        try:
            self.link = accept_all(listener, devices - 1, on_lost, self.check)
        except BaseException:
            self.stop(0)
            raise

    def check(self) -> None:
        """Raise ParallelError if a process that was started here has ended."""
        if self.processes is not None:
            self.processes.check()

    def stop(self, seconds: float) -> None:
        """Wait for the processes that were started here, and kill them after some seconds."""
        if self.processes is not None:
            self.processes.stop(seconds)


def decoding_group(devices: int, decoding: bool) -> Any:
    """The group of the first and the last process, made by all; None where no process decodes."""
    return dist.new_group([0, devices - 1]) if decoding else None


def follow(on_sampled: Callable[[Tensor], None] | None = None) -> int:
    """Be one of the other processes until the first one ends; returns the exit code.

    Args:
        on_sampled: as for `Follower`.
    """
    world = launched_world()
    assert world is not None
    assert world.rank > 0
    store: dist.Store = next(iter(dist.rendezvous("env://", world.rank, world.size)))[0]
    given = os.environ.pop(LINK, None)
    if given is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _loopback_interface())
    host, port, key = (given or store.get(ADDRESS).decode()).split()
    link = connect((host, int(port)), bytes.fromhex(key), world.rank, end_with_first)
    ignore_signals()
    failed = True
    try:
        _serve(link, store, world, on_sampled)
        failed = False
    except BaseException as error:
        report(link, world.rank, error)
        return 1
    finally:
        link.close()
        if failed:
            os._exit(1)  # others may wait in a collective, which its end aborts
        leave_world(failed)
    return 0


def _serve(
    link: Link, store: dist.Store, world: World, on_sampled: Callable[[Tensor], None] | None
) -> None:
    request = link.receive(0)
    assert isinstance(request, LoadRequest)
    device = torch.device("cpu")
    if request.device == "cuda":
        device = cuda_device(request.devices, world)
    given: dict[str, Any] = {**request.arguments, "quantize_text": None}  # none to quantize
    engine = FollowerEngine.load(device=device, **given)
    divide_calls(engine)
    link.send(READY)
    link.receive(0)  # every process has loaded
    join_world(store, world.rank, world.size, device)
    group = decoding_group(request.devices, request.decoding)
    own = group if request.decoding and world.rank == request.devices - 1 else None
    groups = Groups(device, world.rank)
    Follower(engine, link, groups, request.devices, own, on_sampled).follow()


def divide_calls(engine: Engine) -> None:
    """Give an engine the calls that can be divided, where its transformer has them."""
    from sana_stream.models.transformer import SanaVideoTransformer

    if isinstance(engine.transformer, SanaVideoTransformer):
        engine.transformer_calls = ContextParallelCalls(engine.transformer)


def _loopback_interface() -> str:
    import socket

    names = [name for _, name in socket.if_nameindex()]
    return next((name for name in ("lo", "lo0") if name in names), names[0])

"""Streams on three processes with gloo equal those of one process; each process has the same bits.

The processes are started once for the whole file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import AuthenticationError
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor

from sana_stream.engine.block import Block
from sana_stream.engine.engine import Engine
from sana_stream.engine.noise import counter_noise
from sana_stream.engine.parallel import world
from sana_stream.engine.parallel.engine import ParallelEngine
from sana_stream.engine.parallel.layout import Layout
from sana_stream.engine.parallel.link import Lost, accept_all, connect, open_listener
from sana_stream.engine.scheduling.shared_engine import SharedEngine
from sana_stream.engine.session.lookahead import generate_ahead
from sana_stream.engine.session.session import Session
from sana_stream.errors import ConfigError, ParallelError

PROCESSES = 3
SIZE: dict[str, Any] = {
    "height": 48,
    "width": 32,
    "block_frames": 4,
}  # 3 x 2 tokens; 5 latent frames, then 4
CLOSE = 2e-6  # of latents of about 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each process writes down the hashes of the latents that it has sampled."""
    return tmp_path_factory.mktemp("sampled")


@pytest.fixture(scope="module")
def several(tiny_folder: Path, folder: Path) -> Iterator[ParallelEngine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMPLED", str(folder))
        worker = Path(__file__).with_name("recording_worker.py")
        patch.setattr(world, "WORKER", (str(worker),))
        engine = ParallelEngine.load(tiny_folder, "cpu", "float32", devices=PROCESSES)
    with engine:
        yield engine


def use(engine: ParallelEngine, parallel: str | None) -> None:
    """Divide the streams from here on in a way."""
    assert engine._leader is not None
    engine._leader.parallel = parallel


def both(
    alone: Engine, several: ParallelEngine, change: Callable[[Session, int], None], blocks: int,
    **settings: Any,
) -> Iterator[tuple[Block, Block]]:  # fmt: skip
    """The blocks of one stream, made by one process and by several."""
    sessions = [
        engine.session("a red boat", seed=3, **SIZE | settings) for engine in (alone, several)
    ]
    for number in range(blocks):
        for session in sessions:
            change(session, number)
        yield next(sessions[0]), next(sessions[1])


def check_equal(one: Block, other: Block) -> None:
    assert (one.index, one.start, one.prompt) == (other.index, other.start, other.prompt)
    difference = np.abs(np.asarray(one.latents) - np.asarray(other.latents)).max()
    assert difference <= CLOSE
    assert np.abs(one.frames.astype(int) - other.frames).max() <= 1


def switch(session: Session, number: int) -> None:
    if number == 2:
        session.switch("blue train", "the night")


@pytest.mark.parametrize(
    ("parallel", "settings", "layout"),
    [
        (None, {}, Layout(frames=2, decoder=True)),  # 3 + 2 latent frames
        (None, {"guidance": 3.0, "memory": "window=1,sink=1"}, Layout(guidance=2, decoder=True)),
        ("frames", {"guidance": 3.0, "memory": "decay=0.5"}, Layout(frames=3)),  # 2 + 2 + 1
        ("rows", {"guidance": 2.0}, Layout(rows=3)),
        ("decoder", {"image": np.full((48, 32, 3), 90, np.uint8)}, Layout(frames=2, decoder=True)),
    ],
)  # fmt: skip
def test_blocks_equal_those_of_one_process(
    tiny_engine: Engine,
    several: ParallelEngine,
    folder: Path,
    parallel: str | None,
    settings: dict[str, Any],
    layout: Layout,
) -> None:
    use(several, parallel)
    before, seen = hashes(folder), []
    for one, other in both(tiny_engine, several, switch, 3, **settings):
        check_equal(one, other)
        seen.append(np.asarray(other.latents).tobytes())
    own = [hashlib.sha256(data).hexdigest() for data in seen]
    for rank in range(1, layout.sampling):
        assert wait_for(folder, rank, len(before[rank]) + 3)[-3:] == own


@pytest.mark.parametrize(("parallel", "guidance"), [("frames", 1.0), (None, 3.0)])
def test_blends_and_weights_equal_those_of_one_process(
    tiny_engine: Engine, several: ParallelEngine, parallel: str | None, guidance: float
) -> None:
    """The others get the embeddings of every prompt of a mixture, in each block of a blend."""

    def change(session: Session, number: int) -> None:
        if number == 1:
            session.switch("blue train :0.7 | a fox :0.3", "fog", transition_blocks=2)
        if number == 3:  # the second block of the blend led to here
            session.switch("blue train :0.2 | the night :0.8")

    use(several, parallel)
    plain = list(both(tiny_engine, several, lambda *_: None, 2, guidance=guidance))
    mixed = list(both(tiny_engine, several, change, 4, guidance=guidance))
    for one, other in mixed:
        check_equal(one, other)
    alone = [np.asarray(blocks[1][0].latents) for blocks in (plain, mixed)]
    assert np.abs(alone[0] - alone[1]).max() > 100 * CLOSE


def hashes(folder: Path) -> dict[int, list[str]]:
    files = {rank: folder / f"rank-{rank}" for rank in range(1, PROCESSES)}
    return {rank: file.read_text().split() if file.exists() else [] for rank, file in files.items()}


def wait_for(folder: Path, rank: int, count: int) -> list[str]:
    """The hashes of a process, which writes them a moment after this one has its block."""
    for _ in range(1_000_000):
        if len(found := hashes(folder)[rank]) >= count:
            return found
    raise AssertionError(f"rank {rank} has not sampled {count} blocks")


def test_decoder_alone_changes_no_bit(tiny_engine: Engine, several: ParallelEngine) -> None:
    use(several, "decoder")
    layouts = several._leader.layout_for  # type: ignore[union-attr]
    several._leader.layout_for = lambda settings: Layout(decoder=True)  # type: ignore[union-attr,method-assign]
    try:
        for one, other in both(tiny_engine, several, switch, 3):
            assert np.array_equal(one.latents, other.latents)
            assert np.array_equal(one.frames, other.frames)
    finally:
        several._leader.layout_for = layouts  # type: ignore[union-attr,method-assign]


def test_rewind_cut_seed_and_resume_are_followed(
    tiny_engine: Engine, several: ParallelEngine, tmp_path: Path
) -> None:
    def change(session: Session, number: int) -> None:
        if number == 0:
            session.keep_history(100)
        if number == 2:
            session.rewind(0.9)
            session.reseed(8)
        if number == 3:
            session.cut(np.full((20, 30, 3), 200, np.uint8), "red fox")

    use(several, None)
    for one, other in both(tiny_engine, several, change, 5):
        check_equal(one, other)


def test_resume_on_another_number_of_devices_warns(
    tiny_engine: Engine, several: ParallelEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    use(several, "frames")
    session = several.session("a red boat", **SIZE)
    next(session)
    session.save(tmp_path / "a.ckpt")
    again = several.resume(tmp_path / "a.ckpt")
    assert not caplog.records
    one = tiny_engine.resume(tmp_path / "a.ckpt")
    (record,) = caplog.records
    assert record.getMessage().endswith(
        "was generated on 3 devices (frames 3), and continues on one device: not bit for bit"
    )
    expected = next(session)
    assert np.array_equal(next(again).latents, expected.latents)
    check_equal(next(one), expected)
    check_equal(next(tiny_engine.session_from(session.snapshot())), next(session))


def test_custom_noise_and_interruption(tiny_engine: Engine, several: ParallelEngine) -> None:
    use(several, "frames")
    sound, calls = counter_noise(11), Counter[str]()

    def noise(block: int, step: int, shape: tuple[int, ...]) -> Tensor:
        calls["noise"] += 1
        if calls["noise"] == 6:
            raise ValueError("no noise left")
        return sound(block, step, shape)

    alone, session = (e.session("a fox", noise=n, **SIZE) for e, n in ((tiny_engine, sound), (several, noise)))  # fmt: skip  # noqa: E501
    check_equal(next(alone), next(session))
    with pytest.raises(ValueError, match="no noise left"):
        next(session)  # fails in its second step
    check_equal(next(alone), next(session))
    use(several, None)  # a process that decodes while others sample does not sample itself
    blocks = generate_ahead(several.session("a fox", **SIZE))
    next(blocks)
    blocks.close()  # the block that is sampled ahead is interrupted
    for _, (one, other) in zip(range(1), both(tiny_engine, several, switch, 1), strict=True):
        check_equal(one, other)


@pytest.mark.parametrize(("parallel", "guidance"), [(None, 3.0), ("frames", 3.0), ("rows", 1.0)])  # fmt: skip  # noqa: E501
def test_bytes_sent_are_those_counted(
    several: ParallelEngine, parallel: str | None, guidance: float
) -> None:
    use(several, parallel)
    counting = load_benchmark()
    session = several.session("a red boat", guidance=guidance, **SIZE)
    layout = several._leader.layout_for(session.snapshot().settings)  # type: ignore[union-attr]
    next(session)
    before, sent_before = Counter(several.traffic), several.traffic
    next(session)
    after = Counter(several.traffic)
    after.subtract(before)
    assert sent_before["control"] < several.traffic["control"]
    call = counting.CallShape.of(several, 48, 32, committed=5, frames=4)
    expected = counting.block_bytes(call, layout, 0, guidance != 1, steps=4)
    measured = {name: after[name] for name in expected}
    assert measured == expected
    assert sum(expected.values()) > 0


def load_benchmark() -> ModuleType:
    path = Path(__file__).parents[3] / "examples" / "benchmarks" / "parallel_traffic.py"
    spec = importlib.util.spec_from_file_location("parallel_traffic", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


def test_stream_that_cannot_be_divided_is_refused(several: ParallelEngine) -> None:
    use(several, "frames")
    with pytest.raises(ConfigError, match="3 devices cannot divide 2 latent frames a block"):
        several.session("a red boat", height=48, width=32, block_frames=2)
    with pytest.raises(ConfigError, match="has one stream at a time"):
        SharedEngine(several)
    with pytest.raises(ConfigError, match="initialized already"):
        ParallelEngine.load("pocket", "cpu", devices=2)


def ignore(lost: Lost) -> None:
    pass


def test_strangers_do_not_keep_processes_out() -> None:
    """One that resets its connection, one that closes it, and one with another key."""
    key = b"k" * 32
    listener = open_listener("127.0.0.1", key)
    address: Any = listener.address
    with socket.create_connection(address) as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    socket.create_connection(address).close()
    with ThreadPoolExecutor(2) as threads:
        refused = threads.submit(connect, address, b"x" * 32, 1, ignore)
        joined = threads.submit(connect, address, key, 1, ignore)
        link = accept_all(listener, 1, ignore, lambda: None)
        with pytest.raises(AuthenticationError):
            refused.result(20)
        joined.result(20).send("here")
    assert link.receive(1, 20) == "here"
    link.close()


def test_links_send_at_once_and_notice_lost_machines(several: ParallelEngine) -> None:
    for connection in several._leader.link._connections.values():  # type: ignore[union-attr]
        with socket.socket(fileno=os.dup(connection.fileno())) as end:
            assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_killed_process_ends_all(several: ParallelEngine) -> None:
    use(several, None)
    session = several.session("a red boat", **SIZE)
    next(session)
    processes = [psutil.Process(number) for number in several.process_ids()]
    processes[1].kill()  # it decodes
    for _ in range(2):
        with pytest.raises(ParallelError, match=r"process 2 .* has ended \(killed, or lost with"):
            next(session)
    several.close()
    assert not any(process.is_running() for process in processes)
    assert not torch.distributed.is_initialized()

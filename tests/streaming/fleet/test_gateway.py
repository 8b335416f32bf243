"""The gateway: a server whose streams are made by replicas, without Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import numpy as np
import pytest

from sana_stream import Engine, Run, RunConfig
from sana_stream.errors import StoreError
from sana_stream.streaming.control.scheduled_prompt import ScheduledPrompt
from sana_stream.streaming.fleet.config import FleetConfig
from sana_stream.streaming.fleet.store import StreamStore

from ...command import pictures, run
from ..web.described import check_described
from .local_fleet import KeptFeed, LocalReplicas, Served, serving

pytest.importorskip("obstore", reason="obstore is not installed: pip install 'sana-stream[fleet]'")
STORY = "a red boat\n0:01 the night falls"
JOB = {"story": STORY, "seconds": 3, "seed": 3}  # six blocks
PROMPT = "a blue train"  # of a client, with block 4
Serving = Callable[..., AbstractContextManager[tuple[Served, LocalReplicas]]]


@pytest.fixture
def serve(
    tiny_engine: Engine, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Serving:
    """Servers on one store, one after the other."""
    fleet = FleetConfig("local", str(tmp_path / "store"), every=2)
    config = RunConfig(
        ("-",),
        model=tiny_folder,
        dtype="float32",
        device="cpu",
        web=0,
        checkpoint=False,
        realtime=False,
    )

    @contextmanager
    def start(streams: int = 1) -> Iterator[tuple[Served, LocalReplicas]]:
        replicas = LocalReplicas(tiny_engine, fleet)

        @contextmanager
        def deployed(*_: object) -> Iterator[LocalReplicas]:
            yield replicas

        monkeypatch.setattr("sana_stream.streaming.fleet.gateway.deployed", deployed)
        with serving(config, fleet, tmp_path / "films", replicas, streams) as served:
            yield served, replicas

    return start


def undisturbed(engine: Engine, film: Path, prompt: bool = True) -> bytes:
    """What a viewer gets of a run of one engine, which is also recorded."""
    config = RunConfig(STORY, [film], seconds=3, seed=3, directed=True, checkpoint=False)
    with Run(engine, config) as recorded:
        direct(recorded, prompt)
    run = Run(engine, config)
    feed = KeptFeed(run.plan.video_format, run.plan.blocks.longest_block)
    run.use_outputs([feed])
    with run:
        direct(run, prompt)
    return feed.sent


def direct(run: Run, prompt: bool) -> None:
    for progress in run:
        if progress.blocks == 4 and prompt:
            run.control.prompt(PROMPT)


def viewer_of(served: Served) -> tuple[list[bytes], Thread]:
    """A viewer from the first block on, and what it gets."""
    got: list[bytes] = []
    thread = Thread(target=lambda: got.append(served.ask("GET", "/live.mp4")[1]), daemon=True)
    thread.start()
    served.await_that(lambda: served.json("/status").get("viewers") == 1)
    return got, thread


def at_block(number: int, action: Callable[[], object]) -> Callable[[str, tuple[Any, ...]], None]:
    """Act once, when this block is asked for."""
    done = Event()

    def act(method: str, arguments: tuple[Any, ...]) -> None:
        if method == "block" and arguments[0] == number and not done.is_set():
            done.set()
            action()

    return act


def described(served: Served, method: str, path: str, status: int, body: bytes) -> Any:
    """The content of an answer that conforms to the server's description."""
    return check_described(served.json("/openapi.json"), method, path, status, body)


def test_viewer_and_film_are_those_of_one_engine_whatever_is_lost(
    serve: Serving, tiny_engine: Engine, tmp_path: Path
) -> None:
    seen = undisturbed(tiny_engine, tmp_path / "plain.mp4")
    with serve() as (served, replicas):
        watched: list[Any] = []
        actions = [
            at_block(0, lambda: watched.extend(viewer_of(served))),
            at_block(3, lambda: served.ask("POST", "/prompt", {"prompt": PROMPT})),
            at_block(3, replicas.lose),
            at_block(5, replicas.lose),
        ]

        def on_call(method: str, arguments: tuple[Any, ...]) -> None:
            for action in actions:
                action(method, arguments)

        replicas.on_call = on_call
        assert served.ask("POST", "/streams", JOB)[0] == 201
        served.await_that(lambda: served.states() == ["finished"])
        facts = described(served, "get", "/fleet", 200, served.ask("GET", "/fleet")[1])
        watched[1].join(60)
    (tmp_path / "watched.mp4").write_bytes(watched[0][0])
    (tmp_path / "seen.mp4").write_bytes(seen)  # its marks do not name the model
    assert np.array_equal(pictures(tmp_path / "watched.mp4"), pictures(tmp_path / "seen.mp4"))
    film, plain = (pictures(tmp_path / name) for name in ("films/stream-0001.mp4", "plain.mp4"))
    assert np.array_equal(film, plain)
    assert (facts["blocks"], facts["retries"]) == (6, {"lost": 2})
    assert facts["remade"] >= 2
    assert set(facts["replicas"]) == {"a", "b"}


def test_streams_run_side_by_side(serve: Serving, tiny_engine: Engine, tmp_path: Path) -> None:
    undisturbed(tiny_engine, tmp_path / "plain.mp4", prompt=False)
    both = Barrier(2)
    with serve(streams=2) as (served, replicas):
        lose = at_block(3, replicas.lose)

        def on_call(method: str, arguments: tuple[Any, ...]) -> None:
            if arguments[0] == 1:
                both.wait(30)  # the other stream is as far
            lose(method, arguments)

        replicas.on_call = on_call
        for seed in (3, 4):
            assert served.ask("POST", "/streams", {**JOB, "seed": seed})[0] == 201
        served.await_that(lambda: served.states() == ["finished", "finished"])
    films = [pictures(tmp_path / f"films/stream-000{number}.mp4") for number in (1, 2)]
    assert np.array_equal(films[0], pictures(tmp_path / "plain.mp4"))
    assert not np.array_equal(films[0], films[1])


def test_next_gateway_continues_streams_and_queue(
    serve: Serving, tiny_engine: Engine, tmp_path: Path
) -> None:
    undisturbed(tiny_engine, tmp_path / "plain.mp4")
    with serve() as (served, replicas):
        ask = at_block(3, lambda: served.ask("POST", "/prompt", {"prompt": PROMPT}))
        stop = at_block(4, served.stop.set)

        def on_call(method: str, arguments: tuple[Any, ...]) -> None:
            ask(method, arguments)
            stop(method, arguments)

        replicas.on_call = on_call
        assert served.ask("POST", "/streams", JOB)[0] == 201
        assert served.ask("POST", "/streams", {"story": "the moon", "seconds": 1})[0] == 201
        assert served.stop.wait(60)
    store = StreamStore(str(tmp_path / "store"))
    assert store.folders()[-2:] == ["stream-0001", "stream-0002"]
    assert len(pictures(tmp_path / "films/stream-0001.mp4")) == 41
    with serve() as (served, _):
        served.await_that(lambda: served.states() == ["finished", "finished"])
        shown = served.json("/streams/2/status")["shown"]
        assert [each["prompt"] for each in shown] == ["the moon"]
    film, plain = (pictures(tmp_path / name) for name in ("films/stream-0001.mp4", "plain.mp4"))
    assert np.array_equal(film, plain)
    assert len(pictures(tmp_path / "films/stream-0002.mp4")) == 16
    assert store.folders() == ["check"]


def test_next_gateway_keeps_what_clients_scheduled(
    serve: Serving, tiny_engine: Engine, tmp_path: Path
) -> None:
    """A scheduled prompt, one that a client gives after it, and one to come after the restart."""
    cues = [(1.0625, "the moon", 0), (2.5, "a red fox", 0)]  # with blocks 2 and 5

    def schedule(run: Run) -> None:
        run.control.replace_story([ScheduledPrompt(*cue) for cue in cues])

    config = RunConfig(STORY, [tmp_path / "plain.mp4"], seconds=3, seed=3, directed=True)
    with Run(tiny_engine, config) as plain:
        for progress in plain:
            if progress.blocks == 2:
                schedule(plain)
            if progress.blocks == 3:
                plain.control.prompt(PROMPT)
    names = ("at_seconds", "prompt", "transition_blocks")
    body = {"cues": [dict(zip(names, cue, strict=True)) for cue in cues]}
    with serve() as (served, replicas):
        actions = [
            at_block(1, lambda: served.ask("PUT", "/streams/1/story", body)),
            at_block(2, lambda: served.ask("POST", "/prompt", {"prompt": PROMPT})),
            at_block(4, served.stop.set),
        ]

        def on_call(method: str, arguments: tuple[Any, ...]) -> None:
            for action in actions:
                action(method, arguments)

        replicas.on_call = on_call
        assert served.ask("POST", "/streams", JOB)[0] == 201
        assert served.stop.wait(60)
    with serve() as (served, _):
        served.await_that(lambda: served.states() == ["finished"])
        shown = served.json("/streams/1/status")["shown"]
    assert [each["prompt"] for each in shown][-1] == "a red fox"
    film, expected = (pictures(tmp_path / f) for f in ("films/stream-0001.mp4", "plain.mp4"))
    assert np.array_equal(film, expected)


def test_statuses_say_what_is_wrong(serve: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as (served, replicas):
        assert served.ask("DELETE", "/streams/7")[0] == 404
        assert served.ask("POST", "/fleet/drain", {"replica": "c"})[0] == 404
        monkeypatch.setattr(StreamStore, "put", unreachable)
        status, reason, headers = served.ask("POST", "/streams", JOB)
        assert (status, headers["Retry-After"]) == (503, "10")
        assert reason == b"s3://films: cannot be reached\n"
        assert served.states() == []
        monkeypatch.undo()
        held = Event()
        replicas.on_call = at_block(0, lambda: held.wait(60))
        for _ in range(18):
            status, reason, headers = served.ask("POST", "/streams", JOB)
            served.await_that(lambda: "running" in served.states())
        assert (status, headers["Retry-After"]) == (503, "10")
        for job in served.json("/streams"):
            assert served.ask("DELETE", f"/streams/{job['id']}")[0] == 204
        held.set()


def test_stream_waits_for_its_store(
    serve: Serving, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A prompt is stored before its block is asked for, however long that takes."""
    with serve() as (served, replicas):
        put, failed = StreamStore.put, Event()

        def fail(store: StreamStore, name: str, data: bytes) -> None:
            if name.endswith("order.json") and PROMPT.encode() in data and not failed.is_set():
                failed.set()
                unreachable(store, name, data)
            put(store, name, data)

        monkeypatch.setattr(StreamStore, "put", fail)
        replicas.on_call = at_block(2, lambda: served.ask("POST", "/prompt", {"prompt": PROMPT}))
        assert served.ask("POST", "/streams", JOB)[0] == 201
        served.await_that(lambda: served.states() == ["finished"])
        assert served.json("/fleet")["retries"] == {"store": 1}
        drained = served.ask("POST", "/fleet/drain", {"replica": "a"})
        assert drained[0] == 202
        described(served, "post", "/fleet/drain", 202, drained[1])
    assert failed.is_set()
    assert len(pictures(tmp_path / "films/stream-0001.mp4")) == 48


def unreachable(*_: object) -> None:
    raise StoreError("s3://films: cannot be reached")


def test_stream_is_kept_where_the_settings_are_others(
    serve: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve() as (served, replicas):
        replicas.on_call = at_block(3, served.stop.set)
        served.ask("POST", "/streams", JOB)
        assert served.stop.wait(60)
    order = tmp_path / "store/stream-0001/order.json"
    order.write_bytes(order.read_bytes().replace(b'"width": 48', b'"width": 96'))
    with serve() as (served, _):
        served.await_that(lambda: served.states() == ["failed"])
        message = served.json("/streams")[0]["message"]
    assert message.startswith("the stream was begun with width 96, and width is 48 now")
    assert order.exists()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--store", "x"], "--store is an option of a fleet: add --fleet"),
        (["--block-timeout", "9"], "--block-timeout is an option of a fleet: add --fleet"),
        (["--fleet"], "--fleet needs a store: add --store FOLDER, or --store s3://BUCKET/FOLDER"),
        (
            ["--fleet", "ray://head:1", "--store", "x"],
            "run the gateway on a machine of the cluster",
        ),
        (["--fleet", "--store", "ftp://x"], "give a folder or a URL of s3, gs, az, file"),
        (["--fleet", "--store", "memory://"], "give a folder or a URL of s3, gs, az, file"),
        (["--fleet", "--store", "/dev/null/x"], "give another folder"),
        (["--fleet", "--store", "x", "--replicas", "0"], "--replicas"),
        (["--fleet", "--store", "x", "--overcommit"], "a fleet has more replicas instead"),
        (["--fleet", "--store", "x", "--checkpoint-every", "off"], "a fleet has --snapshot-every"),
    ],
)
def test_wrong_options_are_one_line(
    argv: list[str], words: str, tiny_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = run("serve", "--port", "0", "--model", tiny_folder, *argv)
    lines = capfd.readouterr().err.splitlines()
    assert words in lines[-1]
    assert (code, len(lines)) == (1 if "/dev/null" in argv[-1] else 2, 1)

"""The table of homes, the store and the claim on it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given, settings
from hypothesis.strategies import DataObject, data, integers, sampled_from, sets

from sana_stream.errors import ConfigError, StoreError
from sana_stream.streaming.fleet.claim import NAME, StoreClaim
from sana_stream.streaming.fleet.cluster import _init
from sana_stream.streaming.fleet.config import FleetConfig, check_address
from sana_stream.streaming.fleet.homes import HomeTable
from sana_stream.streaming.fleet.store import StreamStore

SESSIONS = [f"s{n}" for n in range(8)]


def spread(table: HomeTable) -> dict[str, int]:
    return {name: len(each["streams"]) for name, each in table.replicas().items()}


def test_sessions_spread_evenly_and_stay() -> None:
    table = HomeTable()
    table.update(["a", "b"])
    first = {session: table.choose(session) for session in SESSIONS}
    for _ in range(25):
        assert {session: table.choose(session) for session in SESSIONS} == first
    assert spread(table) == {"a": 4, "b": 4}
    assert table.moves == 0


def test_a_lost_replica_moves_its_sessions_once_and_its_return_rebalances() -> None:
    table = HomeTable()
    table.update(["a", "b"])
    before = {session: table.choose(session) for session in SESSIONS}
    table.update(["a"])
    assert {table.choose(session) for session in SESSIONS} == {"a"}
    assert table.moves == sum(home == "b" for home in before.values())
    table.update(["a", "c"])
    for session in SESSIONS:
        table.choose(session)
    assert spread(table) == {"a": 4, "c": 4}
    moved = table.moves
    for session in SESSIONS * 3:
        table.choose(session)
    assert table.moves == moved


def test_suspected_and_draining_replicas_are_avoided_while_others_are_left() -> None:
    now = [0.0]
    table = HomeTable(lambda: now[0])
    table.update(["a", "b"])
    home = table.choose("s")
    assert home is not None
    table.suspect(home, 10)
    assert table.may_move("s")
    other = table.choose("s")
    assert other != home
    table.suspect(other or "", 10)
    assert table.choose("s") is not None  # both are suspected: better one of them than none
    now[0] = 11
    assert table.drain(other or "")
    assert not table.drain("unknown")
    assert table.choose("s") == home
    table.pin("call", other or "")
    assert table.choose("call") == other
    table.update([])
    assert table.choose("s") is None


@settings(max_examples=30)
@given(data())
def test_a_choice_is_the_replica_with_the_fewest_sessions(drawn: DataObject) -> None:
    """Whatever happened before: against the rule, evaluated over all replicas and sessions."""
    now, running, names = [0.0], set[str](), "abcdef"
    table, homes, left, until = HomeTable(lambda: now[0]), {}, set[str](), {}
    actions = sampled_from(["choose", "choose", "choose", "run", "forget", "suspect", "drain"])
    for _ in range(drawn.draw(integers(1, 40))):
        action, session = drawn.draw(actions), drawn.draw(sampled_from(SESSIONS))
        replica = drawn.draw(sampled_from(names))
        now[0] += drawn.draw(sampled_from([0, 1, 6]))
        if action == "run":
            running = drawn.draw(sets(sampled_from(names)))
            left &= running
            until = {name: end for name, end in until.items() if name in running}
            table.update(running)
        elif action == "forget":
            homes.pop(session, None)
            table.forget(session)
        elif action == "suspect":
            until[replica] = now[0] + 10
            table.suspect(replica, 10)
        elif action == "drain":
            left |= {replica} & running
            assert table.drain(replica) == (replica in running)
        else:
            staying = running - left or running
            usable = {r for r in staying if until.get(r, 0) <= now[0]} or staying
            counts = {r: sum(home == r for home in homes.values()) for r in usable}
            least = min(usable, key=lambda r: (counts[r], r), default=None)
            home = homes.get(session)
            stays = least is None or (home in usable and counts[home] - counts[least] < 2)
            wanted = (home if usable else None) if stays else least
            assert table.choose(session) == wanted
            if wanted is not None:
                homes[session] = wanted


obstore = pytest.importorskip("obstore", reason="needs sana-stream[fleet]: obstore is not here")


@pytest.mark.parametrize("kind", ["folder", "file", "memory"])
def test_objects_are_put_listed_and_removed(tmp_path: Path, kind: str) -> None:
    urls = {
        "folder": str(tmp_path / "a" / "b"),
        "file": (tmp_path / "c").as_uri(),
        "memory": "memory://",
    }
    store = StreamStore(urls[kind])
    store.check()
    store.put("s/order.json", b"1")
    store.put("s/order.json", b"2")
    assert store.create("s/x.ckpt", b"3")
    assert not store.create("s/x.ckpt", b"4")
    assert store.get("s/order.json") == b"2"
    assert store.get("s/none") is None
    assert store.names("s") == ["order.json", "x.ckpt"]
    assert "s" in store.folders()
    store.delete(["s/x.ckpt", "s/none"])
    assert store.names("s") == ["order.json"]


def test_a_store_that_is_removed_is_one_line_or_made_again(tmp_path: Path) -> None:
    store = StreamStore(str(tmp_path / "store"))
    store.put("s/order.json", b"1")
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "store").touch()
    for call in (
        lambda: store.put("s/order.json", b"2"),
        lambda: store.create("s/x.ckpt", b"2"),
        lambda: store.delete_folder("s"),
        lambda: store.names("s"),
        lambda: store.get("s/order.json"),
        store.folders,
    ):
        with suppress(StoreError):  # and no other error
            assert not call()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://x/y", "give a folder or a URL of s3"),
        ("s3://", "the bucket is missing"),
        ("/proc/none/x", "give another folder"),
    ],
)
def test_a_store_that_cannot_be_is_one_line(url: str, words: str) -> None:
    with pytest.raises((ConfigError, StoreError), match=words) as caught:
        StreamStore(url)
    assert "\n" not in str(caught.value)


def test_an_unreachable_store_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "ENDPOINT_URL": "http://127.0.0.1:9",
        "ACCESS_KEY_ID": "a",
        "SECRET_ACCESS_KEY": "b",
        "REGION": "us-east-1",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr("sana_stream.streaming.fleet.store._RETRY", {"max_retries": 0})
    with pytest.raises(StoreError, match="cannot be reached; check its address") as caught:
        StreamStore("s3://bucket/fleet").check()
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="rights do not bind this user")
def test_a_store_without_rights_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="no right to read and write"):
        StreamStore(str(tmp_path)).check()


def test_two_fleets_cannot_share_a_store(tmp_path: Path) -> None:
    store = StreamStore(str(tmp_path))
    claim = StoreClaim(store)
    other = StreamStore(str(tmp_path))
    facts = json.loads(store.get(NAME) or b"")
    store.put(NAME, json.dumps(facts | {"host": "elsewhere"}).encode())
    taken = StoreClaim(other, stale_seconds=0.3)  # of another machine, and not renewed
    other.put(NAME, b"[]")
    with pytest.raises(ConfigError, match="not of this program"):
        StoreClaim(StreamStore(str(tmp_path)), stale_seconds=0.3)
    other.delete([NAME])
    claim.release()
    taken.release()


def test_the_claim_of_a_process_that_has_ended_is_taken_over(tmp_path: Path) -> None:
    store = StreamStore(str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    facts = {"id": "x", "host": socket.gethostname(), "pid": ended.pid, "started": 0, "beat": 1}
    store.put(NAME, json.dumps(facts).encode())
    StoreClaim(store).release()
    assert store.get(NAME) is None


def test_the_claim_of_a_running_process_is_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StreamStore(str(tmp_path))
    started = psutil.Process().create_time()
    facts = {"id": "x", "host": socket.gethostname(), "pid": os.getpid(), "started": started}
    store.put(NAME, json.dumps(facts | {"beat": 1}).encode())
    monkeypatch.setattr(StoreClaim, "_is_renewed", lambda *_: True)
    with pytest.raises(ConfigError, match=f"used by another fleet .process {os.getpid()}"):
        StoreClaim(store)


def test_a_cluster_that_is_not_there_is_one_line() -> None:
    def init(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nGive an address.")

    with pytest.raises(
        ConfigError, match=r"^--fleet auto: .* run `ray start --head` first"
    ) as caught:
        _init(SimpleNamespace(init=init), FleetConfig("auto", "store"), None)
    assert "\n" not in str(caught.value)


def test_rays_client_is_refused() -> None:
    with pytest.raises(ConfigError, match="run the gateway on a machine of the cluster"):
        check_address("ray://head:10001")

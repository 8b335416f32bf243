"""One writer an output, in one process or in several, also after one was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.outputs.locks import OutputLocks, lock_path

HOLD = """
import sys, time
from pathlib import Path
from sana_stream.streaming.outputs.locks import OutputLocks
locks = OutputLocks()
locks.acquire(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def holder(path: Path, **more: Any) -> subprocess.Popen[str]:
    """A process that holds the lock of an output; `more` is for `Popen`."""
    process: subprocess.Popen[str] = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True, **more
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_holds_the_lock(tmp_path: Path):
    film = tmp_path / "film.mp4"
    with holder(film) as process:
        with pytest.raises(InvalidOutputError, match=f"being written by process {process.pid} on "):
            OutputLocks().acquire(film)
        with pytest.raises(InvalidOutputError, match="being written"):
            OutputLocks().acquire(tmp_path / "film.ckpt")  # one stem, one lock
        OutputLocks().acquire(tmp_path / "other.mp4")
        process.kill()


def test_what_a_killed_process_leaves_is_no_obstacle(tmp_path: Path):
    film = tmp_path / "film.mp4"
    with holder(film) as process:
        process.kill()
    assert lock_path(film).exists()
    with OutputLocks() as locks:
        locks.acquire(film)
    assert list(tmp_path.iterdir()) == []


def test_a_link_and_its_file_share_one_lock(tmp_path: Path):
    film = tmp_path / "film.mp4"
    film.touch()
    (tmp_path / "link.mp4").symlink_to(film)
    with OutputLocks() as locks:
        locks.acquire(film)
        with pytest.raises(InvalidOutputError, match="being written"):
            OutputLocks().acquire(tmp_path / "link.mp4")


def test_a_child_of_the_holder_does_not_keep_the_lock(tmp_path: Path):
    """An encoder that outlives the run must not hold its files."""
    film = tmp_path / "film.mp4"
    with OutputLocks() as locks:
        locks.acquire(film)
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with OutputLocks() as locks:
        locks.acquire(film)
    child.communicate()


@given(st.lists(st.sampled_from(["a", "b", "-a", "-b"]), max_size=20))
def test_a_lock_is_held_as_often_as_it_was_taken(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
):
    folder = tmp_path_factory.mktemp("locks")
    ours, count = OutputLocks(), {"a": 0, "b": 0}
    for step in steps:
        name = step[-1]
        if step[0] == "-":
            ours.release(folder / name)
            count[name] = max(0, count[name] - 1)
        else:
            ours.acquire(folder / name)
            count[name] += 1
    for name, held in count.items():
        assert lock_path(folder / name).exists() == (held > 0)
        if held:
            with pytest.raises(InvalidOutputError):
                OutputLocks().acquire(folder / name)
    ours.release_all()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["50%.mp4", "a:b.mp4", "a\nb.mp4", "x" * 240 + ".mp4", "é🎬.mkv"])
def test_every_name_of_a_file_has_a_lock(tmp_path: Path, name: str):
    with OutputLocks() as locks:
        locks.acquire(tmp_path / name)
        assert len(list(tmp_path.iterdir())) == 1


def test_a_foreign_file_of_a_lock_s_name_is_left_alone(tmp_path: Path):
    film = tmp_path / "film.mp4"
    lock_path(film).write_text("another program's file")
    with pytest.raises(InvalidOutputError, match="is not a lock file"):
        OutputLocks().acquire(film)
    assert lock_path(film).read_text() == "another program's file"


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(InvalidOutputError, match=r"film.mp4: cannot be written: no such file"):
        OutputLocks().acquire(tmp_path / "missing" / "film.mp4")


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_a_folder_that_cannot_be_written_is_refused():
    with tempfile.TemporaryDirectory() as folder:  # below one that every user may enter
        os.chmod(folder, 0o555)
        root = os.geteuid() == 0  # who may write everywhere
        if root:
            os.seteuid(65534)
        try:
            with pytest.raises(InvalidOutputError, match=r"cannot be written: permission denied"):
                OutputLocks().acquire(Path(folder) / "film.mp4")
        finally:
            if root:
                os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="files as POSIX has them")
def test_what_stands_in_the_lock_s_place_is_named_and_left(tmp_path: Path):
    film, lock, other = tmp_path / "film.mp4", tmp_path / ".film.sana-stream.lock", tmp_path / "e"
    other.touch()
    for begin in (lock.mkdir, lambda: os.mkfifo(lock), lambda: lock.symlink_to(other)):
        begin()
        before = lock.lstat()
        with pytest.raises(
            InvalidOutputError, match=r"film\.mp4: its lock \.film\.sana-stream\.lock"
        ):
            OutputLocks().acquire(film)
        assert os.path.samestat(before, lock.lstat())
        if lock.is_dir():
            lock.rmdir()
        else:
            lock.unlink()
    assert not other.read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on files as POSIX has it")
def test_a_lock_is_held_where_there_is_no_room_to_say_by_whom(tmp_path: Path):
    import resource

    film = tmp_path / "film.mp4"
    limit = (resource.RLIMIT_FSIZE, (0, 0))
    with holder(film, preexec_fn=lambda: resource.setrlimit(*limit)) as process:
        with pytest.raises(InvalidOutputError, match="is being written by another process"):
            OutputLocks().acquire(film)
        process.kill()
    with OutputLocks() as locks:
        locks.acquire(film)
    assert list(tmp_path.iterdir()) == []

"""Forked processes of tests behave as new interpreters: words, streams, folder, signals, limits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from . import forked
from .command import complete, spawn

pytestmark = pytest.mark.skipif(not forked.AVAILABLE, reason="only Linux adopts their processes")
SCRIPT = """
import atexit, os, sys, threading, time
atexit.register(print, "at exit")
threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
print(sys.argv, os.getcwd(), os.environ["WORD"], sys.stdin.read(), sys.path[0])
print("error", file=sys.stderr)
sys.exit(int(sys.argv[-1]))
"""
LEAD = {"module": "-m", "code": "-c", "script": ""}


@pytest.mark.parametrize("kind", LEAD)
@pytest.mark.parametrize("code", [0, 7])
def test_fork_does_what_a_new_interpreter_does(tmp_path: Path, kind: str, code: int):
    (tmp_path / "given.py").write_text(SCRIPT)
    name = {"module": "given", "code": SCRIPT, "script": str(tmp_path / "given.py")}[kind]
    words = [sys.executable, *filter(None, [LEAD[kind]]), name, "a b", str(code)]
    more: dict[str, Any] = {"cwd": tmp_path, "env": os.environ | {"WORD": "é"}, "typed": b"in"}
    fork, new = (complete(words, fresh=fresh, **more) for fresh in (False, True))
    assert fork.returncode == new.returncode == code
    assert fork.stderr == new.stderr == b"error\n"
    first, *rest = fork.stdout.decode().splitlines()
    assert rest == ["thread", "at exit"]
    if kind == "code":  # for which the interpreter searches '', the current folder
        assert first.removesuffix(str(tmp_path)) == new.stdout.decode().splitlines()[0]
    else:
        assert fork.stdout == new.stdout


def test_fork_is_a_child_that_signals_end():
    process = spawn([sys.executable, "-c", "import time; time.sleep(60)"])
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == -signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_fork_prints_its_traceback():
    done = complete([sys.executable, "-c", "raise ValueError('no')"])
    assert done.returncode == 1
    assert done.stderr.endswith(b"ValueError: no\n")


def test_fork_inherits_no_file_but_its_streams():
    read, write = os.pipe()
    os.set_inheritable(write, True)
    code = "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:4])"
    done = complete([sys.executable, "-c", code])
    assert done.stdout == b"[0, 1, 2, 3]\n"  # the last is that of the folder
    os.close(read)
    os.close(write)


def test_file_size_is_limited(tmp_path: Path):
    code = "open('a', 'wb', 0).write(b'x' * 99)"
    done = complete([sys.executable, "-c", code], cwd=tmp_path, file_bytes=9)
    assert (tmp_path / "a").stat().st_size == 9
    assert done.returncode == 0


def test_what_only_a_new_interpreter_can_do_is_refused():
    with pytest.raises(ValueError, match="preexec_fn"):
        forked.ForkedProcess([sys.executable, "-c", ""], preexec_fn=os.getpid)
    assert forked.popen(["true"]).wait() == 0
    assert type(forked.popen(["true"], stdout=subprocess.DEVNULL)) is subprocess.Popen

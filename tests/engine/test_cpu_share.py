"""The CPU share of a process: affinity and the quotas of cgroups v1 and v2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sana_stream.engine import cpu_share
from sana_stream.engine.cpu_share import allowed_cores, choose_waiting


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def machine(tmp_path: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    """Write a folder of cgroups and the process's own cgroup file."""
    groups = tmp_path / "cgroup"
    for name, text in files.items():
        path = groups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    self_cgroup = tmp_path / "self"
    self_cgroup.write_text(own)
    return groups, self_cgroup


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "20000 100000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        ("0::/../../x\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/gone\n", {}, 8),
        (
            "4:cpu,cpuacct:/docker/1\n1:name=systemd:/\n0::/\n",
            {
                "cpu,cpuacct/docker/1/cpu.cfs_quota_us": "250000\n",
                "cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        ("2:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ("", {"cpu.max": "100000 100000\n"}, 8),
        ("nonsense\n::::\n0::/\n", {"cpu.max": "9" * 30 + " 0\n"}, 8),
        ("0::/\n", {"cpu.max": "\xff\n"}, 8),
    ],
)
def test_allowed_cores_respect_affinity_and_quota(
    tmp_path: Path, own: str, files: dict[str, str], cores: int
):
    assert allowed_cores(*machine(tmp_path, own, files)) == cores


def test_allowed_cores_without_cgroups(tmp_path: Path):
    assert 1 <= allowed_cores(tmp_path / "none", tmp_path / "no file") <= (os.cpu_count() or 1)


def test_waiting_threads_are_set_to_sleep():
    environ: dict[str, str] = {}
    choose_waiting(environ)
    assert sorted(environ) == ["GOMP_SPINCOUNT", "KMP_BLOCKTIME"]


@pytest.mark.parametrize("name", cpu_share._CHOSEN_BY)
def test_user_defined_waiting_is_kept(name: str):
    environ = {name: "as it is"}
    choose_waiting(environ)
    assert environ == {name: "as it is"}


def test_waiting_is_set_before_torch_is_loaded():
    code = (
        "import os, sys\n"
        "from sana_stream.cli import process\n"
        "process.prepare_process()\n"
        "assert 'torch' not in sys.modules\n"
        "assert 'GOMP_SPINCOUNT' in os.environ\n"
    )
    environ = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT",)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environ)

"""`measure.py` on machines that lack modules, on older torch, and with steps that fail."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import einops
import psutil
import pytest
import torch

from sana_stream.engine.performance.random_model import LTX_2

from ..forked import popen

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "examples" / "benchmarks"
sys.path.append(str(BENCHMARKS))

from measuring import runner, stand_ins, steps  # noqa: E402 - on the path since the line above
from measuring.profiling import profile_stage  # noqa: E402
from measuring.records import parse_record  # noqa: E402
from measuring.report import Report  # noqa: E402
from measuring.steps import NAMES, Step, chosen_steps  # noqa: E402
from measuring.timing import Bench  # noqa: E402

# What the command line, the outputs and checkpoints need, and three that have stand-ins.
ABSENT = (
    *("av", "einops", "huggingface_hub", "psutil", "pydantic", "rich", "starlette", "tokenizers"),
    *("torchao", "transformers", "triton", "uvicorn"),
)
# A process in which modules cannot be imported, nor an installed package of ours found. It measures
# a small model in the 2B model's structure.
BARE = f"""
import sys
class Blocker:
    def find_spec(name, path, target=None):
        if name.partition(".")[0] in {ABSENT!r} or name == "sana_stream":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker)
sys.path.insert(0, {str(BENCHMARKS)!r})
from dataclasses import replace
from measuring import package
from measuring.records import emit
from sana_stream.engine.performance import random_model
shapes = random_model.SHAPES["2b-480p"]
narrow = dict.fromkeys(("num_attention_heads", "num_cross_attention_heads", "num_layers"), 2)
widths = dict(attention_head_dim=16, cross_attention_head_dim=16, cross_attention_dim=32)
transformer = replace(shapes.transformer, caption_channels=32, **narrow, **widths)
vae = replace(shapes.vae, base_dim=8, decoder_base_dim=8)
preset = replace(shapes.preset, height=32, width=48, block_frames=2, max_text_tokens=8)
random_model.SHAPES = {{"tiny": random_model.ModelShapes(transformer, vae, preset)}}
emit("versions", "replaced", value=package.replaced)
emit("versions", "package", value=random_model.__file__)
emit("versions", "ltx", value=repr(random_model.LTX_2))
from measure_speed import main
main()
"""


def run(name: str, *argv: object) -> None:
    """Call the `main` of a script in this process."""
    importlib.import_module(name).main([str(word) for word in argv])


def records(output: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of a script's records, by table and name."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for record in filter(None, map(parse_record, output.splitlines())):
        rows.setdefault((record["table"], record["name"]), {}).update(record)
    return rows


@pytest.fixture
def fake_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three steps in place of the true ones: one fails, one takes too long, one is good."""
    scripts = {
        "fails": 'raise ValueError("no such kernel")',
        "slow": "import os, time\nsay('slow', cold=float(os.getpid()))\ntime.sleep(60)",
        "good": "print('words'); say('good', cold=1.5)\nsay('good', warm=0.25)",
    }
    say = (
        "import json\ndef say(name, **v): print(json.dumps(dict(table='speed', name=name, **v)))\n"
    )
    for name, body in scripts.items():
        (tmp_path / f"{name}.py").write_text(say + body)
    fakes = tuple(Step(name, 1.5, (f"{name}.py",), "") for name in scripts)
    monkeypatch.setattr(steps, "STEPS", fakes)
    monkeypatch.setattr(importlib.import_module("measure"), "HERE", tmp_path)
    return tmp_path


def test_steps_that_fail_or_take_too_long_end_no_other(
    fake_steps: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = fake_steps / "out"
    begun = time.monotonic()
    run("measure", "--out", out)
    assert time.monotonic() - begun < 20
    rows = records((out / "figures.jsonl").read_text())
    outcomes = [rows["steps", name]["outcome"] for name in ("fails", "slow", "good")]
    assert outcomes == ["ValueError: no such kernel", "stopped after 2 s", "done"]
    assert not psutil.pid_exists(int(rows["speed", "slow"]["cold"]))
    report = (out / "speed.md").read_text()
    assert "| good | 1.50 | 0.25 |" in report
    assert "python examples/benchmarks/good.py" in report
    printed = capfd.readouterr().out
    assert printed.index("speed: good: cold 1.5") < printed.index("steps: good: outcome done")
    assert printed.index("words") < printed.index("| good | 1.50 | 0.25 |")


def test_last_words_of_a_script_are_read_after_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_late(stream: Any, take: Any) -> None:
        if take.__name__ == "keep":  # of standard error
            time.sleep(0.5)
        read(stream, take)

    read = runner._read
    monkeypatch.setattr(runner, "_read", read_late)
    script = tmp_path / "fails.py"
    script.write_text("import os; os.close(1)\nraise ValueError('no such kernel')")
    assert runner.run_script([str(script)], 20, print) == "ValueError: no such kernel"


@pytest.mark.skipif(os.name != "posix", reason="ends a process with SIGTERM, as POSIX has it")
def test_interrupted_run_leaves_its_report(fake_steps: Path) -> None:
    driver = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(BENCHMARKS)!r})
import measure
from measuring import steps
measure.HERE = Path()
steps.STEPS = tuple(steps.Step(name, 60, (name,), "") for name in ("good.py", "slow.py"))
sys.argv = ["measure.py", "--out", "out"]
measure.entry()
"""
    figures = fake_steps / "out" / "figures.jsonl"
    process = subprocess.Popen([sys.executable, "-c", driver], cwd=fake_steps)
    try:
        end = time.monotonic() + 30
        while not figures.exists() or '"slow"' not in figures.read_text():
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
    finally:
        process.kill()
    rows = records(figures.read_text())
    assert rows["steps", "slow.py"]["outcome"] == "interrupted"
    assert not psutil.pid_exists(int(rows["speed", "slow"]["cold"]))
    report = (fake_steps / "out" / "speed.md").read_text()
    assert "| good | 1.50 | 0.25 |" in report
    assert "| slow.py | interrupted |" in report


def test_measures_without_dependencies() -> None:
    words = ("--shapes", "tiny", "--dtype", "bfloat16", "--warmup", "1", "--repeats", "1")
    ways = ("--ways", "eager", "graphs", "small", "pieces")
    done = subprocess.run(
        [sys.executable, "-c", BARE, *words, *ways],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    rows = records(done.stdout)
    assert rows["versions", "replaced"]["value"] == ["einops", "psutil", "pydantic"]
    assert Path(rows["versions", "package"]["value"]).is_relative_to(ROOT / "engine")
    assert rows["versions", "ltx"]["value"] == repr(LTX_2)
    for name in ("bfloat16", "bfloat16, small decoder"):
        row = rows["speed", name]
        timed = ("cold", "warm", "call_ms", "commit_ms", "decode_ms", "block_ms", "overlapped_ms")
        assert all(row[key] > 0 for key in (*timed, "fps", "share")), row
        assert "encode_ms" not in row
    assert "graphs need a CUDA device" in rows["speed", "bfloat16, graphs"]["error"]
    assert rows["decoding", "bfloat16, 1 latent frames"]["ms"] > 0


def rearrangements() -> Iterator[str]:
    """The patterns that the networks use."""
    for path in (ROOT / "models").rglob("*.py"):
        yield from re.findall(r'"([\w ()]+ -> [\w ()]+)"', path.read_text("utf-8"))


@pytest.mark.parametrize("pattern", sorted({*rearrangements(), "(a b) c -> b (c a)"}))
def test_stand_in_rearranges_as_einops(pattern: str) -> None:
    names = sorted(set(re.findall(r"\w+", pattern)))
    sizes = {name: 2 + number for number, name in enumerate(names)}
    left = stand_ins._groups(pattern.split("->")[0])
    shape = [torch.Size(sizes[name] for name in group).numel() for group in left]
    x = torch.randn(shape)
    given = {name: sizes[name] for group in left for name in group[1:]}
    ours, theirs = (f(x, pattern, **given) for f in (stand_ins.rearrange, einops.rearrange))
    assert torch.equal(ours, theirs)
    assert ours.stride() == theirs.stride()
    assert (ours.data_ptr() == x.data_ptr()) == (theirs.data_ptr() == x.data_ptr())


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_stand_in_measures_memory_as_psutil() -> None:
    stand_in = stand_ins.STAND_INS["psutil"]()
    assert stand_in.virtual_memory().total == psutil.virtual_memory().total
    ours, theirs = (m.Process().memory_info().rss for m in (stand_in, psutil))
    assert ours == pytest.approx(theirs, rel=0.1)


def test_probe_on_torch_without_fp8(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(torch, "float8_e4m3fn")
    monkeypatch.delattr(torch, "_scaled_mm")
    run("measure_probe", "--small")
    rows = records(capsys.readouterr().out)
    failed = {name for (_, name), row in rows.items() if "error" in row}
    assert failed == {name for _, name in rows if "fp8" in name}
    assert all("has no attribute" in rows["rates", n]["error"] for n in failed)
    assert all(row["ms"] > 0 for row in rows.values() if "error" not in row)
    assert {table for table, _ in rows} == {"rates", "convolutions", "attention", "passes"}
    assert len([name for table, name in rows if table == "convolutions"]) == 5 * 8


def test_probe_goes_on_after_a_part_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_memory(bench: Bench) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    probe = importlib.import_module("measure_probe")
    monkeypatch.setitem(probe.PARTS, "products", no_memory)
    run("measure_probe", "--small", "--parts", "products", "attention")
    rows = records(capsys.readouterr().out)
    assert rows["rates", "products, the rest"]["error"] == "OutOfMemoryError: CUDA out of memory"
    assert rows["attention", "linear, sum, float32"]["ms"] > 0


def test_bench_times_with_events_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            pass

        def elapsed_time(self, end: Event) -> float:
            return 2.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    bench = Bench(torch.device("cpu"), small=True)
    bench.gpu = True
    bench.row("rates", "sum", lambda: 0, flop=4e9, moved=6e6)
    row = records(capsys.readouterr().out)["rates", "sum"]
    assert (row["ms"], row["tflops"], row["gbs"]) == (2.0, 2.0, 3.0)
    assert row["kernel"].startswith("unknown: ")  # the profiler finds no GPU here
    assert "error" not in row


def test_profile_prints_operations_by_shape(capsys: pytest.CaptureFixture[str]) -> None:
    a, b = torch.randn(64, 32), torch.randn(32, 16)
    profile_stage("stage", lambda: (a @ b).exp(), torch.device("cpu"))
    rows = records(capsys.readouterr().out)
    product = next(row for (_, name), row in rows.items() if name.endswith("aten::mm"))
    assert product["shapes"] == "[[64, 32], [32, 16]]"
    assert product["calls"] == 1
    gaps = rows["gaps", "stage"]
    assert gaps["wall_ms"] > 0
    shown = sum(row["ms"] for (table, _), row in rows.items() if table == "operations")
    assert gaps["kernel_ms"] == pytest.approx(shown)


def test_measure_writes_table(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", popen)
    run("measure", "--model", tiny_folder, "--steps", "float32", "--out", tmp_path)
    rows = records((tmp_path / "figures.jsonl").read_text())
    assert rows["steps", "float32"]["outcome"] == "done"
    row = rows["speed", "float32"]
    assert row["fps"] == pytest.approx(8000 / min(row["block_ms"], row["overlapped_ms"]))
    assert row["encode_ms"] > 0
    report = (tmp_path / "speed.md").read_text()
    table = [line for line in report.partition("## Speed")[2].splitlines() if line[:1] == "|"]
    assert [line.count("|") for line in table] == [13] * 3
    options = "--dtype float32 --warmup 1 --repeats 1"
    assert (
        f"    python examples/benchmarks/measure_speed.py {options} --model {tiny_folder}" in report
    )


def test_measure_without_time_reports_it(tmp_path: Path) -> None:
    run("measure", "--shapes", "2b-480p", "--minutes", "0", "--out", tmp_path)
    lines = (tmp_path / "speed.md").read_text().splitlines()
    rows = [line.split("|")[1].strip() for line in lines if "no time was left" in line]
    assert tuple(rows) == NAMES


def test_checks_need_random_weights(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "precision" not in [step.name for step in chosen_steps((), "pocket", None)]
    with pytest.raises(SystemExit, match="2"):
        run("measure", "--steps", "precision", "--out", tmp_path)
    assert "precision: checks need random weights; give --shapes" in capsys.readouterr().err


def test_measure_versions_names_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    run("measure_versions")
    rows = {name: row["value"] for (_, name), row in records(capsys.readouterr().out).items()}
    assert rows["torch"] == torch.__version__
    assert str(os.cpu_count()) in rows["host"]
    assert "package" in rows


@pytest.mark.parametrize("check", ["convolution", "float32", "pipelined"])
def test_measure_checks_hold(check: str, capsys: pytest.CaptureFixture[str]) -> None:
    run("measure_checks", check, "--shapes", "pocket", "--device", "cpu")
    result = json.loads(capsys.readouterr().out)
    assert result["difference"] <= result["allowed"]
    assert result["verdict"] == "holds"


def test_fp8_error_is_that_of_its_rounding(capsys: pytest.CaptureFixture[str]) -> None:
    run("fp8_error", "--shapes", "pocket")
    lines = capsys.readouterr().out.splitlines()[2:]
    cells = [[float(cell) for cell in line.split("|")[2:-1]] for line in lines]
    bfloat16, partly, fp8 = cells
    assert all(one < other < 0.2 for one, other in zip(bfloat16, fp8, strict=True))
    # the temporal convolution adds to its input, so that it adds little to the error
    assert fp8 == pytest.approx(partly, rel=0.1)


def test_model_that_cannot_be_loaded_is_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="fp8 needs an NVIDIA GPU"):
        run("measure_speed", "--shapes", "pocket", "--quantize", "fp8", "--device", "cpu")
    assert "fp8 needs" in records(capsys.readouterr().out)["speed", "fp8"]["error"]


def test_torch_alone_needs_kernels_to_leave_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speed = importlib.import_module("measure_speed")
    monkeypatch.setattr(speed, "KERNELS", "sana_stream.models.absent")
    run("measure_speed", "--shapes", "pocket", "--torch-alone", "--dtype", "bfloat16")
    row = records(capsys.readouterr().out)["speed", "bfloat16, torch alone"]
    assert row["error"] == "this version has no kernels of its own"


def test_check_that_fails_ends_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    run("measure_checks", "graphs", "convolution", "--device", "cpu")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "graphs need a CUDA device" in rows[0]["error"]
    assert rows[1]["verdict"] == "holds"


def test_report_is_whole_after_each_record(tmp_path: Path) -> None:
    report = Report(tmp_path, "title")
    report.add({"table": "checks", "name": "a|b", "error": "it failed"})
    report.add({"table": "profile", "name": "kernel 1", "calls": 3, "ms": 0.5, "shapes": None})
    report.close()
    assert "| a/b | it failed |  |  |" in (tmp_path / "speed.md").read_text()
    assert "| kernel 1 | 3 | 0.50 |  |" in (tmp_path / "profile.md").read_text()
    assert report.summary().startswith("## Checks")
    assert {path.name for path in tmp_path.iterdir()} == {"figures.jsonl", "speed.md", "profile.md"}

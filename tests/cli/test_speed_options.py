"""Speed options: used where supported, stored with the run, or refused on one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from sana_stream.cli.options import Options
from sana_stream.cli.parser import build_parser
from sana_stream.cli.run_config import run_config
from sana_stream.engine.engine import Engine
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.model import describe
from sana_stream.streaming.run.plan import resolve_plan
from sana_stream.streaming.run.stored import StoredRun, run_to_json

from ..command import pictures, run

PROMPT = ("--prompt", "a red boat")


def test_run_without_cuda_continues_without_graphs(
    tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    out = tmp_path / "boat.mp4"
    arguments = ("--model", tiny_folder, "--frames", "9", "--device", "cpu", "--out", out)
    assert run(*PROMPT, *arguments, "--graphs") == 0
    assert "no graphs: they need a CUDA device, this is cpu" in capfd.readouterr().err
    assert len(pictures(out)) == 9


def test_benchmark_of_graphs_without_cuda_is_refused(capfd: pytest.CaptureFixture[str]):
    assert run("bench", "--shapes", "pocket", "--device", "cpu", "--graphs") == 2
    captured = capfd.readouterr()
    assert captured.err == "sana-stream: graphs need a CUDA device, this is cpu; leave graphs out\n"
    assert captured.out == ""


def test_tiny_decoder_for_other_latents_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    out = tmp_path / "boat.mp4"
    assert run(*PROMPT, "--decoder", "tiny=taew2_1.pth", "--out", out) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("sana-stream: the tiny decoder decodes latents of ")
    assert line.endswith("; leave decoder out")
    assert not out.exists()


def test_checkpoint_stores_absolute_decoder_path(
    tiny_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taew2_1.pth").touch()
    model = describe(tiny_engine, RunConfig("a red boat"))
    for given, kept in (
        ("tiny=taew2_1.pth", f"tiny={tmp_path / 'taew2_1.pth'}"),
        ("tiny=owner/name/taew2_1.pth", "tiny=owner/name/taew2_1.pth"),
        (None, None),
    ):
        words = [*PROMPT, *(("--decoder", given) if given else ())]
        options = Options.of(build_parser("").parse(words))
        config = run_config(options)
        plan = resolve_plan(config, config.read_story(), model)
        assert StoredRun.from_json(run_to_json(plan)).config.decoder == kept

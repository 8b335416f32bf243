"""What is faster where a machine can do it: taken, kept with the run, or told on one line."""

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


def test_a_run_without_cuda_goes_on_without_graphs(
    tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    out = tmp_path / "boat.mp4"
    arguments = ("--model", tiny_folder, "--frames", "9", "--device", "cpu", "--out", out)
    assert run(*PROMPT, *arguments, "--graphs") == 0
    assert "no graphs: they need a CUDA device, this is cpu" in capfd.readouterr().err
    assert len(pictures(out)) == 9


def test_a_measurement_without_cuda_does_not(capfd: pytest.CaptureFixture[str]):
    assert run("bench", "--shapes", "pocket", "--device", "cpu", "--graphs") == 2
    told = capfd.readouterr()
    assert told.err == "sana-stream: graphs need a CUDA device, this is cpu; leave graphs out\n"
    assert told.out == ""


def test_the_small_decoder_is_refused_where_latents_are_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    out = tmp_path / "boat.mp4"
    assert run(*PROMPT, "--decoder", "tiny=taew2_1.pth", "--out", out) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("sana-stream: the tiny decoder decodes latents of ")
    assert line.endswith("; leave decoder out")
    assert not out.exists()


def test_a_checkpoint_finds_the_decoder_from_every_folder(
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

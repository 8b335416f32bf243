"""SANA-Video 2.0 through the engine: recognition, four steps, one clip, and what is refused."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, cast

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from sana_stream.cli.commands.serve import Server
from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.compatibility import check_parts
from sana_stream.engine.loading.convert import convert_model
from sana_stream.engine.loading.hybrid_presets import SANA2_720P, SANA2_720P_4_STEPS
from sana_stream.engine.loading.inspect import estimate_memory, inspect_model
from sana_stream.engine.noise import counter_noise
from sana_stream.engine.performance.benchmark import run_benchmark
from sana_stream.engine.performance.compile import compile_networks
from sana_stream.engine.performance.cuda_graphs import capture_graphs
from sana_stream.engine.session.lookahead import generate_ahead
from sana_stream.errors import CheckpointError, ConfigError, JobError
from sana_stream.models.hybrid.config import CLASS_NAME
from sana_stream.models.hybrid.transformer import HybridTransformer
from sana_stream.models.weights.load import read_vae_file
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.render import render
from sana_stream.streaming.run.runner import Run

from ..command import run
from ..hybrid_model import CONFIG, hybrid_tensors, save_hybrid_model, save_hybrid_parts
from ..models.hybrid.reference import Sizes, predict

SIZE = {"height": 64, "width": 96}
PROMPT = "a red boat"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_hybrid_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_hybrid_model(tmp_path_factory.mktemp("base") / "SANA_Video_2.0_5B_720p.pth")


@pytest.fixture(scope="module")
def four_step_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("four")
    return save_hybrid_model(folder / "SANA_Video_2.0_5B_720p_4step.pth", "state_dict_ema")


@pytest.fixture(scope="module")
def base(file: Path, parts: Path) -> Engine:
    return Engine.load(file, "cpu", "float32", parts=parts)


@pytest.fixture(scope="module")
def four(four_step_file: Path, parts: Path) -> Engine:
    return Engine.load(four_step_file, "cpu", "float32", parts=parts)


def test_files_are_recognized_by_their_tensors_and_names(base: Engine, four: Engine):
    assert isinstance(base.transformer, HybridTransformer)
    assert base.transformer.config == CONFIG
    assert base.preset == SANA2_720P
    assert four.preset == SANA2_720P_4_STEPS
    assert (base.preset.height, base.preset.width, base.size_multiple) == (736, 1280, (32, 32))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("checkpoints/SANA_Video_2.0_5B_720p_4step.pth", SANA2_720P_4_STEPS),
        ("video-4-steps.pth", SANA2_720P_4_STEPS),
        ("tests of 4step models/SANA_Video_2.0_5B_720p.pth", SANA2_720P),
        ("SANA_Video_2.0_5B_24steps.pth", SANA2_720P),
        ("renamed.safetensors", SANA2_720P),
    ],
)
def test_name_decides_on_the_number_of_steps(tmp_path: Path, parts: Path, name: str, expected):
    path = tmp_path / Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(hybrid_tensors(), path)
    else:
        save_hybrid_model(path)
    assert inspect_model(path, parts).preset == expected


def test_velocity_of_a_loaded_file_equals_the_formulas(base: Engine):
    sizes = Sizes(128, 256, 128, (3,), 4, 8)
    latents = torch.randn(CONFIG.in_channels, 2, 2, 1)
    embeds, mask = base.encode_prompt(PROMPT)
    expected = predict(
        hybrid_tensors(), sizes, latents, torch.tensor([612.0] * 2), embeds[0], mask[0]
    )
    text = base.transformer.prepare_text(embeds, mask)
    assert isinstance(base.transformer, HybridTransformer)
    ours = base.transformer.denoise(latents[None], torch.tensor([612.0]), text)
    torch.testing.assert_close(ours[0].double(), expected, atol=1e-5, rtol=1e-4)


def test_four_steps_equal_the_published_sampler(four: Engine):
    """`x0 = x - sigma v`, then fresh noise at the next of four fixed levels."""
    session = four.session(PROMPT, seed=5, block_frames=2, **SIZE)
    block = next(session)
    text = four.transformer.prepare_text(*four.encode_prompt(PROMPT))
    noise, shape = counter_noise(5), (1, CONFIG.in_channels, 3, 2, 3)
    levels = [0.9998332262, 0.9471688271, 0.8568977118, 0.6663702130]
    x = noise(0, 0, shape)
    assert isinstance(four.transformer, HybridTransformer)
    for step, (level, after) in enumerate(zip(levels, [*levels[1:], 0.0], strict=True)):
        velocity = four.transformer.denoise(x, torch.tensor([float(int(1000 * level))]), text)
        x = x - level * velocity
        if after:
            x = (1 - after) * x + after * noise(0, step + 1, shape)
    torch.testing.assert_close(block.latents, x, atol=1e-5, rtol=1e-5)


def test_frames_of_a_clip_equal_the_vae_on_its_own(four: Engine):
    block = next(four.session(PROMPT, block_frames=1, **SIZE))
    assert block.frames.shape == (9, 64, 96, 3)
    frames, _ = four.vae.decode(block.latents)
    pixels = ((frames[0] + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 3, 0).numpy()
    assert np.abs(pixels - block.frames.astype(np.float32)).max() <= 1


def test_a_session_is_one_clip(four: Engine):
    session = four.session(PROMPT, block_frames=1, **SIZE)
    assert not session.is_complete
    session.switch("night falls")  # before the clip it is possible
    blocks = list(session)
    assert [block.prompt for block in blocks] == ["night falls"]
    assert session.is_complete
    assert list(session) == []
    for refused in (lambda: session.switch("day"), lambda: session.sample(session.snapshot())):
        with pytest.raises(ConfigError, match="one clip at a time"):
            refused()
    ahead = list(generate_ahead(four.session("night falls", block_frames=1, **SIZE)))
    assert len(ahead) == 1
    assert np.array_equal(ahead[0].frames, blocks[0].frames)


def test_clips_are_independent_of_what_was_made_before(base: Engine):
    def clip() -> np.ndarray:
        return next(base.session(PROMPT, seed=1, block_frames=1, steps=2, **SIZE)).frames

    first = clip()
    next(base.session("a fox", block_frames=1, steps=2, **SIZE))
    assert np.array_equal(clip(), first)


def test_fifty_step_model_starts_from_an_image(base: Engine):
    image = np.full((64, 96, 3), 200, np.uint8)
    session = base.session(PROMPT, image=image, block_frames=1, steps=2, **SIZE)
    assert session.snapshot().settings.solver == "euler"
    given = session.snapshot().fixed_latents
    block = next(session)
    assert given is not None
    torch.testing.assert_close(block.latents[:, :, :1], given.cpu())
    session.cut(image)  # another clip
    assert not session.is_complete
    assert next(session).index == 1


def test_saved_clip_resumes_at_its_end(four: Engine, tmp_path: Path):
    session = four.session(PROMPT, block_frames=1, **SIZE)
    session.save(tmp_path / "before.safetensors")
    block = next(session)
    assert np.array_equal(next(four.resume(tmp_path / "before.safetensors")).frames, block.frames)
    session.save(tmp_path / "after.safetensors")
    resumed = four.resume(tmp_path / "after.safetensors")
    assert resumed.is_complete
    assert list(resumed) == []


IMAGE = np.zeros((64, 96, 3), np.uint8)
CLIP = np.zeros((20, 64, 96, 3), np.uint8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory": "window=2"}, "leave memory= out"),
        ({"video": CLIP}, "leave video= out"),
        ({"image": IMAGE}, "4 steps cannot start from an image: leave image= out"),
        ({"height": 60}, "multiples of 32, the nearest is 96x64"),
    ],
    ids=str,
)
def test_settings_without_effect_are_refused(four: Engine, settings, message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        four.session(PROMPT, **(SIZE | settings))
    assert "\n" not in str(caught.value)


def test_cut_to_an_image_is_refused_by_the_four_step_model(four: Engine):
    session = four.session(PROMPT, block_frames=1, **SIZE)
    with pytest.raises(ConfigError, match="cannot start from an image"):
        session.cut(IMAGE)


def test_what_streams_only_is_refused(four: Engine):
    with pytest.raises(ConfigError, match="a benchmark is for models that stream"):
        run_benchmark(four)
    with pytest.raises(ConfigError, match="a CUDA graph is for models that stream"):
        capture_graphs(four)


def test_compiled_clip_equals_the_eager_one(four_step_file: Path, parts: Path, four: Engine):
    compiled = Engine.load(four_step_file, "cpu", "float32", parts=parts)
    compile_networks(compiled, backend="eager")
    ours, plain = (next(e.session(PROMPT, block_frames=1, **SIZE)) for e in (compiled, four))
    torch.testing.assert_close(ours.latents, plain.latents, atol=1e-4, rtol=1e-4)


def test_int8_weights_give_nearly_the_same_clip(four_step_file: Path, parts: Path, four: Engine):
    pytest.importorskip("torchao")
    small = Engine.load(four_step_file, "cpu", "float32", parts=parts, quantize="int8")
    assert type(small.transformer.layers[0].attn1.to_beta.weight) is torch.nn.Parameter
    ours, plain = (next(e.session(PROMPT, block_frames=1, **SIZE)) for e in (small, four))
    difference = (ours.latents - plain.latents).norm() / plain.latents.norm()
    assert 0 < difference < 0.1


@pytest.mark.parametrize(
    ("module", "changed", "rows"),
    [
        ("blocks.0.attn.qkv", "transformer_blocks.0.attn1.to_k.weight", slice(256, 512)),
        ("blocks.1.mlp.gate_proj", "transformer_blocks.1.ff.gate_proj.weight", slice(None)),
        ("blocks.3.attn.output_gate", "transformer_blocks.3.attn1.to_gate.weight", slice(None)),
        ("transformer_blocks.2.attn1.to_q", "transformer_blocks.2.attn1.to_q.weight", slice(None)),
    ],
)
def test_lora_under_published_names_is_merged(
    four_step_file: Path, parts: Path, tmp_path: Path, module: str, changed: str, rows: slice
):
    engine = Engine.load(four_step_file, "cpu", "float32", parts=parts)
    before = dict(engine.transformer.named_parameters())[changed].clone()
    outputs = 768 if module.endswith("qkv") else 256
    A, B = torch.randn(2, 256), torch.randn(outputs, 2)
    lora = tmp_path / "style.safetensors"
    save_file({f"{module}.lora_A.weight": A, f"{module}.lora_B.weight": B}, lora)
    engine.set_loras([(lora, 0.5)])
    after = dict(engine.transformer.named_parameters())[changed]
    torch.testing.assert_close(after, before + 0.5 * (B @ A)[rows])
    engine.set_loras([])
    assert torch.equal(dict(engine.transformer.named_parameters())[changed], before)


def test_converted_folder_and_file_equal_the_original(
    four_step_file: Path, parts: Path, tmp_path: Path, four: Engine
):
    folder, back = tmp_path / "folder", tmp_path / "back.pth"
    convert_model(four_step_file, folder, parts)
    assert json.loads((folder / "transformer/config.json").read_text())["_class_name"] == CLASS_NAME
    engine = Engine.load(folder, "cpu", "float32")
    assert engine.preset == replace(four.preset, name=engine.preset.name)
    assert engine.preset.name == SANA2_720P_4_STEPS.name
    assert engine.fingerprint.matches(four.fingerprint)
    convert_model(folder, back)
    tensors = torch.load(back, weights_only=True)["state_dict"]
    original = torch.load(four_step_file, weights_only=True)["state_dict_ema"]
    del original["pos_embed"], original["y_embedder.y_embedding"]
    assert tensors.keys() == original.keys()
    assert all(torch.equal(tensors[name], original[name]) for name in original)


def test_info_names_the_model_and_its_limits(
    four_step_file: Path, parts: Path, capfd: pytest.CaptureFixture[str]
):
    words = ("--parts", parts, "--size", "96x64", "--device", "cpu", "--json")
    assert run("info", four_step_file, *words) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["model"] == "SANA-Video 2.0 5B 720p, 4 steps"
    assert facts["makes"].startswith("one clip at a time")
    assert facts["from an image"] == "no"
    assert "memory policy" not in facts
    assert facts["sampling"].startswith("renoise, timesteps 999.833, 947.169, 856.898, 666.37, no")
    assert facts["trained on"] == "5 seconds"
    assert "does not run" not in facts


def test_memory_estimate_has_no_state_and_no_scores_of_all_tokens(file: Path, parts: Path):
    info = inspect_model(file, parts)
    estimates = [estimate_memory(info, "cpu", "float32", 64 * n, 96 * n) for n in (4, 8)]
    small, large = (e.memory.denoise for e in estimates if e is not None)
    assert large / small < 4.5  # four times the tokens; their square would be 16 times


def test_clip_file_plays(four: Engine, tmp_path: Path):
    film = tmp_path / "clip.mp4"
    progress = render(
        four, [PROMPT], outputs=[film], size=(96, 64), block_frames=1, checkpoint=False
    )
    assert progress.frames == 9  # without a length: the whole clip
    with av.open(film) as video:
        frames = list(video.decode(video=0))
        assert video.streams.video[0].average_rate == 16
    assert [len(frames), frames[0].width, frames[0].height] == [9, 96, 64]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"seconds": 60}, "a video of 960 frames: .* at most 81 frames (5.06 s at 16 frames"),
        ({"endless": True}, "an endless video: .* give frames=81 or fewer"),
        ({"story": ["a boat", "a fox"]}, "has 2 prompts: .* under one prompt"),
        ({"interactive": True}, "nothing can direct: leave interactive= out"),
        ({"web": 0}, "nothing can direct: leave web= out"),
        ({"memory": "decay=0.5"}, "leave memory= out"),
        ({"image": "start.png"}, "cannot start from an image"),
        ({"frames": 82}, "a video of 82 frames"),
        ({"block_frames": 1, "frames": 10}, "at most 9 frames"),
    ],
    ids=str,
)
def test_runs_of_more_than_a_clip_are_refused(four: Engine, tmp_path: Path, config, message: str):
    values = {"story": [PROMPT], "size": (96, 64), "outputs": [tmp_path / "film.mp4"]} | config
    pattern = re.escape(message).replace(re.escape(".*"), ".*")
    with pytest.raises(ConfigError, match=pattern) as caught:
        Run(four, RunConfig(**values))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "film.mp4").exists()


def test_command_line_refuses_a_longer_video_in_its_own_words(
    four_step_file: Path, parts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    words = ("--model", four_step_file, "--parts", parts, "--prompt", PROMPT, "--size", "96x64")
    assert run(*words, "--seconds", "60", "--out", tmp_path / "film.mp4") == 2
    err = capfd.readouterr().err
    assert "give --frames 81 or fewer" in err
    assert "Traceback" not in err


def test_server_makes_clips_and_refuses_longer_streams(four_step_file: Path, parts: Path):
    config = RunConfig([PROMPT], model=four_step_file, parts=parts, size=(96, 64), web=0)
    reporter, recordings = cast(Any, None), cast(Any, None)  # not used before a stream begins
    server = Server(config, reporter, recordings, Event())
    server.submit([PROMPT])  # no length: a clip
    with pytest.raises(ConfigError, match="has 2 prompts"):
        server.submit([PROMPT, "a fox"])
    with pytest.raises(JobError, match="at most 81 frames"):
        server._jobs.submit({"story": PROMPT, "seconds": 60})


def test_finished_clip_cannot_be_branched(four: Engine, tmp_path: Path):
    film, options = tmp_path / "clip.mp4", {"size": (96, 64), "block_frames": 1}
    render(four, [PROMPT], outputs=[film], checkpoint=True, keep_checkpoint=True, **options)
    with pytest.raises(ConfigError, match="one clip at a time, which cannot be continued"):
        Run.branch(four, film, outputs=[tmp_path / "other.mp4"])


def test_file_without_parts_names_what_is_needed(file: Path):
    problems = inspect_model(file).problems
    assert any("LTX-2.3-Diffusers" in line and "give parts=" in line for line in problems)


def test_vae_of_the_older_model_is_refused(file: Path, parts: Path, tmp_path: Path):
    folder = tmp_path / "parts"
    shutil.copytree(parts, folder)
    path = folder / "vae/config.json"
    older = {"block_out_channels": [256, 512, 1024, 2048]}
    path.write_text(json.dumps(json.loads(path.read_text()) | older))
    assert inspect_model(file, folder).problems  # the tensors here are not LTX-2's either
    vae = read_vae_file(parts)
    check_parts(CONFIG, vae, parts)
    with pytest.raises(
        ConfigError, match=r"LTX-2's VAE; SANA-Video 2\.0 has the latents of LTX-2\.3"
    ):
        check_parts(CONFIG, vae, folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("attn_res.mlp_proj.weight"), "lacks attn_res.mlp_proj.weight"),
        (lambda t: t.pop("blocks.1.attn.beta_proj.bias"), "to_beta.bias"),
        (lambda t: t.update({"blocks.0.attn.surprise": torch.zeros(1)}), "is not a tensor of SANA"),
        (
            lambda t: t.update({"x_embedder.proj.weight": torch.zeros(256, 4, 1, 2, 2)}),
            "SANA-Video 2.0 has (1, 1, 1)",
        ),
        (
            lambda t: t.update({"x_embedder.proj.weight": torch.zeros(128, 4, 1, 1, 1)}),
            "width 128 is not a multiple of 256",
        ),
    ],
    ids=["residual", "bias", "unknown", "patch", "width"],
)
def test_damaged_files_are_refused(tmp_path: Path, parts: Path, change, message: str):
    tensors = hybrid_tensors()
    change(tensors)
    path = tmp_path / "broken.pth"
    torch.save({"state_dict": tensors}, path)
    with pytest.raises(CheckpointError, match=re.escape(message)) as caught:
        Engine.load(path, "cpu", "float32", parts=parts)
    assert "\n" not in str(caught.value)


GUIDE = Path(__file__).parents[2] / "examples/guides/models.md"
LINES = re.findall(
    r"^\| .* \| `sana-stream (--model \S*2\.0_5B\S* [^`]+)` \|$", GUIDE.read_text("utf-8"), re.M
)


@pytest.mark.parametrize("line", LINES)
def test_commands_of_the_guide_make_a_clip(
    line: str, four_step_file: Path, file: Path, parts: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    assert len(LINES) == 3
    monkeypatch.chdir(tmp_path)
    Path("sana2-parts").symlink_to(parts)
    Image.fromarray(IMAGE).save("start.png")
    words = shlex.split(line)
    words[1] = str(four_step_file if "4step" in words[1] else file)
    words += ["--size", "96x64", "--block-frames", "1", "--device", "cpu", "--dtype", "float32"]
    words += [] if "4step" in words[1] else ["--steps", "2"]
    assert run(*words, "--out", "frames/%04d.png") == 0
    assert len(list(Path("frames").iterdir())) == 9


def test_presets_are_the_published_commands():
    assert (SANA2_720P.fps, SANA2_720P.guidance, SANA2_720P.flow_shift) == (24, 8.0, 12.0)
    assert (1 + SANA2_720P.block_frames * 8, 1 + SANA2_720P_4_STEPS.block_frames * 8) == (193, 81)
    for preset in (SANA2_720P, SANA2_720P_4_STEPS):
        assert preset.motion_score == " motion score: 20."
        assert '"Enhanced prompt"' in preset.instruction[0]
        assert "image generation" in preset.instruction[0]
        assert not preset.lower_case
        assert preset.cross_norm_eps == 1e-6

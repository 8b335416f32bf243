"""SANA-Video 2.0's transformer against a reference written from the formulas in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sana_stream.errors import ConfigError
from sana_stream.models.hybrid.attention import GatedSoftmaxAttention
from sana_stream.models.hybrid.config import CLASS_NAME, HybridConfig
from sana_stream.models.hybrid.residual import ATTENTION, AttentionResidual, mix
from sana_stream.models.hybrid.transformer import HybridTransformer
from sana_stream.models.memory_policy import parse_memory_policy
from sana_stream.models.registry import build_transformer, read_config
from sana_stream.models.state import StreamState
from sana_stream.models.weights.original_layout import to_original

from .reference import Sizes, predict

ROUNDED = 1e-5  # in float32


def small(**changes: object) -> HybridConfig:
    values = {
        "in_channels": 3,
        "out_channels": 3,
        "hidden_size": 24,
        "num_layers": 4,
        "linear_head_dim": 8,
        "softmax_head_dim": 12,
        "cross_attention_head_dim": 6,
        "softmax_layers": [3],
        "attn_res_block_size": 2,
        "caption_channels": 5,
        "mlp_ratio": 1.5,
    } | changes
    return HybridConfig.from_dict(values)


def random_network(config: HybridConfig, seed: int = 0) -> HybridTransformer:
    network = HybridTransformer(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        if "norm" in name:
            parameter.add_(1)
    return network


def sizes_of(config: HybridConfig) -> Sizes:
    return Sizes(
        config.linear_head_dim,
        config.softmax_head_dim,
        config.cross_attention_head_dim,
        config.softmax_layers,
        config.num_layers,
        config.attn_res_block_size,
    )


def inputs(config: HybridConfig, frames: int, rows: int, columns: int, tokens: int = 4):
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, config.in_channels, frames, rows, columns, generator=generator)
    embeds = torch.randn(1, tokens, config.caption_channels, generator=generator)
    mask = torch.ones(1, tokens, dtype=torch.int64)
    mask[0, tokens - 1 :] = 0
    return latents, embeds, mask


def error(ours: Tensor, reference: Tensor) -> float:
    return float((ours.double() - reference.double()).norm() / reference.double().norm())


def both(
    config: HybridConfig,
    shape: tuple[int, int, int],
    times: list[float],
    dtype: torch.dtype,
    denominator: bool = False,
) -> tuple[Tensor, Tensor]:
    network = random_network(config)
    latents, embeds, mask = inputs(config, *shape)
    weights = to_original(network.state_dict())
    per_frame = torch.tensor(times if len(times) > 1 else times * shape[0])
    expected = predict(
        weights, sizes_of(config), latents[0], per_frame, embeds[0], mask[0], denominator
    )
    network.to(dtype)
    text = network.prepare_text(embeds, mask)
    ours = network.denoise(latents.to(dtype), torch.tensor([times]), text)
    return ours[0], expected


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({}, (2, 2, 3)),
        ({}, (1, 1, 1)),
        ({"attn_res_block_size": 8}, (3, 1, 2)),  # one group, which the layers do not fill
        ({"attn_res_block_size": 1}, (2, 1, 2)),
        ({"attn_res_block_size": 3}, (1, 2, 2)),  # the last group is shorter
        ({"softmax_layers": []}, (2, 2, 1)),
        ({"softmax_layers": [0, 1, 2, 3]}, (2, 2, 1)),
        ({"softmax_layers": [1, 3], "num_layers": 5}, (1, 3, 2)),
    ],
    ids=str,
)
def test_denoise_equals_the_formulas(changes: dict[str, object], shape: tuple[int, int, int]):
    ours, expected = both(small(**changes), shape, [889.0], torch.float32)
    assert error(ours, expected) < ROUNDED


def test_denoise_in_float64_equals_the_formulas_but_for_its_float32_parts():
    """Attention and depth scores stay in float32: beyond them nothing is lost."""
    ours, expected = both(small(), (2, 2, 3), [727.0], torch.float64)
    assert error(ours, expected) < 2e-6


def test_timestep_of_each_frame_equals_the_formulas():
    ours, expected = both(small(), (3, 2, 2), [0.0, 947.0, 12.0], torch.float32)
    assert error(ours, expected) < ROUNDED


def test_timesteps_are_rounded_down():
    config = small()
    whole, expected = both(config, (1, 2, 2), [856.0], torch.float32)
    fraction, _ = both(config, (1, 2, 2), [856.8977118], torch.float32)
    assert torch.equal(whole, fraction)
    assert error(whole, expected) < ROUNDED
    other, _ = both(config, (1, 2, 2), [857.0], torch.float32)
    assert not torch.allclose(whole, other)


def test_denominator_of_the_linear_attention_is_cancelled_by_its_norm():
    """The authors trained with one; their published code leaves it out."""
    with_it, without = (
        both(small(), (2, 3, 3), [500.0], torch.float32, denominator)[1]
        for denominator in (True, False)
    )
    assert error(with_it, without) < 0.02  # the eps of the norm is not scaled with it
    assert not torch.equal(with_it, without)


@settings(max_examples=15)
@given(
    frames=st.integers(1, 4),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    linear=st.sampled_from([6, 8, 12]),
    dense=st.sampled_from([6, 8, 24]),
    group=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_odd_sizes_equal_the_formulas(frames, rows, columns, linear, dense, group, seed):
    config = small(
        linear_head_dim=linear, softmax_head_dim=dense, attn_res_block_size=group, num_layers=3,
        softmax_layers=[1],
    )  # fmt: skip
    network = random_network(config, seed)
    latents, embeds, mask = inputs(config, frames, rows, columns)
    times = torch.full((frames,), 333.0)
    weights = to_original(network.state_dict())
    expected = predict(weights, sizes_of(config), latents[0], times, embeds[0], mask[0])
    ours = network.denoise(latents, times[:1], network.prepare_text(embeds, mask))
    assert ours.shape == latents.shape
    assert error(ours[0], expected) < ROUNDED


def test_every_token_sees_the_whole_clip():
    """A change of the last frame changes the first one: the model is not causal."""
    config = small()
    network = random_network(config)
    latents, embeds, mask = inputs(config, 4, 2, 2)
    text = network.prepare_text(embeds, mask)
    time = torch.tensor([600.0])
    before = network.denoise(latents, time, text)
    latents[:, :, -1] += 1
    assert not torch.allclose(network.denoise(latents, time, text)[:, :, 0], before[:, :, 0])


def test_padding_of_the_text_has_no_effect():
    config = small()
    network = random_network(config)
    latents, embeds, mask = inputs(config, 2, 2, 2, tokens=6)
    time = torch.tensor([600.0])
    cut = network.denoise(latents, time, network.prepare_text(embeds, mask))
    kept = network.denoise(latents, time, network.prepare_text(embeds, mask, keep_padding=True))
    torch.testing.assert_close(cut, kept)


def test_batch_equals_its_clips():
    config = small()
    network = random_network(config)
    latents, embeds, mask = inputs(config, 2, 2, 3)
    latents, embeds = torch.cat((latents, -latents)), torch.cat((embeds, 2 * embeds))
    mask, times = mask.repeat(2, 1), torch.tensor([700.0, 100.0])
    together = network.denoise(latents, times, network.prepare_text(embeds, mask))
    for i in range(2):
        one = slice(i, i + 1)
        text = network.prepare_text(embeds[one], mask[one])
        alone = network.denoise(latents[one], times[one], text)
        torch.testing.assert_close(together[one], alone, atol=1e-5, rtol=1e-4)


def test_large_sums_do_not_overflow_in_float16():
    """Values of 300 in 4000 tokens sum to far more than 65504, the largest float16."""
    config = small(num_layers=1, softmax_layers=[])
    network = random_network(config)
    network.layers[0].attn1.to_v.weight.mul_(1e3)
    latents, embeds, mask = inputs(config, 10, 20, 20)
    exact = network.denoise(latents, torch.tensor([500.0]), network.prepare_text(embeds, mask))
    half = network.half()
    text = half.prepare_text(embeds.half(), mask)
    assert error(half.denoise(latents.half(), torch.tensor([500.0]), text), exact) < 0.02


def test_mean_over_depth_of_untrained_queries_is_the_plain_mean():
    residual = AttentionResidual(4)
    first, second = torch.randn(2, 1, 3, 4)
    sources = [residual.source(first), residual.source(second)]
    torch.testing.assert_close(mix(sources, ATTENTION), (first + second) / 2)
    assert mix(sources[:1], ATTENTION) is first


def test_published_sizes_have_the_published_number_of_parameters():
    with torch.device("meta"):
        five = HybridTransformer(HybridConfig())
        layers = list(range(3, 40, 4))
        values = {"hidden_size": 4096, "num_layers": 40, "softmax_layers": layers}
        fourteen = build_transformer(HybridConfig.from_dict(values))
    counts = [sum(weight.numel() for weight in model.parameters()) for model in (five, fourteen)]
    assert counts == [4_466_980_960, 14_246_716_224]
    softmax = [isinstance(layer.attn1, GatedSoftmaxAttention) for layer in five.layers]
    assert [index for index, dense in enumerate(softmax) if dense] == list(range(3, 32, 4))


def test_state_takes_no_memory_and_a_clip_cannot_be_continued():
    config = small()
    network = random_network(config)
    state = StreamState.empty(config, parse_memory_policy("window=3"), network.grid(2, 2))
    assert state.nbytes == 0
    latents, embeds, mask = inputs(config, 2, 2, 2)
    text = network.prepare_text(embeds, mask)
    with pytest.raises(ConfigError, match="one clip at a time"):
        network.commit(latents, text, state.past(), 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 25}, "hidden_size 25 must be a multiple of linear_head_dim 8"),
        ({"softmax_head_dim": 10}, "must be a multiple of softmax_head_dim 10"),
        ({"linear_head_dim": 7}, "linear_head_dim is 7"),
        ({"linear_head_dim": 4}, "linear_head_dim is 4"),
        ({"softmax_layers": [4]}, "must ascend and be below num_layers 4"),
        ({"softmax_layers": [3, 1]}, "must ascend"),
        ({"softmax_layers": [1, 1]}, "must ascend"),
        ({"num_layers": 100_000}, "num_layers is 100000"),
        ({"mlp_ratio": float("inf")}, "mlp_ratio is inf"),
        ({"rope_fhw_dim": [2, 3, 3]}, "unknown keys rope_fhw_dim"),
        ({"hidden_size": "24"}, "hidden_size is '24'"),
    ],
    ids=str,
)
def test_configurations_that_cannot_be_built_are_refused(changes: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        small(**changes)
    assert "\n" not in str(caught.value)


def test_class_name_chooses_the_network():
    values = {"_class_name": CLASS_NAME, "num_layers": 4, "softmax_layers": [3]}
    assert isinstance(read_config(values, "config.json"), HybridConfig)
    assert not isinstance(read_config({"num_layers": 4}, "config.json"), HybridConfig)


@pytest.mark.parametrize("name", [CLASS_NAME, "SanaVideoTransformer3DModel"])
@pytest.mark.parametrize(("given", "wanted"), [({}, None), ({"in_channels": 6}, 6)], ids=str)
def test_output_channels_are_those_of_the_input_where_not_given(name, given, wanted):
    layers = {"num_layers": 1, "softmax_layers": []} if name == CLASS_NAME else {"num_layers": 1}
    config = read_config({"_class_name": name, "out_channels": None, **layers, **given}, "file")
    assert config.in_channels == config.out_channels == (wanted or type(config)().in_channels)

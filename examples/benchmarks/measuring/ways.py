"""Ways to run a model: the engine as it is, with graphs, with the small decoder; its profile."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch

from measuring import package  # noqa: F401 - makes sana_stream importable
from measuring.profiling import profile_stage
from measuring.records import emit_error, reason_of
from measuring.stream_speed import PROMPT, Meter
from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.decoder import check_decoder
from sana_stream.engine.performance.compile import compile_networks
from sana_stream.engine.performance.cuda_graphs import capture_graphs
from sana_stream.engine.performance.random_model import random_engine
from sana_stream.models.vae.taehv import TAEHVDecoder
from sana_stream.models.weights.load import finalize_taehv

LABELS = {  # what the rows of a way are called, after the precision
    "eager": "",
    "pieces": ", pieces",
    "profile": ", profile",
    "graphs": ", graphs",
    "small": ", small decoder",
    "both": ", small decoder, graphs",
}


def measure_ways(args: argparse.Namespace, name: str) -> None:
    """Load the model of the arguments of `measure_speed.py` and measure each of its ways.

    Raises:
        SystemExit: the model cannot be loaded.
    """
    try:
        engine = load(args)
        if args.compile:
            compile_networks(engine)
    except Exception as error:
        emit_error("speed", name, error)
        raise SystemExit(reason_of(error)) from error
    Meter(engine, 0, 0).memory(f"{name}: loaded")
    for way in args.ways:
        try:
            measure(engine, way, name, args)
        except Exception as error:
            emit_error("speed", name + LABELS[way], error)
        if engine.device.type == "cuda":
            torch.cuda.empty_cache()


def load(args: argparse.Namespace) -> Engine:
    """The engine of the arguments."""
    if args.shapes:
        return random_engine(args.shapes, args.device, args.dtype, quantize=args.quantize)
    return Engine.load(args.model, args.device, args.dtype, quantize=args.quantize)


def with_small_decoder(engine: Engine, compiled: bool) -> Engine:
    """The same networks with TAEHV in place of the VAE's decoder, with random weights.

    Raises:
        ConfigError: the model's latents are not those that TAEHV decodes.
    """
    check_decoder(engine.vae.config, engine.preset.name)
    decoder = finalize_taehv(TAEHVDecoder(), engine.dtype, engine.device)
    if compiled and engine.device.type == "cuda":
        decoder.decoder.compile(dynamic=False)
    parts = engine.transformer, engine.vae, engine.text_encoder, engine.preset
    return Engine(*parts, engine.device, engine.dtype, decoder=decoder)


@contextmanager
def graphs(engine: Engine) -> Iterator[None]:
    """Replay captured graphs within the body."""
    capture_graphs(engine)
    try:
        yield
    finally:
        engine.transformer_calls, engine.decoder_calls = engine.transformer, engine.decoder


def profile_stages(engine: Engine, name: str) -> None:
    """Profile the sampling and the decoding of the third block."""
    session = engine.session(PROMPT, seed=1)
    next(session)
    next(session)
    snapshot = session.snapshot()
    latents = session.sample(snapshot)
    profile_stage(f"{name}, sampling", partial(session.sample, snapshot), engine.device)
    profile_stage(f"{name}, decoding", partial(session.decode, latents, snapshot), engine.device)


def measure(engine: Engine, way: str, name: str, args: argparse.Namespace) -> None:
    """Measure one way; `name` begins the names of its records."""
    if way in ("small", "both"):
        engine = with_small_decoder(engine, args.compile)
    meter = Meter(engine, args.warmup, args.repeats)
    if way == "pieces":
        meter.pieces(name)
    elif way == "profile":
        profile_stages(engine, name)
    else:
        with graphs(engine) if way in ("graphs", "both") else nullcontext():
            meter.speed(name + LABELS[way])

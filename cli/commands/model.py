"""The one place where the command line meets models; what is heavy is imported here, late."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sana_stream.engine.engine import Engine
    from sana_stream.engine.loading.inspect import ModelInfo


def describe(
    model: str,
    parts: str | None,
    decoder: str | None = None,
    loras: Iterable[tuple[str, float]] = (),
) -> ModelInfo:
    """A model's defaults, known before its weights are loaded; LoRA files that fit it."""
    from sana_stream.engine.loading.inspect import inspect_model

    return inspect_model(model, parts, decoder, loras).require_loadable()


def load(model: str, device: str, dtype: str, **more: Any) -> Engine:
    """The model with its weights; `more` as `Engine.load` takes it."""
    from sana_stream.engine.cpu import stay_within_quota
    from sana_stream.engine.engine import Engine

    stay_within_quota()
    return Engine.load(model, device, dtype, **more)

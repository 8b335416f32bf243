"""What a run needs of a loaded model, with the model on the replicas of a fleet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch

from sana_stream.engine.peers import SingleProcess
from sana_stream.errors import ConfigError

from .order import StreamOrder
from .session import BlockSource, RemoteSession, RemoteSnapshot
from .store import StreamStore

if TYPE_CHECKING:
    from sana_stream.engine.block import Block
    from sana_stream.engine.snapshot.snapshot import SessionSettings
    from sana_stream.streaming.run.model import RunModel


class RemoteEngine:
    """Starts or continues one stream of a fleet; takes the place of `Engine` in a run.

    Args:
        model: described from its files.
        source, store, stream: as of `RemoteSession`.
        guard: the action of the drift guard.
        resumed: the order of a stream that is continued.
        gateway: the gateway's own values of a new stream.
        saved: as of `RemoteSession`.
    """

    def __init__(
        self,
        model: RunModel,
        source: BlockSource,
        store: StreamStore,
        stream: str,
        guard: str,
        resumed: StreamOrder | None = None,
        gateway: Callable[[], dict[str, Any]] = dict,
        saved: Callable[[], int] | None = None,
    ) -> None:
        self.preset = model.preset
        self.device, self.dtype = torch.device("cpu"), torch.float32  # of the gateway's own work
        self.text_encoder = ReplicaCheck()
        self.peers = SingleProcess()
        self._model, self._source, self._store = model, source, store
        self._stream, self._guard, self._resumed = stream, guard, resumed
        self._gateway, self._saved = gateway, saved
        self.stream: RemoteSession | None = None

    def session(
        self,
        prompt: str,
        *,
        negative_prompt: str,
        video: object = None,
        settings: SessionSettings,
    ) -> RemoteSession:
        """The stream from its beginning, or from where it was delivered before.

        Raises:
            ConfigError: a clip is to be continued, or the stream had other settings before.
            HealthError: the stream was stopped before its order could be stored.
        """
        if video is not None:
            raise ConfigError("a stream of a fleet cannot continue a clip: leave video= out")
        order = self._resumed
        if order is not None:
            check_same_settings(order.settings, settings)
        else:
            order = StreamOrder(
                settings, prompt, negative_prompt, self._model.temporal_factor, self._guard
            )
        order = replace(order, gateway=self._gateway())
        self.stream = RemoteSession(
            *(self._source, self._store, self._stream, order, self.preset.fps),
            causal=self._model.transformer.causal,
            saved=self._saved,
        )
        return self.stream

    def drift_guard(self, session: RemoteSession, action: str, given: bool) -> RemoteGuard:
        """The guard of the stream, which runs on the replica that makes its blocks."""
        return RemoteGuard(session)


def check_same_settings(before: SessionSettings, now: SessionSettings) -> None:
    """Refuse to continue a stream with other settings; raises ConfigError."""
    for field in fields(before):
        old, new = getattr(before, field.name), getattr(now, field.name)
        if old != new:
            raise ConfigError(
                f"the stream was begun with {field.name} {old}, and {field.name} is {new} now:"
                " start the gateway with the options that it had"
            )


class ReplicaCheck:
    """In place of a text encoder: replicas report prompts that are too long with the block."""

    def unread(self, prompt: str, with_instruction: bool = True) -> None:
        """Return None: nothing is known here."""


class RemoteGuard:
    """In place of a drift guard: what the replica's guard measured."""

    def __init__(self, session: RemoteSession) -> None:
        self._session = session

    @property
    def drift(self) -> float:
        """Of the last block, from the first ones under its prompt."""
        return self._session.drift

    def check(self, block: Block) -> None:
        """Do nothing: the replica has checked the block, and its notes are logged."""

    def with_reference(self, snapshot: RemoteSnapshot) -> RemoteSnapshot:
        """The snapshot, whose reference is on the replica."""
        return snapshot

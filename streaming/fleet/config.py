"""Where a fleet runs, and what its replicas keep."""

from __future__ import annotations

from dataclasses import dataclass

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError

LOCAL = "local"


@dataclass(frozen=True)
class FleetConfig:
    """Where a fleet runs, and what its replicas keep.

    Attributes:
        address: "local" starts Ray on this machine; "auto" or HOST:PORT joins a cluster of which
            this machine is a part.
        store: a folder that all machines share, or the URL of an object store.
        replicas: engines.
        every: blocks between two snapshots.
        cached: streams in the memory of a replica.
        block_seconds: limit of one call, after which another replica is asked.
    """

    address: str
    store: str
    replicas: int = 2
    every: int = 8
    cached: int = 4
    block_seconds: float = 30.0


def check_address(address: str) -> None:
    """Refuse an address that a gateway cannot use; raises ConfigError."""
    if address.startswith("ray://"):
        raise ConfigError(
            f"--fleet {safe_text(address)}: frames do not come over Ray's client; run the gateway"
            " on a machine of the cluster, with --fleet auto or --fleet HOST:6379"
        )

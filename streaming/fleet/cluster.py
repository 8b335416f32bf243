"""Ray Serve: started here or joined, with the engines of a fleet deployed on it."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError, SanaStreamError
from sana_stream.streaming.run.config import RunConfig

from .calls import ReplicaLate, ReplicaLost
from .config import LOCAL, FleetConfig, check_address
from .homes import HOMES

logger = logging.getLogger(__name__)
NAME = "sana-stream"
_MISSING = "the fleet needs Ray and obstore: pip install 'sana-stream[fleet]'"
_ROUTER = "sana_stream.streaming.fleet.router.SessionRouter"
_SLICE = 0.5  # seconds of waiting between two looks at the limit


@contextmanager
def deployed(fleet: FleetConfig, config: RunConfig) -> Iterator[RayTransport]:
    """Start or join Ray, deploy the engines, and carry calls to them inside the context.

    Raises:
        ConfigError: Ray is not installed, or the cluster cannot be joined or has no room.
    """
    check_address(fleet.address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray  # pyright: ignore[reportMissingImports]
        from ray import serve  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(_MISSING) from error
    folder = Path(tempfile.mkdtemp(prefix="ss-")) if fleet.address == LOCAL else None
    try:
        with _kept_signals():
            _init(ray, fleet, folder)
        cuda = _uses_gpus(ray, fleet, config)
        serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        yield RayTransport(_deploy(serve, fleet, config, cuda))
    finally:
        with suppress(Exception):  # a local Ray ends with all its processes
            if fleet.address != LOCAL and ray.is_initialized():
                serve.delete(NAME)
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


class RayTransport:
    """Carries single calls to replicas over a handle of Ray Serve."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def call(self, method: str, stream: str, arguments: tuple[Any, ...], limit: float) -> Any:
        """As `Transport.call`."""
        from ray import exceptions  # pyright: ignore[reportMissingImports]
        from ray.serve.exceptions import RayServeException  # pyright: ignore[reportMissingImports]

        end = time.monotonic() + limit
        response = None
        try:
            handle = self._handle.options(session_id=stream)
            response = getattr(handle, method).remote(stream, *arguments)
            while True:
                try:
                    left = max(0.01, end - time.monotonic())
                    return response.result(timeout_s=min(left, _SLICE))
                except TimeoutError:
                    if time.monotonic() >= end or HOMES.may_move(stream):
                        raise
        except TimeoutError:
            if response is not None:
                response.cancel()
            raise ReplicaLate(f"{limit:g}") from None
        except SanaStreamError as error:  # of the replica; Ray's class has its own as a base
            cause = getattr(error, "cause", error)
            raise cause from None
        except exceptions.RayTaskError as error:
            line = " ".join(str(error.cause).split())
            raise RuntimeError(safe_text(f"{type(error.cause).__name__}: {line}", 300)) from None
        except (exceptions.RayError, RayServeException) as error:
            raise ReplicaLost(type(error).__name__) from error


def _init(ray: Any, fleet: FleetConfig, folder: Path | None) -> None:
    options: dict[str, Any] = {
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
    }
    if folder is not None:
        shared = max(80 << 20, min(2 << 30, fleet.replicas * (200 << 20)))
        cores = max(os.cpu_count() or 1, fleet.replicas)
        options |= {
            "address": "local",
            "num_cpus": cores,
            "object_store_memory": shared,
            "_temp_dir": str(folder),
            "_node_ip_address": "127.0.0.1",
        }
    else:
        options = {key: options[key] for key in ("log_to_driver", "logging_level")}
        options["address"] = fleet.address
    try:
        ray.init(**options)
        # paragraphs about lost workers, which the gateway logs on a line of its own
        ray._private.worker._worker_logs_enabled = False
    except Exception as error:
        line = safe_text(" ".join(str(error).split()), 200)
        if fleet.address != LOCAL and isinstance(error, ConnectionError):
            line = "no cluster is there; run `ray start --head` first, or give no address"
        raise ConfigError(
            f"--fleet {safe_text(fleet.address)}: Ray cannot be used: {line}"
        ) from error


@contextmanager
def _kept_signals() -> Iterator[None]:
    """Put the handlers of signals back, which Ray replaces with its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _uses_gpus(ray: Any, fleet: FleetConfig, config: RunConfig) -> bool:
    """Whether each replica takes a GPU; raises ConfigError where this machine has too few."""
    found = int(ray.cluster_resources().get("GPU", 0))
    if config.device == "auto" and not found:
        return False
    if not config.device.startswith(("cuda", "auto")):
        return False
    if found < fleet.replicas and fleet.address == LOCAL:
        raise ConfigError(
            f"--replicas {fleet.replicas}: this machine has {found} GPUs, and each replica takes"
            " one; give fewer, or --device cpu"
        )
    if found < fleet.replicas:
        logger.warning(
            "the cluster has %d GPUs, and %d replicas take one each: waiting until it has grown",
            *(found, fleet.replicas),
        )
    return True


def _deploy(serve: Any, fleet: FleetConfig, config: RunConfig, cuda: bool) -> Any:
    from ray.serve.config import RequestRouterConfig  # pyright: ignore[reportMissingImports]

    from .deployment import EngineReplica
    from .device import MOST_CALLS

    config_of: Any = RequestRouterConfig
    router = config_of(request_router_class=_ROUTER)
    threads = os.environ.get("OMP_NUM_THREADS") or str(_threads(fleet))
    deployment = serve.deployment(
        EngineReplica,
        name="Engine",
        num_replicas=fleet.replicas,
        max_ongoing_requests=MOST_CALLS,
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_wait_loop_s=1,
        graceful_shutdown_timeout_s=60,
        max_constructor_retry_count=3,
        request_router_config=router,
        ray_actor_options={
            "num_cpus": 1,
            "num_gpus": 1 if cuda else 0,
            "runtime_env": {"env_vars": {"OMP_NUM_THREADS": threads}},
        },
    )
    application = deployment.bind(config, fleet.store, fleet.every, fleet.cached)
    logger.info("starting %d engines on Ray", fleet.replicas)
    try:
        return serve.run(application, name=NAME, route_prefix=None)
    except Exception as error:
        line = safe_text(" ".join(str(error).split()), 300)
        raise ConfigError(f"the engines cannot be started: {line}") from error


def _threads(fleet: FleetConfig) -> int:
    from sana_stream.engine.cpu import core_count

    return max(1, core_count() // fleet.replicas) if fleet.address == LOCAL else 1

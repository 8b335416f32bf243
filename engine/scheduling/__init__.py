"""Many streams on one device: admission, whose turn it is, and one thread that runs the networks.

Open `shared_engine.py` first.
"""

from typing import TYPE_CHECKING

from sana_stream._lazy import lazy_exports

if TYPE_CHECKING:
    from .admission import Admission
    from .scheduler import Scheduler, SchedulerOutput, SchedulerStats
    from .shared_engine import SharedEngine

__all__ = ["Admission", "Scheduler", "SchedulerOutput", "SchedulerStats", "SharedEngine"]

_HOMES = {
    "Admission": "sana_stream.engine.scheduling.admission",
    "Scheduler": "sana_stream.engine.scheduling.scheduler",
    "SchedulerOutput": "sana_stream.engine.scheduling.scheduler",
    "SchedulerStats": "sana_stream.engine.scheduling.scheduler",
    "SharedEngine": "sana_stream.engine.scheduling.shared_engine",
}

__getattr__, __dir__ = lazy_exports(__name__, _HOMES)

"""The streams that a server was asked for: one is on, the others wait."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from threading import Condition, Event

from .control import Control

STORY_LIMIT = 16 << 10  # characters
WAITING_LIMIT = 16  # orders
_ENDED_KEPT = 32  # orders that are over and still listed
# Halves of characters, and what could steer a terminal that shows the story.
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class OrderError(ValueError):
    """A stream that cannot be made: what was given, what is allowed."""


class ProgrammeFullError(OrderError):
    """Too many streams are waiting."""


class State(StrEnum):
    """What has become of an order."""

    WAITING = "waiting"
    ON = "on"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Order:
    """A stream somebody wants: its story, as text in any form a story may have."""

    number: int
    story: str
    seed: int | None = None
    seconds: float | None = None  # of video; None: without end
    state: State = State.WAITING
    message: str = ""  # why it failed

    def as_dict(self) -> dict[str, object]:
        """The fields by name, for JSON."""
        return asdict(self)


class Programme:
    """A queue of orders between the web server and the run.

    `check` is asked about each order before it is taken and raises ValueError with the reason
    against it. Holds at most 16 waiting orders and the last 32 that are over.
    """

    def __init__(self, check: Callable[[Order], None] = lambda _: None) -> None:
        self._check = check
        self._changed = Condition()
        self._orders: dict[int, Order] = {}
        self._control: Control | None = None
        self._count = 0

    def submit(self, request: object) -> Order:
        """Take an order from the fields of a JSON object: `story`, and if wanted `seed`, `seconds`.

        Raises OrderError.
        """
        order = _order(self._count, request)
        try:
            self._check(order)
        except ValueError as error:
            raise OrderError(str(error)) from error
        with self._changed:
            waiting = [each for each in self._orders.values() if each.state is State.WAITING]
            if len(waiting) >= WAITING_LIMIT:
                raise ProgrammeFullError(f"{WAITING_LIMIT} streams are waiting; try again later")
            order = replace(order, number=self._count)
            self._orders[order.number] = order
            self._count += 1
            self._changed.notify_all()
        return order

    def next(self, stop: Event) -> Order | None:
        """The next order, as soon as there is one; None when the run is to stop."""
        with self._changed:
            while not stop.is_set():
                for order in self._orders.values():
                    if order.state is State.WAITING:
                        return order
                self._changed.wait(0.2)
        return None

    def begin(self, order: Order, control: Control) -> None:
        """Say that an order is on, and how it is directed; one just taken back is ended."""
        with self._changed:
            if self._orders.get(order.number) is not order:
                control.end()
                return
            self._orders[order.number] = replace(order, state=State.ON)
            self._control = control

    def end(self, order: Order, error: str = "") -> None:
        """Say that an order is over, or has failed and why."""
        with self._changed:
            before = self._orders.get(order.number, order)
            self._control = None
            if error:
                self._orders[order.number] = replace(before, state=State.FAILED, message=error)
            elif before.state is State.ON:
                self._orders[order.number] = replace(before, state=State.FINISHED)
            self._forget()

    def cancel(self, number: int) -> bool:
        """Take an order back, or end it when it is on; False when there is none to end."""
        with self._changed:
            order = self._orders.get(number)
            if order is None or order.state not in (State.WAITING, State.ON):
                return False
            if order.state is State.ON and self._control:
                self._control.end()
            self._orders[number] = replace(order, state=State.CANCELLED)
            self._forget()
            return True

    def orders(self) -> tuple[Order, ...]:
        """All orders, oldest first."""
        with self._changed:
            return tuple(self._orders.values())

    def _forget(self) -> None:
        over = [
            number
            for number, order in self._orders.items()
            if order.state not in (State.WAITING, State.ON)
        ]
        for number in over[:-_ENDED_KEPT]:
            del self._orders[number]


def _order(number: int, request: object) -> Order:
    fields = {"story": str, "seed": int, "seconds": (int, float)}
    if not isinstance(request, dict) or "story" not in request:
        raise OrderError('send JSON: {"story": "…", "seed": 0, "seconds": 60}')
    for name, value in request.items():
        if name not in fields:
            raise OrderError(f"{str(name)[:40]!r}: a stream has {', '.join(fields)}")
        if isinstance(value, bool) or not isinstance(value, fields[name]):
            raise OrderError(f"{name}: cannot be {str(value)[:40]!r}")
    story, seed, seconds = request["story"], request.get("seed"), request.get("seconds")
    if not story.strip() or len(story) > STORY_LIMIT:
        raise OrderError(f"story: must have 1 to {STORY_LIMIT} characters")
    if _NO_TEXT.search(story):
        raise OrderError("story: holds characters that are no text")
    if seed is not None and not 0 <= seed < 2**63:
        raise OrderError(f"seed: must be from 0 to {2**63 - 1}")
    if seconds is not None and not 0 < seconds < 1e9:
        raise OrderError("seconds: must be more than 0 and less than 1000000000")
    return Order(number, story, seed, seconds)

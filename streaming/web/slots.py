"""A bounded number of responses that are sent at the same time."""

from __future__ import annotations

from .responses import StreamedResponse, busy


class Slots:
    """Counts responses on the event loop; each gives its slot back when it ends.

    Args:
        limit: the most at the same time.
        what: is sent, for the message of a refusal, such as "downloads are running".
    """

    def __init__(self, limit: int, what: str) -> None:
        self._limit = limit
        self._what = what
        self._taken = 0

    def take(self) -> None:
        """Take a slot, before anything is awaited; raises HTTPException 503 where none is free."""
        if self._taken >= self._limit:
            raise busy(f"{self._taken} {self._what}")
        self._taken += 1

    def give_back(self) -> None:
        """Give a slot back."""
        self._taken -= 1

    def hold(self, response: StreamedResponse) -> StreamedResponse:
        """Give the slot back when a response ends, also one that is not sent to its end."""
        response.on_end = self.give_back
        return response

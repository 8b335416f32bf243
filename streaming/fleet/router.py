"""The router of Ray Serve with the gateway's table: a stream stays on its replica.

Ray Serve pickles this module by value, so the table is imported where it is used.
"""

from __future__ import annotations

from typing import Any

from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter  # pyright: ignore[reportMissingImports]


class SessionRouter(ConsistentHashRouter):
    """Sends each call to the replica that `HOMES` names for its `session_id`.

    Calls without a session go to any replica, as the base class hashes them.
    """

    def update_replicas(self, replicas: list[Any]) -> None:
        """Take the running replicas from the controller."""
        from .homes import HOMES

        super().update_replicas(replicas)
        HOMES.update(replica.replica_id.unique_id for replica in replicas)

    async def choose_replicas(
        self, candidate_replicas: list[Any], pending_request: Any = None
    ) -> list[list[Any]]:
        """The one replica of the table, by rank; as the base class without a session."""
        from .homes import HOMES

        session = None if pending_request is None else pending_request.metadata.session_id
        if pending_request is None or not session or not candidate_replicas:
            return await super().choose_replicas(candidate_replicas, pending_request)
        pending_request.routing_context.should_backoff = True
        by_id = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        HOMES.update(by_id)
        home = HOMES.choose(session)
        return [[by_id[home]]] if home in by_id else []

"""Whether code locations answer, and have for long enough that the daemon has noticed."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 5.0
SETTLED_SECONDS = 15.0
"""How long after its return a code location is taken for one that the daemon has loaded again."""
LONGEST_SECONDS = 600.0
"""How long one that does not come back is waited for."""

Server = tuple[str, int]


def problem_of(host: str, port: int) -> str | None:
    """Return why the code location at an address cannot be used; None if it can."""
    import grpc
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
    from grpc_health.v1.health_pb2_grpc import HealthStub

    with grpc.insecure_channel(f"{host}:{port}") as channel:
        check = HealthStub(channel).Check  # pyright: ignore[reportAttributeAccessIssue]
        try:
            answer = check(HealthCheckRequest(service="DagsterApi"), timeout=SECONDS)
        except grpc.RpcError as error:
            return getattr(error, "details", lambda: None)() or str(error)
    name = HealthCheckResponse.ServingStatus.Name(answer.status)
    return None if name == "SERVING" else f"its status is {name}"


class Answering:
    """What was seen of code locations that were asked for."""

    def __init__(
        self,
        problem: Callable[[str, int], str | None] = problem_of,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._problem, self._clock = problem, clock
        self._away: dict[Server, tuple[float, float]] = {}
        """When each was found away for the first time, and for the last."""

    def is_back(self, server: Server | None) -> bool:
        """Say whether a code location can be used, or is not worth waiting for any longer.

        None is one that Dagster's own processes start as they need it.
        """
        if server is None:
            return True
        now = self._clock()
        first, last = self._away.get(server, (now, now))
        if self._problem(*server):
            self._away[server] = (first, now)
            return now - first > LONGEST_SECONDS
        if server in self._away and now - last < SETTLED_SECONDS:
            return False
        self._away.pop(server, None)
        return True

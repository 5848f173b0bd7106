"""Values of the EMR protocol: errors, clusters, steps, and how they look as JSON."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

ClusterState = Literal[
    "STARTING", "RUNNING", "WAITING", "TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"
]
StepState = Literal["PENDING", "RUNNING", "COMPLETED", "CANCELLED", "FAILED", "INTERRUPTED"]
ActionOnFailure = Literal["TERMINATE_JOB_FLOW", "TERMINATE_CLUSTER", "CANCEL_AND_WAIT", "CONTINUE"]

OVER: frozenset[str] = frozenset({"TERMINATED", "TERMINATED_WITH_ERRORS"})
"""States of a cluster that nothing follows."""


class ServiceError(Exception):
    """An answer that is an error: EMR's exception name, a message and the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def invalid(message: str) -> ServiceError:
    """Return the error EMR gives for a request that cannot be served."""
    return ServiceError("InvalidRequestException", message)


@dataclasses.dataclass
class Step:
    """One step of a cluster; changes only under its cluster's lock."""

    id: str
    name: str
    arguments: Sequence[str]
    action_on_failure: ActionOnFailure
    state: StepState = "PENDING"
    created: float = dataclasses.field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    failure: Mapping[str, str] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the shape of DescribeStep and ListSteps."""
        timeline = {
            "CreationDateTime": self.created,
            "StartDateTime": self.started,
            "EndDateTime": self.ended,
        }
        status = {
            "State": self.state,
            "StateChangeReason": {},
            "FailureDetails": self.failure,
            "Timeline": _present(timeline),
        }
        return {
            "Id": self.id,
            "Name": self.name,
            "Config": {"Jar": "command-runner.jar", "Properties": {}, "Args": list(self.arguments)},
            "ActionOnFailure": self.action_on_failure,
            "Status": _present(status),
        }


@dataclasses.dataclass
class Cluster:
    """What is known of a cluster; changes only under its lock."""

    id: str
    name: str
    request: Mapping[str, Any]
    tags: dict[str, str]
    keep_alive: bool
    idle_timeout: float | None
    protected: bool = False
    state: ClusterState = "STARTING"
    reason: Mapping[str, str] = dataclasses.field(default_factory=dict)
    created: float = dataclasses.field(default_factory=time.time)
    ready: float | None = None
    ended: float | None = None
    idle_since: float = dataclasses.field(default_factory=time.monotonic)
    steps: list[Step] = dataclasses.field(default_factory=list)

    @property
    def log_uri(self) -> str | None:
        return self.request.get("LogUri")

    @property
    def arn(self) -> str:
        return f"arn:aws:elasticmapreduce:local:000000000000:cluster/{self.id}"

    def summary(self) -> dict[str, Any]:
        """Return the shape of ListClusters."""
        timeline = {
            "CreationDateTime": self.created,
            "ReadyDateTime": self.ready,
            "EndDateTime": self.ended,
        }
        return {
            "Id": self.id,
            "Name": self.name,
            "Status": {
                "State": self.state,
                "StateChangeReason": dict(self.reason),
                "Timeline": _present(timeline),
            },
            "NormalizedInstanceHours": 0,
            "ClusterArn": self.arn,
        }

    def as_json(self) -> dict[str, Any]:
        """Return the shape of DescribeCluster."""
        asked = self.request
        details = {
            "LogUri": self.log_uri,
            "ReleaseLabel": asked.get("ReleaseLabel"),
            "ServiceRole": asked.get("ServiceRole"),
            "Applications": asked.get("Applications", []),
            "Configurations": asked.get("Configurations", []),
            "AutoTerminate": not self.keep_alive,
            "TerminationProtected": self.protected,
            "MasterPublicDnsName": "localhost",
            "StepConcurrencyLevel": 1,
            "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
        }
        return {**self.summary(), **_present(details)}


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}

"""The switch of a trigger: whether a person stopped its schedule or sensor in the Dagster UI.

Dagster has no public interface for this outside its web server; what is used of the instance here
is what its web server uses (dagster 1.13).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

if TYPE_CHECKING:
    from dagster._core.scheduler.instigation import InstigatorState

Kind = Literal["schedule", "sensor"]


@dataclass(frozen=True, slots=True)
class Switches:
    """The switches of one code location; `origin` is its origin, as a sensor's context has it."""

    instance: dg.DagsterInstance
    origin: Any
    repository: str

    def is_on(self, name: str, default: bool = True) -> bool:
        """Say whether a schedule or sensor runs; `default` is what its definition says."""
        state = self._state(name)
        if state is None or state.status.value == "DECLARED_IN_CODE":
            return default
        return state.is_running

    def since(self, name: str) -> datetime | None:
        """Return since when a schedule runs, None where that is not known."""
        return _started(self._state(name))

    def turn_off(self, name: str, kind: Kind) -> None:
        """Stop a schedule or sensor; it shows as stopped in the UI."""
        from dagster._core.scheduler.instigation import (
            InstigatorState,
            InstigatorStatus,
            InstigatorType,
            ScheduleInstigatorData,
            SensorInstigatorData,
        )

        state = self._state(name)
        if state is not None:
            self.instance.update_instigator_state(state.with_status(InstigatorStatus.STOPPED))
            return
        kinds = {
            "schedule": (InstigatorType.SCHEDULE, ScheduleInstigatorData("* * * * *", None)),
            "sensor": (InstigatorType.SENSOR, SensorInstigatorData()),
        }
        of_kind, data = kinds[kind]
        self.instance.add_instigator_state(
            InstigatorState(self._instigator(name), of_kind, InstigatorStatus.STOPPED, data)
        )

    def forget_skipped_ticks(self, name: str, before: datetime) -> None:
        """Delete the ticks of a schedule or sensor that started nothing."""
        from dagster._core.scheduler.instigation import TickStatus

        if self.origin is None:
            return
        origin = self._instigator(name)
        self.instance.purge_ticks(
            origin.get_id(),
            origin.get_selector().get_id(),
            before.timestamp(),
            tick_statuses=[TickStatus.SKIPPED],
        )

    def _state(self, name: str) -> InstigatorState | None:
        if self.origin is None:
            return None  # a sensor that is evaluated outside of a code location
        origin = self._instigator(name)
        return self.instance.get_instigator_state(
            origin.get_id(), origin.get_selector().get_id()
        )  # fmt: skip

    def _instigator(self, name: str) -> Any:
        from dagster._core.remote_origin import RemoteInstigatorOrigin, RemoteRepositoryOrigin

        return RemoteInstigatorOrigin(
            repository_origin=RemoteRepositoryOrigin(
                code_location_origin=self.origin, repository_name=self.repository
            ),
            instigator_name=name,
        )


def running_since(instance: dg.DagsterInstance, name: str) -> datetime | None:
    """Return since when a schedule of that name runs, whatever location it is of."""
    from dagster._core.definitions.run_request import InstigatorType

    states = instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
    found = [_started(state) for state in states if state.instigator_name == name]
    return max((moment for moment in found if moment is not None), default=None)


def _started(state: InstigatorState | None) -> datetime | None:
    stamp = getattr(state.instigator_data, "start_timestamp", None) if state else None
    return None if stamp is None else datetime.fromtimestamp(stamp, timezone.utc)

"""Google Workspace: spreadsheets, calendars, Drive; the connection that its tasks share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.gcp import GcpSpec
from kestra_dagster.tasks.logins import bearer
from kestra_dagster.tasks.rest import Rest, part, without_none

CALENDAR = "https://www.googleapis.com/calendar/v3"
_AUTH = "https://www.googleapis.com/auth/"


class Workspace(Rest, GcpSpec):
    """What all tasks of Google Workspace have."""

    read_timeout: Dynamic[int] = 120

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        return bearer(self.access_token())


class CalendarTime(Part):
    """A moment of a calendar."""

    date_time: Text | None = None
    time_zone: Text | None = None


class Attendee(Part):
    """Somebody who takes part."""

    display_name: Text | None = None
    email: Text | None = None


class Calendar(Workspace):
    """What all tasks of a calendar have."""

    calendar_id: Dynamic[Text]
    scopes: Dynamic[list[Text]] = Field(default_factory=lambda: [f"{_AUTH}calendar"])

    def root(self) -> str:
        return f"{CALENDAR}/calendars/{part(self.calendar_id)}"


class InsertEvent(Calendar):
    """Add an event to a calendar."""

    summary: Dynamic[Text]
    description: Dynamic[Text] | None = None
    location: Dynamic[Text] | None = None
    start_time: Dynamic[CalendarTime]
    end_time: Dynamic[CalendarTime]
    creator: Dynamic[Attendee] | None = None
    attendees: Dynamic[list[Attendee]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        event = {
            "summary": self.summary,
            "description": self.description,
            "location": self.location,
            "start": _told(self.start_time),
            "end": _told(self.end_time),
            "creator": _told(self.creator) if self.creator else None,
            "attendees": [_told(one) for one in self.attendees] if self.attendees else None,
        }
        made = self.call(context, "POST", "/events", json=without_none(event))
        return {"event": made}


class DeleteEvent(Calendar):
    """Delete an event of a calendar."""

    event_id: Dynamic[Text]

    def run(self, context: TaskContext) -> None:
        self.call(context, "DELETE", f"/events/{part(self.event_id)}")


class GetEvent(Calendar):
    """Fetch an event of a calendar."""

    event_id: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        return {"event": self.call(context, "GET", f"/events/{part(self.event_id)}")}


def _told(one: Part) -> dict[str, Any]:
    return one.model_dump(by_alias=True, exclude_none=True)

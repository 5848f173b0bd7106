"""Airtable: records of tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.fetching import FetchType, fetched
from kestra_dagster.tasks.rest import Rest, pages, part, without_none

BASE = "https://api.airtable.com"


class Airtable(Rest):
    """What all tasks of a table have."""

    base_id: Dynamic[Text]
    table_id: Dynamic[Text]
    api_key: Dynamic[Text]

    def root(self) -> str:
        return f"{BASE}/v0/{part(self.base_id)}/{part(self.table_id)}"

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}


class ListRecords(Airtable):
    """List the records of a table."""

    filter_by_formula: Dynamic[Text] | None = None
    fields: Dynamic[list[Text]] | None = None
    max_records: Dynamic[int] | None = None
    view: Dynamic[Text] | None = None
    enable_auto_pagination: Dynamic[bool] = False
    fetch_type: Dynamic[FetchType] = "FETCH"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        params = {
            "filterByFormula": self.filter_by_formula,
            "fields[]": self.fields or None,
            "maxRecords": self.max_records,
            "view": self.view,
        }

        def fetch(mark: Any) -> tuple[list[Any], Any]:
            answer = self.call(context, "GET", "", params={**params, "offset": mark})
            more = answer.get("offset") if self.enable_auto_pagination else None
            return answer.get("records") or [], more

        return fetched(pages(fetch), self.fetch_type, context)


class GetRecord(Airtable):
    """Fetch a record of a table."""

    record_id: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        return {"record": self.call(context, "GET", f"/{part(self.record_id)}")}


class CreateRecords(Airtable):
    """Add a record to a table, or up to ten."""

    fields: Dynamic[dict[str, Any]] | None = None
    records: Dynamic[list[dict[str, Any]]] | None = None
    typecast: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        if bool(self.fields) == bool(self.records):
            raise TaskMisconfigured("give either `fields` or `records`")
        rows = [self.fields] if self.fields else self.records or []
        body = {"records": [{"fields": row} for row in rows], "typecast": self.typecast}
        made = self.call(context, "POST", "", json=body)["records"]
        first = made[0] if made else None
        return {"record": first, "records": made, "recordIds": [one["id"] for one in made]}


class UpdateRecord(Airtable):
    """Change fields of a record."""

    record_id: Dynamic[Text]
    fields: Dynamic[dict[str, Any]]
    typecast: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        body = without_none({"fields": self.fields, "typecast": self.typecast})
        return {"record": self.call(context, "PATCH", f"/{part(self.record_id)}", json=body)}


class DeleteRecord(Airtable):
    """Delete a record."""

    record_id: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        self.call(context, "DELETE", f"/{part(self.record_id)}")
        return {"deletedRecordIds": [self.record_id], "deletedCount": 1}

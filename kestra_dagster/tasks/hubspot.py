"""HubSpot: contacts, companies, deals and tickets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.fetching import fetched
from kestra_dagster.tasks.rest import Rest, part, without_none

BASE = "https://api.hubapi.com"

_FIELDS: Mapping[str, Mapping[str, str]] = {
    "contacts": {
        "email": "email",
        "first_name": "firstname",
        "last_name": "lastname",
        "phone": "phone",
        "job_title": "jobtitle",
        "lifecycle_stage": "lifecyclestage",
    },
    "companies": {
        "name": "name",
        "domain": "domain",
        "company_description": "description",
        "industry": "industry",
        "company_type": "type",
    },
    "deals": {
        "name": "dealname",
        "pipeline": "pipeline",
        "stage": "dealstage",
        "amount": "amount",
        "close_date": "closedate",
        "deal_type": "dealtype",
    },
    "tickets": {
        "subject": "subject",
        "content": "content",
        "pipeline": "hs_pipeline",
        "stage": "hs_pipeline_stage",
        "priority": "hs_ticket_priority",
    },
}
"""Kind of object -> property of ours -> property of HubSpot."""
_TO_CONTACT, _TO_COMPANY = 3, 341
"""How a deal is associated, in HubSpot's numbers."""


class HubSpot(Rest):
    """What all tasks of HubSpot have."""

    kind: ClassVar[str]
    api_key: Dynamic[Text] | None = None
    oauth_token: Dynamic[Text] | None = None

    def root(self) -> str:
        return f"{BASE}/crm/v3/objects/{self.kind}"

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        token = self.oauth_token or self.api_key
        if not token:
            raise TaskMisconfigured("there are no credentials", hint="set `apiKey`")
        return {"Authorization": f"Bearer {token}"}

    def stored(self, record: Mapping[str, Any], context: TaskContext) -> dict[str, Any]:
        """Return the outputs that a record makes."""
        text = json.dumps(record.get("properties") or {}, ensure_ascii=False) + "\n"
        uri = context.storage.put(text.encode(), "record.ion")
        return {"id": int(record["id"]), "uri": uri}


class Written(HubSpot):
    """What is written of any object."""

    additional_properties: Dynamic[dict[str, Any]] | None = None
    associated_company_ids: Dynamic[list[int]] | None = None
    associated_contact_ids: Dynamic[list[int]] | None = None

    def body(self) -> dict[str, Any]:
        """Return the object in HubSpot's words."""
        names = _FIELDS[self.kind]
        own = {names[name]: getattr(self, name, None) for name in names}
        links = [
            {
                "to": {"id": number},
                "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": type_}],
            }
            for numbers, type_ in (
                (self.associated_company_ids, _TO_COMPANY),
                (self.associated_contact_ids, _TO_CONTACT),
            )
            for number in numbers or []
        ]
        properties = {**without_none(own), **(self.additional_properties or {})}
        return {"properties": properties, **({"associations": links} if links else {})}


class Created(Written):
    """A task that makes an object."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        return self.stored(self.call(context, "POST", "", json=self.body()), context)


class Changed(Written):
    """A task that changes an object."""

    record_id: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        path = f"/{part(self.record_id)}"
        return self.stored(self.call(context, "PATCH", path, json=self.body()), context)


class CreateContact(Created):
    """Make a contact."""

    kind: ClassVar[str] = "contacts"
    email: Dynamic[Text]
    first_name: Dynamic[Text] | None = None
    last_name: Dynamic[Text] | None = None
    phone: Dynamic[Text] | None = None
    job_title: Dynamic[Text] | None = None
    lifecycle_stage: Dynamic[Text] | None = None


class UpdateContact(Changed):
    """Change a contact."""

    kind: ClassVar[str] = "contacts"
    email: Dynamic[Text] | None = None
    first_name: Dynamic[Text] | None = None
    last_name: Dynamic[Text] | None = None
    phone: Dynamic[Text] | None = None
    job_title: Dynamic[Text] | None = None
    lifecycle_stage: Dynamic[Text] | None = None


class CreateCompany(Created):
    """Make a company."""

    kind: ClassVar[str] = "companies"
    name: Dynamic[Text]
    domain: Dynamic[Text]
    company_description: Dynamic[Text] | None = None
    industry: Dynamic[Text] | None = None
    company_type: Dynamic[Text] | None = None


class UpdateCompany(Changed):
    """Change a company."""

    kind: ClassVar[str] = "companies"
    name: Dynamic[Text] | None = None
    domain: Dynamic[Text] | None = None
    company_description: Dynamic[Text] | None = None
    industry: Dynamic[Text] | None = None
    company_type: Dynamic[Text] | None = None


class CreateDeal(Created):
    """Make a deal."""

    kind: ClassVar[str] = "deals"
    name: Dynamic[Text]
    pipeline: Dynamic[Text]
    stage: Dynamic[Text]
    amount: Dynamic[float] | None = None
    close_date: Dynamic[Text] | None = None
    deal_type: Dynamic[Text] | None = None


class UpdateDeal(Changed):
    """Change a deal."""

    kind: ClassVar[str] = "deals"
    name: Dynamic[Text] | None = None
    pipeline: Dynamic[Text] | None = None
    stage: Dynamic[Text] | None = None
    amount: Dynamic[float] | None = None
    close_date: Dynamic[Text] | None = None
    deal_type: Dynamic[Text] | None = None


class CreateTicket(Created):
    """Make a ticket."""

    kind: ClassVar[str] = "tickets"
    subject: Dynamic[Text] | None = None
    content: Dynamic[Text] | None = None
    pipeline: Dynamic[Text] | None = None
    stage: Dynamic[Text] = "1"
    priority: Dynamic[Literal["LOW", "MEDIUM", "HIGH"]] | None = None


class Search(HubSpot):
    """Find objects."""

    query: Dynamic[Text] | None = None
    filter_groups: Dynamic[list[dict[str, Any]]] | None = None
    properties: Dynamic[list[Text]] | None = None
    limit: Dynamic[int] = 10
    after: Dynamic[Text] | None = None
    sorts: Dynamic[list[dict[str, Text]]] | None = None
    fetch_all_pages: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        body = {
            "query": self.query,
            "filterGroups": self.filter_groups,
            "properties": self.properties,
            "limit": self.limit,
            "sorts": self.sorts,
        }
        found: list[Any] = []
        after = self.after
        while True:
            asked = without_none({**body, "after": after})
            answer = self.call(context, "POST", "/search", json=asked)
            found += [one.get("properties") or {} for one in answer.get("results") or []]
            after = ((answer.get("paging") or {}).get("next") or {}).get("after")
            if not self.fetch_all_pages or after is None:
                kept = fetched(found, "STORE", context)
                return {"total": len(found), "uri": kept["uri"]}


class Get(HubSpot):
    """Fetch an object."""

    record_id: Dynamic[Text]
    properties: Dynamic[list[Text]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        wanted = {"properties": ",".join(self.properties)} if self.properties else {}
        path = f"/{part(self.record_id)}"
        return self.stored(self.call(context, "GET", path, params=wanted), context)


class Delete(HubSpot):
    """Delete an object."""

    record_id: Dynamic[Text]

    def run(self, context: TaskContext) -> None:
        self.call(context, "DELETE", f"/{part(self.record_id)}")


def hubspot_type(type_name: str) -> type[HubSpot]:
    """Make the class of `io.kestra.plugin.hubspot.<kind>.{Search,Get,Delete}`."""
    kind, name = type_name.split(".")[-2:]
    model = {"Search": Search, "Get": Get, "Delete": Delete}[name]
    one = {"companies": "company"}.get(kind, kind.removesuffix("s"))
    about = {"Search": f"Find {kind}.", "Get": f"Fetch a {one}.", "Delete": f"Delete a {one}."}
    meta: Any = type(model)
    return meta(name, (model,), {"__module__": __name__, "__doc__": about[name], "kind": kind})

"""Salesforce by its API: records queried, created, changed and deleted (`ee.salesforce`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from pydantic import Field, PrivateAttr

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.data_from import DataFrom, each_map
from kestra_dagster.tasks.fetching import FetchType, fetched
from kestra_dagster.tasks.http_client import Outgoing, exchange
from kestra_dagster.tasks.http_options import HttpOptions
from kestra_dagster.tasks.rest import Rest, part

VERSION = "v60.0"
_MOST = 200
"""Records a request."""
_LOGIN = """<?xml version="1.0" encoding="utf-8"?>
<env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/"><env:Body>
<n1:login xmlns:n1="urn:partner.soap.sforce.com"><n1:username>{user}</n1:username>
<n1:password>{password}</n1:password></n1:login></env:Body></env:Envelope>"""


class Connection(Part):
    """As whom; the security token follows the password, where one is needed."""

    username: Text
    password: Text
    auth_endpoint: Text = "https://login.salesforce.com/services/Soap/u/60.0"


class Salesforce(Rest):
    """What all tasks of Salesforce have."""

    connection: Dynamic[Connection]
    _session: dict[str, str] = PrivateAttr(default_factory=dict)

    def root(self) -> str:
        return f"{self._session['server']}/services/data/{VERSION}"

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._session['id']}"}

    def login(self, context: TaskContext) -> None:
        """Begin a session; its server is the one that knows the user."""
        who = self.connection
        url = who.auth_endpoint
        if "/services/" not in url:
            url = f"{url.rstrip('/')}/services/Soap/u/{VERSION[1:]}"
        body = _LOGIN.format(user=escape(who.username), password=escape(who.password))
        headers = {"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": "login"}
        options = (self.options or HttpOptions()).model_copy(update={"allow_failed": True})
        outgoing = Outgoing("POST", url, headers=headers, body={"content": body.encode()})
        with exchange(outgoing, options, context) as response:
            text = response.read()
        try:
            found = {
                one.tag.rpartition("}")[2]: one.text for one in ElementTree.fromstring(text).iter()
            }
        except ElementTree.ParseError as error:
            raise TaskMisconfigured(
                f"`{url}` does not answer as Salesforce's login does",
                hint="check `connection.authEndpoint`",
            ) from error
        if not found.get("sessionId"):
            raise TaskMisconfigured(
                f"Salesforce refused the login: {found.get('faultstring') or 'no reason is given'}",
                hint="check `connection`; outside of trusted networks the security token follows "
                "the password",
            )
        server = (found.get("serverUrl") or url).partition("/services/")[0]
        self._session.update(id=found["sessionId"] or "", server=server)


class Query(Salesforce):
    """Ask for records by SOQL."""

    query: Dynamic[Text]
    fetch_type: Dynamic[FetchType] = "STORE"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        self.login(context)

        def rows() -> Iterator[Any]:
            answer = self.call(context, "GET", "/query", params={"q": self.query})
            while True:
                yield from (_row(record) for record in answer["records"])
                if answer.get("done", True):
                    return
                context.cancel.check()
                url = f"{self._session['server']}{answer['nextRecordsUrl']}"
                answer = self.call(context, "GET", url)

        found = fetched(rows(), self.fetch_type, context)
        context.metric("fetch.size", found["size"])
        return found


class _Records(Salesforce):
    """A task about records of an object."""

    object_name: Dynamic[Text]

    def gathered(self, answers: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return the ids of records; raise TaskFailed where one was refused."""
        wrong = [one for one in answers if not one.get("success")]
        outputs = {"ids": [one.get("id") for one in answers], "count": len(answers)}
        if wrong:
            told = "; ".join(each.get("message", "") for one in wrong for each in one["errors"])
            raise TaskFailed(
                f"Salesforce refused {len(wrong)} of {len(answers)} records: {told}",
                outputs=outputs,
            )
        return outputs


class Create(_Records):
    """Create records."""

    records: DataFrom

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        return self.gathered(self._each(context, "POST"))

    def _each(self, context: TaskContext, method: str) -> list[Mapping[str, Any]]:
        self.login(context)
        kind = {"attributes": {"type": self.object_name}}
        found: list[Mapping[str, Any]] = []
        for some in _some([{**kind, **row} for row in each_map(self.records, context)]):
            context.cancel.check()
            asked = {"allOrNone": False, "records": some}
            found += self.call(context, method, "/composite/sobjects", json=asked)
        return found


class Update(Create):
    """Change records, each of which has its `Id`."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        return self.gathered(self._each(context, "PATCH"))


class Delete(_Records):
    """Delete records by their ids."""

    records: DataFrom | None = None
    ids: Dynamic[list[Text]] = Field(default_factory=list)

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        self.login(context)
        rows = each_map(self.records, context) if self.records is not None else ()
        ids = [*self.ids, *(str(row.get("Id") or row.get("id")) for row in rows)]
        found: list[Mapping[str, Any]] = []
        for some in _some(ids):
            context.cancel.check()
            path = f"/composite/sobjects?ids={','.join(map(part, some))}&allOrNone=false"
            found += self.call(context, "DELETE", path)
        return self.gathered(found)


def _some(items: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), _MOST):
        yield list(items[start : start + _MOST])


def _row(record: Any) -> Any:
    """Return a record without what Salesforce says of its kind, at every depth."""
    if isinstance(record, Mapping):
        return {name: _row(value) for name, value in record.items() if name != "attributes"}
    return [_row(one) for one in record] if isinstance(record, list) else record

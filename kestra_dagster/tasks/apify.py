"""Apify: actors that are run, and the data sets they leave."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Literal

from kestra_dagster.errors import TaskMisconfigured
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.rest import Rest, part

BASE = "https://api.apify.com"


class Apify(Rest):
    """What all tasks of Apify have."""

    api_token: Dynamic[Text]

    def root(self) -> str:
        return f"{BASE}/v2"

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.api_token}"}


class RunActor(Apify):
    """Run an actor."""

    actor_id: Dynamic[Text]
    input: Dynamic[dict[str, Any]] | None = None
    request_timeout: Dynamic[float] | None = None
    memory: Dynamic[Text] | None = None
    max_items: Dynamic[int] | None = None
    max_total_charge_usd: Dynamic[float] | None = None
    build: Dynamic[Text] | None = None
    wait_for_finish: Dynamic[int] | None = None
    webhooks: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        params = {
            "timeout": int(self.request_timeout) if self.request_timeout else None,
            "memory": "".join(filter(str.isdigit, self.memory)) if self.memory else None,
            "maxItems": self.max_items,
            "maxTotalChargeUsd": self.max_total_charge_usd,
            "build": self.build,
            "waitForFinish": self.wait_for_finish,
            "webhooks": self._webhooks(),
        }
        path = f"/acts/{part(self.actor_id.replace('/', '~'))}/runs"
        return self.call(context, "POST", path, params=params, json=self.input or {})["data"]

    def _webhooks(self) -> str | None:
        if self.webhooks is None:
            return None
        try:
            json.loads(b64decode(self.webhooks))
        except ValueError as error:
            raise TaskMisconfigured("`webhooks` is not JSON in Base64") from error
        return self.webhooks


class DataSet(Apify):
    """What all tasks of a data set have."""

    dataset_id: Dynamic[Text]
    clean: Dynamic[bool] = True
    offset: Dynamic[int] = 0
    limit: Dynamic[int] = 1000
    fields: Dynamic[list[Text]] | None = None
    omit: Dynamic[list[Text]] | None = None
    unwind: Dynamic[list[Text]] | None = None
    flatten: Dynamic[bool | list[Text]] = False
    sort: Dynamic[Literal["ASC", "DESC"]] = "ASC"
    skip_empty: Dynamic[bool] = True
    skip_failed_pages: Dynamic[bool] = False
    skip_hidden: Dynamic[bool] = False
    simplified: Dynamic[bool] = False
    view: Dynamic[Text] | None = None

    def items(self, context: TaskContext, kind: str = "json") -> Any:
        """Fetch the items in a format."""
        flat = self.flatten if isinstance(self.flatten, list) else None
        params = {
            "format": kind,
            "clean": _flag(self.clean),
            "offset": self.offset,
            "limit": self.limit,
            "fields": _joined(self.fields),
            "omit": _joined(self.omit),
            "unwind": _joined(self.unwind),
            "flatten": _joined(flat),
            "desc": _flag(self.sort == "DESC"),
            "skipEmpty": _flag(self.skip_empty),
            "skipFailedPages": _flag(self.skip_failed_pages),
            "skipHidden": _flag(self.skip_hidden),
            "simplified": _flag(self.simplified),
            "view": self.view,
        }
        return self.call(context, "GET", f"/datasets/{part(self.dataset_id)}/items", params=params)


class GetDataSet(DataSet):
    """Fetch the items of a data set."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        return {"dataset": self.items(context)}


class SaveDataSet(DataSet):
    """Store the items of a data set as a file."""

    format: Dynamic[Text] = "JSON"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        kind = self.format.lower()
        found = self.items(context, kind)
        text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
        return {"path": context.storage.put(text.encode(), f"dataset.{kind}")}


def _joined(names: list[str] | None) -> str | None:
    return ",".join(names) if names else None


def _flag(value: bool) -> str:
    return "true" if value else "false"

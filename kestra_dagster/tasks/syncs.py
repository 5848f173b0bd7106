"""Jobs of other data services that are started and waited for: dbt Cloud, Fivetran, Hightouch."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.logins import basic
from kestra_dagster.tasks.rest import Rest, part, until, without_none

FIVETRAN = "https://api.fivetran.com"
HIGHTOUCH = "https://api.hightouch.com"
_SUCCESS, _ERROR, _CANCELLED = 10, 20, 30


class DbtCloud(Rest):
    """What all tasks of dbt Cloud have."""

    account_id: Dynamic[Text]
    token: Dynamic[Text]
    base_url: Dynamic[Text] = "https://cloud.getdbt.com"
    poll_frequency: Dynamic[Duration] = timedelta(seconds=5)
    max_duration: Dynamic[Duration] = timedelta(hours=1)
    parse_run_results: Dynamic[bool] = True

    def root(self) -> str:
        return f"{self.base_url.rstrip('/')}/api/v2/accounts/{part(self.account_id)}"

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        return {"Authorization": f"Token {self.token}"}

    def run_end(self, run_id: Any, context: TaskContext) -> dict[str, Any]:
        """Wait until a run has ended, keep what it made; raise TaskFailed unless it ended well."""

        def look() -> Any:
            found = self.call(context, "GET", f"/runs/{part(run_id)}/")["data"]
            return found if found["status"] in (_SUCCESS, _ERROR, _CANCELLED) else None

        what = f"the dbt Cloud run {run_id}"
        run = until(look, self.poll_frequency, self.max_duration, context, what)
        outputs: dict[str, Any] = {"runId": str(run_id)}
        if self.parse_run_results and run["status"] != _CANCELLED:
            for name, file in (("runResults", "run_results.json"), ("manifest", "manifest.json")):
                kept = self._artifact(run_id, file, context)
                if kept:
                    outputs[name] = kept
        if run["status"] != _SUCCESS:
            told = run.get("status_message") or run.get("status_humanized") or run["status"]
            raise TaskFailed(f"{what} ended: {told}", outputs=outputs)
        return outputs

    def _artifact(self, run_id: Any, file: str, context: TaskContext) -> str | None:
        import json

        try:
            found = self.call(context, "GET", f"/runs/{part(run_id)}/artifacts/{file}")
        except TaskFailed as error:
            context.log.debug(f"the run has no `{file}`: {error}")
            return None
        return context.storage.put(json.dumps(found).encode(), file)


class TriggerRun(DbtCloud):
    """Start a job of dbt Cloud, and wait for its end."""

    ignored: ClassVar[Mapping[str, str]] = {"reattach": "each attempt starts a run of its own"}
    job_id: Dynamic[Text]
    cause: Dynamic[Text] = "Triggered by Kestra."
    wait: Dynamic[bool] = True
    git_sha: Dynamic[Text] | None = None
    git_branch: Dynamic[Text] | None = None
    schema_override: Dynamic[Text] | None = None
    dbt_version_override: Dynamic[Text] | None = None
    threads_override: Dynamic[Text] | None = None
    target_name_override: Dynamic[Text] | None = None
    generate_docs_override: Dynamic[bool] | None = None
    timeout_seconds_override: Dynamic[int] | None = None
    steps_override: Dynamic[list[Text]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        body = {
            "cause": self.cause,
            "git_sha": self.git_sha,
            "git_branch": self.git_branch,
            "schema_override": self.schema_override,
            "dbt_version_override": self.dbt_version_override,
            "threads_override": self.threads_override,
            "target_name_override": self.target_name_override,
            "generate_docs_override": self.generate_docs_override,
            "timeout_seconds_override": self.timeout_seconds_override,
            "steps_override": self.steps_override or None,
        }
        path = f"/jobs/{part(self.job_id)}/run/"
        run = self.call(context, "POST", path, json=without_none(body))["data"]
        context.log.info(f"started the dbt Cloud run {run['id']}: {run.get('href', '')}")
        return self.run_end(run["id"], context) if self.wait else {"runId": str(run["id"])}


class CheckStatus(DbtCloud):
    """Wait for the end of a run of dbt Cloud."""

    run_id: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        outputs = self.run_end(self.run_id, context)
        return {key: value for key, value in outputs.items() if key != "runId"}


class FivetranSync(Rest):
    """Synchronise a connector of Fivetran."""

    api_key: Dynamic[Text]
    api_secret: Dynamic[Text]
    connector_id: Dynamic[Text]
    force: Dynamic[bool] = False
    wait: Dynamic[bool] = True
    max_duration: Dynamic[Duration] = timedelta(hours=1)

    def root(self) -> str:
        return FIVETRAN

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        return basic(self.api_key, self.api_secret)

    def run(self, context: TaskContext) -> None:
        path = f"/v2/connectors/{part(self.connector_id)}"
        before = _completed(self.call(context, "GET", path)["data"])
        self.call(context, "POST", f"{path}/sync", json={"force": self.force})
        context.log.info(f"started a synchronisation of `{self.connector_id}`")
        if not self.wait:
            return

        def look() -> Any:
            found = self.call(context, "GET", path)["data"]
            return found if _completed(found) > before else None

        what = f"the synchronisation of `{self.connector_id}`"
        found = until(look, timedelta(seconds=1), self.max_duration, context, what)
        if (found.get("failed_at") or "") > (found.get("succeeded_at") or ""):
            raise TaskFailed(f"{what} failed at {found['failed_at']}")


class HightouchSync(Rest):
    """Run a synchronisation of Hightouch."""

    token: Dynamic[Text]
    sync_id: Dynamic[int]
    full_resynchronization: Dynamic[bool] = False
    wait: Dynamic[bool] = True
    max_duration: Dynamic[Duration] = timedelta(minutes=5)

    def root(self) -> str:
        return f"{HIGHTOUCH}/api/v1"

    def headers(self, context: TaskContext) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        path = f"/syncs/{self.sync_id}"
        body = {"fullResync": self.full_resynchronization}
        run_id = self.call(context, "POST", f"{path}/trigger", json=body)["id"]
        context.log.info(f"started the run {run_id} of the Hightouch sync {self.sync_id}")
        if self.wait:

            def look() -> Any:
                (found,) = self.call(context, "GET", f"{path}/runs", params={"runId": run_id})[
                    "data"
                ]
                return found if found["status"] in ("success", "failed", "cancelled") else None

            what = f"the Hightouch run {run_id}"
            found = until(look, timedelta(seconds=1), self.max_duration, context, what)
            if found["status"] != "success":
                told = found.get("error") or found["status"]
                raise TaskFailed(f"{what} ended: {told}", outputs={"runId": run_id})
            for kind in ("successful", "failed"):
                for how, count in (found.get(f"{kind}Rows") or {}).items():
                    context.metric(f"rows.{kind}.{how.removesuffix('Count')}", count)
        return {"runId": run_id}


def _completed(connector: Mapping[str, Any]) -> str:
    """Return when a connector ended last; such times compare as texts."""
    return max(connector.get("succeeded_at") or "", connector.get("failed_at") or "")

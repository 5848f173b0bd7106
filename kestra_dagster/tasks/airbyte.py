"""Airbyte: connections synchronised, on a server of one's own or in its cloud."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from pydantic import Field

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.flow.parts import Part
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.http_failures import Refused
from kestra_dagster.tasks.logins import basic, bearer
from kestra_dagster.tasks.rest import Rest, until

CLOUD = "https://api.airbyte.com/v1"
_ENDED = ("succeeded", "failed", "cancelled", "incomplete")


class ApplicationCredentials(Part):
    """An application of Airbyte, which gets a token of its own."""

    client_id: Text
    client_secret: Text


class Airbyte(Rest):
    """What all tasks of an own Airbyte have."""

    ignored: ClassVar[Mapping[str, str]] = {
        "httpTimeout": "`options` tells how long to wait, as in Kestra"
    }
    url: Dynamic[Text]
    username: Dynamic[Text] | None = None
    password: Dynamic[Text] | None = None
    token: Dynamic[Text] | None = None
    application_credentials: Dynamic[ApplicationCredentials] | None = None
    poll_frequency: Dynamic[Duration] = timedelta(seconds=1)
    max_duration: Dynamic[Duration] = timedelta(hours=1)

    def root(self) -> str:
        return f"{self.url.rstrip('/')}/api/v1"

    def authorized(self, context: TaskContext) -> dict[str, str]:
        """Return the header that says who asks."""
        if self.application_credentials:
            own = self.application_credentials
            asked = {"client_id": own.client_id, "client_secret": own.client_secret}
            body = {**asked, "grant-type": "client_credentials"}
            token = self.call(context, "POST", "/applications/token", json=body)["access_token"]
            return {"Authorization": f"Bearer {token}"}
        return _login(self.token, self.username, self.password)

    def job_end(self, job_id: Any, login: Mapping[str, str], context: TaskContext) -> None:
        """Wait until a job has ended; raise TaskFailed unless it ended well."""

        def look() -> str | None:
            told = self.call(context, "POST", "/jobs/get", json={"id": job_id}, headers=login)
            status = str(told["job"]["status"])
            return status if status in _ENDED else None

        status = until(
            look, self.poll_frequency, self.max_duration, context, f"the Airbyte job {job_id}"
        )
        context.log.info(f"the Airbyte job {job_id} ended: {status}")
        if status != "succeeded":
            raise TaskFailed(f"the Airbyte job {job_id} ended: {status}", outputs={"jobId": job_id})


class Sync(Airbyte):
    """Synchronise a connection of Airbyte."""

    connection_id: Dynamic[Text]
    wait: Dynamic[bool] = True
    fail_on_active_sync: Dynamic[bool] = True

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        login = self.authorized(context)
        try:
            told = self.call(
                context,
                "POST",
                "/connections/sync",
                json={"connectionId": self.connection_id},
                headers=login,
            )
        except Refused as error:
            running = error.status == 409 or "already running" in error.message
            if self.fail_on_active_sync or not running:
                raise
            context.log.warn("a synchronisation is running already")
            return {"alreadyRunning": True}
        job_id = told["job"]["id"]
        context.log.info(f"started the Airbyte job {job_id}")
        if self.wait:
            self.job_end(job_id, login, context)
        return {"jobId": job_id, "alreadyRunning": False}


class CheckStatus(Airbyte):
    """Wait for the end of a job of Airbyte."""

    job_id: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        job_id = int(self.job_id) if self.job_id.isdecimal() else self.job_id
        self.job_end(job_id, self.authorized(context), context)
        return {"finalJobStatus": "succeeded"}


class CloudSync(Rest):
    """Synchronise a connection of Airbyte's cloud."""

    kind: ClassVar[str] = "sync"
    connection_id: Dynamic[Text]
    token: Dynamic[Text] | None = None
    client_id: Dynamic[Text] | None = None
    client_secret: Dynamic[Text] | None = None
    token_url: Dynamic[Text] | None = Field(default=None, alias="tokenURL")
    username: Dynamic[Text] | None = None
    password: Dynamic[Text] | None = None
    wait: Dynamic[bool] = True
    max_duration: Dynamic[Duration] = timedelta(hours=1)
    poll_frequency: Dynamic[Duration] = timedelta(seconds=1)

    def root(self) -> str:
        return CLOUD

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        login = self._authorized(context)
        body = {"connectionId": self.connection_id, "jobType": self.kind}
        job = self.call(context, "POST", "/jobs", json=body, headers=login)
        context.log.info(f"started the Airbyte job {job['jobId']}")
        if self.wait:
            number = job["jobId"]

            def look() -> Any:
                found = self.call(context, "GET", f"/jobs/{number}", headers=login)
                return found if found.get("status") in _ENDED else None

            job = until(
                look, self.poll_frequency, self.max_duration, context, f"the Airbyte job {number}"
            )
            for metric, name in (("bytes_synced", "bytesSynced"), ("rows_synced", "rowsSynced")):
                if job.get(name) is not None:
                    context.metric(metric, job[name])
            if job["status"] != "succeeded":
                raise TaskFailed(f"the Airbyte job {number} ended: {job['status']}")
        return {"job": job}

    def _authorized(self, context: TaskContext) -> dict[str, str]:
        if self.token is None and self.client_id and self.client_secret:
            body = {"client_id": self.client_id, "client_secret": self.client_secret}
            url = self.token_url or f"{self.root()}/applications/token"
            token = self.call(context, "POST", url, json=body)["access_token"]
            return {"Authorization": f"Bearer {token}"}
        login = _login(self.token, self.username, self.password)
        if not login:
            raise TaskMisconfigured(
                "there are no credentials", hint="set `token`, or `clientId` and `clientSecret`"
            )
        return login


class CloudReset(CloudSync):
    """Reset a connection of Airbyte's cloud."""

    kind: ClassVar[str] = "reset"


def _login(token: str | None, username: str | None, password: str | None) -> dict[str, str]:
    if token:
        return bearer(token)
    if username and password:
        return basic(username, password)
    return {}

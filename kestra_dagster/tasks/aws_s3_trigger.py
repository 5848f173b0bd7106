"""aws.s3.Trigger: fetch new objects of a bucket, then move or delete them, or remember them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from pydantic import Field

from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws_failures import aws_errors
from kestra_dagster.tasks.aws_s3_download import Downloads, described, fetch
from kestra_dagster.tasks.polling import Found, Poll
from kestra_dagster.tasks.sightings import On, sighted


class S3Poll(Downloads, Poll):
    """Look for objects, as `s3.Downloads` chooses them.

    What was handed to an execution is remembered together with it, and only then moved or deleted:
    an object is neither lost nor handled twice, wherever the process stops in between.
    """

    on: Dynamic[On] = "CREATE_OR_UPDATE"
    state_key: Dynamic[Text] | None = None
    state_ttl: Dynamic[Duration] | None = None
    max_files: Dynamic[int] = Field(default=25, ge=1)

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        with aws_errors(f"look into bucket `{self.bucket}`"):
            client = self.client("s3")
            listed = {each["Key"]: each for each in self.chosen(client, context)}
            seen = sighted(
                {key: _version(each) for key, each in listed.items()},
                memory.get(self.state_key or "", {}),
                datetime.now(timezone.utc),
                on=self.on,
                ttl=self.state_ttl,
                most=self.max_files,
                taken_away=self.action != "NONE",
            )
            objects = [
                self._fetched(client, {**listed[key], "changeType": change}, context)
                for key, change in seen.fresh.items()
                if not key.endswith("/")
            ]
        kept = {**memory, self.state_key or "": seen.memory}
        outputs = {"objects": objects} if objects else None
        return Found(outputs, kept, lambda: self._take_away(seen.done))

    def _fetched(
        self, client: Any, found: Mapping[str, Any], context: TaskContext
    ) -> dict[str, Any]:
        uri = fetch(client, self.bucket, found["Key"], context, **self.common())["uri"]
        return {**described(found), "uri": uri, "changeType": found["changeType"]}

    def _take_away(self, versions: Mapping[str, str]) -> None:
        """Move or delete objects, unless another version has taken their place meanwhile."""
        if self.action == "NONE" or not versions:
            return
        with aws_errors(f"{self.action.lower()} objects of bucket `{self.bucket}`"):
            client = self.client("s3")
            for key, version in versions.items():
                now = client.list_objects_v2(
                    Bucket=self.bucket, Prefix=key, MaxKeys=1, **self.common()
                )
                there = [each for each in now.get("Contents", ()) if each["Key"] == key]
                if there and _version(there[0]) == version:
                    self.finish(client, key)


def _version(found: Mapping[str, Any]) -> str:
    return f"{found.get('ETag')}@{found['LastModified'].isoformat()}"

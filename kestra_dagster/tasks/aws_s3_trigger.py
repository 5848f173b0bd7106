"""aws.s3.Trigger: fetch new objects of a bucket, then move or delete them, or remember them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws_failures import aws_errors
from kestra_dagster.tasks.aws_s3_download import Downloads, described, fetch
from kestra_dagster.tasks.polling import Found, Poll


class S3Poll(Downloads, Poll):
    """Look for objects, as `s3.Downloads` chooses them.

    What was handed to an execution is remembered together with it, and only then moved or deleted:
    an object is neither lost nor handled twice, wherever the process stops in between.
    """

    on: Dynamic[Literal["CREATE", "UPDATE", "CREATE_OR_UPDATE"]] = "CREATE_OR_UPDATE"
    state_key: Dynamic[Text] | None = None
    state_ttl: Dynamic[Duration] | None = None
    max_files: Dynamic[int] = Field(default=25, ge=1)

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        now = datetime.now(timezone.utc)
        with aws_errors(f"look into bucket `{self.bucket}`"):
            client = self.client("s3")
            seen = self._remembered(memory.get(self.state_key or "", {}), now)
            listed: dict[str, str] = {}
            fresh: list[dict[str, Any]] = []
            leftover: list[str] = []
            for each in self.chosen(client, context):
                key, version = each["Key"], _version(each)
                listed[key] = version
                known = seen.get(key)
                if known is not None and known["version"] == version:
                    leftover.append(key)
                elif len(fresh) < self.max_files and self._wanted(known):
                    change = "CREATE" if self._is_new(known) else "UPDATE"
                    fresh.append({**each, "changeType": change})
                elif not self._wanted(known):
                    seen[key] = {"version": version, "at": now.isoformat()}
            taken = [each for each in fresh if not each["Key"].endswith("/")]
            objects = [self._fetched(client, each, context) for each in taken]
            for each in fresh:
                seen[each["Key"]] = {"version": _version(each), "at": now.isoformat()}
            if self.action != "NONE":
                # What is gone from the bucket needs no memory; what is not yet gone is finished.
                seen = {key: value for key, value in seen.items() if key in listed}
        done = {key: listed[key] for key in (*(each["Key"] for each in fresh), *leftover)}
        kept = {**memory, self.state_key or "": seen}
        outputs = {"objects": objects} if objects else None
        return Found(outputs, kept, lambda: self._take_away(done))

    def _wanted(self, known: Mapping[str, str] | None) -> bool:
        return self.on == "CREATE_OR_UPDATE" or self._is_new(known) == (self.on == "CREATE")

    def _is_new(self, known: Mapping[str, str] | None) -> bool:
        # Where objects are taken away, another one of the same name is a new one.
        return known is None or self.action != "NONE"

    def _remembered(self, seen: Mapping[str, Any], now: datetime) -> dict[str, Any]:
        if self.state_ttl is None:
            return dict(seen)
        oldest = now - self.state_ttl
        return {
            key: value
            for key, value in seen.items()
            if datetime.fromisoformat(value["at"]) >= oldest
        }

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

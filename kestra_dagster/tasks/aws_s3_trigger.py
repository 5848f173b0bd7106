"""aws.s3.Trigger: fetch new objects of a bucket, then move or delete them, or remember them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws_failures import aws_errors
from kestra_dagster.tasks.aws_s3_download import Downloads
from kestra_dagster.tasks.polling import Found
from kestra_dagster.tasks.watching import Watching


class S3Poll(Downloads, Watching):
    """Look for objects, as `s3.Downloads` chooses them."""

    def poll(self, context: TaskContext, memory: Mapping[str, Any]) -> Found:
        with aws_errors(f"look into bucket `{self.bucket}`"):
            client = self.client("s3")
            listed = {each["Key"]: each for each in self.chosen(client, context)}
            seen = self.look(
                {key: _version(each) for key, each in listed.items()},
                memory,
                most=self.max_files,
                taken_away=self.action != "NONE",
            )
            objects = [
                {**self.fetched(client, listed[key], context), "changeType": change}
                for key, change in seen.fresh.items()
                if not key.endswith("/")
            ]
        outputs = {"objects": objects} if objects else None
        return Found(outputs, seen.memory, lambda: self._take_away(seen.done))

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

"""S3: what the tasks that work on a bucket have in common."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

from pydantic import Field

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.aws import AwsSpec
from kestra_dagster.tasks.path_pattern import path_pattern

Encryption = Literal["AES256", "AWS_KMS", "AWS_KMS_DSSE", "aws:kms", "aws:kms:dsse"]


class S3Spec(AwsSpec):
    """The properties of every task that works on a bucket."""

    bucket: Dynamic[Text]
    request_payer: Dynamic[Text] | None = None
    expected_bucket_owner: Dynamic[Text] | None = None

    def common(self) -> dict[str, str]:
        """The arguments that nearly every S3 operation takes."""
        return given(
            RequestPayer=self.request_payer, ExpectedBucketOwner=self.expected_bucket_owner
        )


class S3Listing(S3Spec):
    """The properties that choose objects of a bucket."""

    prefix: Dynamic[Text] | None = None
    delimiter: Dynamic[Text] | None = None
    marker: Dynamic[Text] | None = None
    encoding_type: Dynamic[Text] | None = None
    max_keys: Dynamic[int] = Field(default=1000, ge=1)
    """How many keys one request to S3 asks for."""
    regexp: Dynamic[Text] | None = None
    filter: Dynamic[Literal["FILES", "DIRECTORY", "BOTH"]] = "BOTH"

    def chosen(self, client: Any, context: TaskContext) -> Iterator[dict[str, Any]]:
        """Yield what is there and fits the filters, as S3 describes it."""
        pattern = path_pattern(self.regexp, "regexp")
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket,
            FetchOwner=True,
            PaginationConfig={"PageSize": self.max_keys},
            **self.common(),
            **given(Prefix=self.prefix, Delimiter=self.delimiter, StartAfter=self.marker),
        )
        for page in pages:
            context.cancel.check()
            for found in page.get("Contents", ()):
                folder = found["Key"].endswith("/")
                wanted = self.filter == "BOTH" or folder == (self.filter == "DIRECTORY")
                if wanted and pattern.fullmatch(found["Key"]):
                    yield found

    def first(self, client: Any, context: TaskContext, most: int) -> list[dict[str, Any]]:
        """Return at most `most` of the chosen objects, and warn when there are more."""
        found = list(islice(self.chosen(client, context), most + 1))
        if len(found) > most:
            context.log.warn(
                f"more than {most} objects match; only the first {most} are taken "
                "(raise `maxFiles` for more)"
            )
        return found[:most]


def given(**arguments: Any) -> dict[str, Any]:
    """Return the arguments that have a value."""
    return {name: value for name, value in arguments.items() if value not in (None, "")}


def encryption(value: str | None) -> str | None:
    """Return the wire name of an encryption that may be written as in Java."""
    return value.lower().replace("_", ":") if value and value.startswith("AWS_") else value

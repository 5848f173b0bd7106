"""`io.kestra.plugin.minio`: the tasks of S3, for stores that are like it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pydantic import Field

from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.tasks.polling import polling_type

_PLACES = {
    "aws_s3_download": ("Download", "Downloads", "List"),
    "aws_s3_objects": ("Copy", "CreateBucket", "Delete", "DeleteList"),
    "aws_s3_upload": ("Upload",),
}


def minio_type(type_name: str) -> Any:
    """Return the class of a type: that of S3 which has its name, where `endpoint` says."""
    name = type_name.rpartition(".")[2]
    if name == "Trigger":
        base: Any = polling_type("io.kestra.plugin.aws.s3.Trigger")
    else:
        module = next(place for place, names in _PLACES.items() if name in names)
        base = getattr(import_module(f"kestra_dagster.tasks.{module}"), name)

    class Minio(base):
        endpoint_override: Dynamic[Text] | None = Field(default=None, alias="endpoint")
        region: Dynamic[Text] | None = "us-east-1"

    Minio.__doc__ = base.__doc__
    Minio.__name__ = name
    return Minio

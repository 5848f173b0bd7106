"""BigQuery: datasets made, changed and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.gcp import gcp_errors
from kestra_dagster.tasks.gcp_bigquery import BigQuerySpec, given


class Part(BaseModel):
    """A map within the properties of a task."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class Encryption(Part):
    """With which key."""

    kms_key_name: Text


class Entity(Part):
    """Who is given access."""

    type: Literal["USER", "GROUP", "DOMAIN", "IAM_MEMBER"]
    value: Text


class AccessControl(Part):
    """What somebody may do."""

    entity: Entity
    role: Literal["READER", "WRITER", "OWNER"]


_ENTITIES = {
    "USER": "userByEmail",
    "GROUP": "groupByEmail",
    "DOMAIN": "domain",
    "IAM_MEMBER": "iamMember",
}


class _DatasetSpec(BigQuerySpec):
    name: Dynamic[Text]
    acl: Dynamic[list[AccessControl]] | None = None
    default_table_lifetime: Dynamic[int | None] = None
    """Milliseconds."""
    default_partition_expiration_ms: Dynamic[int | None] = None
    description: Dynamic[Text] | None = None
    friendly_name: Dynamic[Text] | None = None
    default_encryption_configuration: Dynamic[Encryption] | None = None
    labels: Dynamic[dict[str, Text]] | None = None

    def changed(self, dataset: Any) -> tuple[Any, list[str]]:
        """Put into a dataset of the library what is set; return it and the names of what is."""
        from google.cloud import bigquery

        encryption = self.default_encryption_configuration
        entries = [
            bigquery.AccessEntry(each.role, _ENTITIES[each.entity.type], each.entity.value)
            for each in self.acl or ()
        ]
        fields = given(
            access_entries=entries if self.acl is not None else None,
            default_table_expiration_ms=self.default_table_lifetime,
            default_partition_expiration_ms=self.default_partition_expiration_ms,
            description=self.description,
            friendly_name=self.friendly_name,
            labels=self.labels,
            default_encryption_configuration=encryption
            and bigquery.EncryptionConfiguration(encryption.kms_key_name),
        )
        for name, value in fields.items():
            setattr(dataset, name, value)
        return dataset, list(fields)


class CreateDataset(_DatasetSpec):
    """Make a dataset; `ifExists` says what becomes of one that is there."""

    if_exists: Dynamic[Literal["ERROR", "UPDATE", "SKIP"]] = "ERROR"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        from google.api_core.exceptions import Conflict

        with gcp_errors(f"create the dataset `{self.name}`"):
            client = self.bigquery()
            asked, names = self.changed(_dataset(self.name, client))
            if self.location:
                asked.location = self.location
            try:
                return _dataset_outputs(client.create_dataset(asked))
            except Conflict:
                if self.if_exists == "ERROR":
                    raise TaskFailed(
                        f"the dataset `{self.name}` exists already",
                        hint="set `ifExists` to SKIP or UPDATE if that is fine",
                    ) from None
            found = client.get_dataset(asked.reference)
            if self.if_exists == "UPDATE" and names:
                found = client.update_dataset(self.changed(found)[0], names)
            return _dataset_outputs(found)


class UpdateDataset(_DatasetSpec):
    """Change what is set of a dataset."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gcp_errors(f"change the dataset `{self.name}`"):
            client = self.bigquery()
            found = client.get_dataset(_dataset(self.name, client).reference)
            changed, names = self.changed(found)
            return _dataset_outputs(client.update_dataset(changed, names))


class DeleteDataset(BigQuerySpec):
    """Delete a dataset, with its tables if `deleteContents`."""

    name: Dynamic[Text]
    delete_contents: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gcp_errors(f"delete the dataset `{self.name}`"):
            client = self.bigquery()
            client.delete_dataset(
                _dataset(self.name, client).reference, delete_contents=self.delete_contents
            )
        return {"dataset": self.name}


def _dataset(name: str, client: Any) -> Any:
    from google.cloud import bigquery

    return bigquery.Dataset(
        bigquery.DatasetReference.from_string(name, default_project=client.project)
    )


def _dataset_outputs(dataset: Any) -> dict[str, Any]:
    return {
        "dataset": dataset.dataset_id,
        "project": dataset.project,
        "friendlyName": dataset.friendly_name,
        "description": dataset.description,
        "location": dataset.location,
    }

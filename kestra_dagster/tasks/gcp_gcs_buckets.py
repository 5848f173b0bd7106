"""Google Cloud Storage: buckets made, changed, shared and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.tasks.gcp import gcp_errors
from kestra_dagster.tasks.gcp_gcs import GcsSpec

StorageClass = Literal[
    "STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE", "REGIONAL", "MULTI_REGIONAL",
    "DURABLE_REDUCED_AVAILABILITY",
]  # fmt: skip
_PREFIXES = {"USER": "user-", "GROUP": "group-", "DOMAIN": "domain-", "PROJECT": "project-"}


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class LifecycleCondition(_Part):
    """When a rule holds: days since the object was made."""

    age: int


class LifecycleAction(_Part):
    """What becomes of an object; `value` is the storage class."""

    type: Literal["DELETE", "SET_STORAGE_CLASS"]
    value: StorageClass | None = None


class LifecycleRule(_Part):
    """What becomes of objects of an age."""

    condition: LifecycleCondition
    action: LifecycleAction

    def resource(self) -> dict[str, Any]:
        """Return the rule as the API has it."""
        action = {"type": "Delete"}
        if self.action.type == "SET_STORAGE_CLASS":
            action = {"type": "SetStorageClass", "storageClass": self.action.value or "STANDARD"}
        return {"action": action, "condition": {"age": self.condition.age}}


class Origin(_Part):
    """Whose pages may ask."""

    value: Text


class Cors(_Part):
    """What browsers may ask from other pages."""

    max_age_seconds: int | None = None
    methods: list[Text] | None = None
    origins: list[Origin | Text] | None = None
    response_headers: list[Text] | None = None

    def resource(self) -> dict[str, Any]:
        """Return the rule as the API has it."""
        origins = [o.value if isinstance(o, Origin) else o for o in self.origins or ()]
        fields = {
            "maxAgeSeconds": self.max_age_seconds,
            "method": self.methods,
            "origin": origins or None,
            "responseHeader": self.response_headers,
        }
        return {name: value for name, value in fields.items() if value is not None}


class Entity(_Part):
    """Who is given access."""

    type: Literal["USER", "GROUP", "DOMAIN", "PROJECT"]
    value: Text


class AccessControl(_Part):
    """What somebody may do."""

    entity: Entity
    role: Literal["OWNER", "READER", "WRITER"]

    def resource(self) -> dict[str, str]:
        """Return the entry as the API has it."""
        return {"entity": _PREFIXES[self.entity.type] + self.entity.value, "role": self.role}


class IamConfiguration(_Part):
    """How access is decided."""

    uniform_bucket_level_access_enabled: bool | None = None
    public_access_prevention: Text | None = None


class Logging(_Part):
    """Where the logs of accesses go."""

    log_bucket: Text
    log_object_prefix: Text | None = None


class _BucketSpec(GcsSpec):
    name: Dynamic[Text]
    requester_pays: Dynamic[bool | None] = None
    versioning_enabled: Dynamic[bool | None] = None
    index_page: Dynamic[Text] | None = None
    not_found_page: Dynamic[Text] | None = None
    lifecycle_rules: Dynamic[list[LifecycleRule]] | None = None
    storage_class: Dynamic[StorageClass | None] = None
    location: Dynamic[Text] | None = None
    cors: Dynamic[list[Cors]] | None = None
    acl: Dynamic[list[AccessControl]] | None = None
    default_acl: Dynamic[list[AccessControl]] | None = None
    labels: Dynamic[dict[str, Text]] | None = None
    default_kms_key_name: Dynamic[Text] | None = None
    default_event_based_hold: Dynamic[bool | None] = None
    retention_period: Dynamic[int | None] = None
    """Seconds."""
    iam_configuration: Dynamic[IamConfiguration] | None = None
    logging: Dynamic[Logging] | None = None

    def changed(self, bucket: Any) -> Any:
        """Put into a bucket of the library what is set, and return it."""
        simple = {
            "requester_pays": self.requester_pays,
            "versioning_enabled": self.versioning_enabled,
            "storage_class": self.storage_class,
            "labels": self.labels,
            "default_kms_key_name": self.default_kms_key_name,
            "default_event_based_hold": self.default_event_based_hold,
            "retention_period": self.retention_period,
        }
        for name, value in simple.items():
            if value is not None:
                setattr(bucket, name, value)
        if self.index_page or self.not_found_page:
            bucket.configure_website(self.index_page, self.not_found_page)
        if self.lifecycle_rules is not None:
            bucket.lifecycle_rules = [rule.resource() for rule in self.lifecycle_rules]
        if self.cors is not None:
            bucket.cors = [rule.resource() for rule in self.cors]
        for name, entries in (("acl", self.acl), ("defaultObjectAcl", self.default_acl)):
            if entries is not None:
                bucket._patch_property(name, [entry.resource() for entry in entries])
        if self.logging is not None:
            bucket.enable_logging(self.logging.log_bucket, self.logging.log_object_prefix or "")
        if self.iam_configuration is not None:
            iam, given = bucket.iam_configuration, self.iam_configuration
            if given.uniform_bucket_level_access_enabled is not None:
                iam.uniform_bucket_level_access_enabled = given.uniform_bucket_level_access_enabled
            if given.public_access_prevention is not None:
                iam.public_access_prevention = given.public_access_prevention.lower()
        return bucket


class CreateBucket(_BucketSpec):
    """Make a bucket; `ifExists` says what becomes of one that is there."""

    if_exists: Dynamic[Literal["ERROR", "UPDATE", "SKIP"]] = "ERROR"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gcp_errors(f"create the bucket `{self.name}`"):
            client = self.storage()
            bucket = client.lookup_bucket(self.name)
            if bucket is None:
                bucket = self.changed(client.bucket(self.name))
                made = client.create_bucket(bucket, location=self.location)
                return _outputs(made, created=True)
            if self.if_exists == "ERROR":
                raise TaskFailed(
                    f"the bucket `{self.name}` exists already",
                    hint="set `ifExists` to SKIP or UPDATE if that is fine",
                )
            if self.if_exists == "UPDATE":
                self.changed(bucket).patch()
        return _outputs(bucket, updated=self.if_exists == "UPDATE")


class UpdateBucket(_BucketSpec):
    """Change what is set of a bucket."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gcp_errors(f"change the bucket `{self.name}`"):
            bucket = self.storage().get_bucket(self.name)
            self.changed(bucket).patch()
        return _outputs(bucket, updated=True)


class DeleteBucket(GcsSpec):
    """Delete an empty bucket."""

    name: Dynamic[Text]

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gcp_errors(f"delete the bucket `{self.name}`"):
            self.storage().bucket(self.name).delete()
        return {"bucket": self.name, "bucketUri": f"gs://{self.name}"}


class CreateBucketIamPolicy(GcsSpec):
    """Give a member a role for a bucket."""

    name: Dynamic[Text]
    member: Dynamic[Text]
    role: Dynamic[Text]
    if_exists: Dynamic[Literal["ERROR", "SKIP"]] = "SKIP"

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        with gcp_errors(f"share the bucket `{self.name}`"):
            bucket = self.storage().bucket(self.name)
            policy = bucket.get_iam_policy(requested_policy_version=3)
            outputs = {"bucket": self.name, "member": self.member, "role": self.role}
            if any(
                each["role"] == self.role and self.member in each["members"]
                for each in policy.bindings
            ):
                if self.if_exists == "ERROR":
                    raise TaskFailed(f"`{self.member}` has the role `{self.role}` already")
                context.log.info(f"{self.member} has the role {self.role} already")
                return {**outputs, "created": False}
            policy.bindings.append({"role": self.role, "members": {self.member}})
            bucket.set_iam_policy(policy)
        return {**outputs, "created": True}


def _outputs(bucket: Any, created: bool = False, updated: bool = False) -> dict[str, Any]:
    website = bucket._properties.get("website", {})
    return {
        "bucket": {
            "name": bucket.name,
            "uri": f"gs://{bucket.name}",
            "location": bucket.location,
            "indexPage": website.get("mainPageSuffix"),
            "notFoundPage": website.get("notFoundPage"),
        },
        "created": created,
        "updated": updated,
    }

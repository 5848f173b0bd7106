"""The platform's settings: from the environment and the run config, all with defaults."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping
from typing import Any, Literal, TypeVar
from zoneinfo import ZoneInfo

import dagster as dg
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from kestra_dagster.errors import TerminalError

PREFIX = "LAKE_"
"""Settings come from environment variables of this prefix: `bucket` from LAKE_BUCKET."""

Model = TypeVar("Model", bound=BaseModel)


class Calendar(BaseModel, frozen=True, extra="forbid"):
    """When days begin and pipelines run; read once, when the definitions load."""

    start_date: datetime.date = datetime.date(2025, 1, 1)
    time_zone: str = "UTC"
    generate_at: datetime.time = datetime.time(9, 0)
    process_at: datetime.time = datetime.time(18, 0)
    hours_to_finish: int = Field(default=2, ge=1, le=5)
    """A day not there so long after its schedule is stale (freshness policies)."""
    schedules: Literal["running", "stopped"] = "running"
    """How schedules and sensors are when Dagster first sees them."""

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def partitions(self) -> dg.DailyPartitionsDefinition:
        return dg.DailyPartitionsDefinition(
            start_date=self.start_date.isoformat(), timezone=self.time_zone
        )

    @field_validator("time_zone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(
                f"`{name}` is not an IANA time zone, such as `Europe/Berlin`"
            ) from None
        return name


class Lake(dg.ConfigurableResource):
    """Where the data lies, how much of it, and on what cluster Spark works.

    AWS credentials, region and endpoints are boto3's own (AWS_PROFILE, AWS_ENDPOINT_URL_EMR, ...).
    """

    bucket: str = Field(default="builditall", description="Bucket of raw/, processed/ and the logs")
    region: str = Field(default="", description="AWS region; boto3's own default if empty")

    rows_per_day: int = Field(default=20_000, ge=200, description="Raw rows of a day, all tables")
    seed: int = Field(default=7, description="The same seed and day give the same rows")
    evolution_date: str = Field(
        default="2025-03-01", description="First day of the newer raw schema"
    )
    broken_rate: float = Field(default=0.01, ge=0, le=0.5, description="Share of broken raw rows")
    keyless_rate: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of raw rows without key (drill: a day to reject)",
    )
    rows_tolerance: float = Field(
        default=0.5, gt=0, description="How far a raw table's rows may be from the expected share"
    )

    release_label: str = "emr-7.10.0"
    instance_types: list[str] = Field(
        default=["m6g.xlarge", "m7g.xlarge"], description="EMR takes of these what it can get"
    )
    core_instances: int = Field(default=2, ge=0)
    service_role: str = "EMR_DefaultRole"
    instance_role: str = "EMR_EC2_DefaultRole"
    subnet_ids: list[str] = Field(default=[], description="The default VPC's if empty")
    key_name: str = Field(default="", description="EC2 key pair, to look at a cluster by ssh")
    log_uri: str = Field(default="", description="s3://<bucket>/builditall-logs/emr if empty")
    bootstrap: list[str] = Field(default=[], description="s3:// URIs of bootstrap scripts")
    spark: dict[str, str] = Field(default={}, description="Spark properties, over the tuned ones")
    tags: dict[str, str] = Field(default={}, description="Further tags of the cluster")
    serverless_application_id: str = Field(
        default="", description="EMR Serverless application to use instead of a cluster"
    )
    serverless_role_arn: str = Field(default="", description="Execution role of its job runs")
    serverless_timeout_minutes: int = Field(
        default=180, ge=5, description="After that EMR Serverless itself ends a job run"
    )
    idle_timeout_seconds: int = Field(
        default=300,
        ge=1,
        le=604_800,
        description="A cluster without work ends itself (EMR: at least 60)",
    )
    api_patience_seconds: float = Field(
        default=180, description="How long throttling, 5xx and expired credentials are waited out"
    )
    log_wait_seconds: float = Field(
        default=300,
        description="How long a failed step's logs are waited for (EMR uploads them late)",
    )
    max_poll_seconds: float = Field(default=15, gt=0)
    retries: int = Field(
        default=2, ge=0, description="How often a day is tried again after its cluster was lost"
    )
    open_lineage_url: str = Field(
        default="", description="Send Spark's lineage to this OpenLineage API"
    )
    open_lineage_package: str = "io.openlineage:openlineage-spark_2.13:1.39.0"

    @model_validator(mode="after")
    def _role_of_serverless(self) -> Lake:
        if self.serverless_application_id and not self.serverless_role_arn:
            raise ValueError(
                "`serverless_application_id` needs `serverless_role_arn`, the role that the jobs "
                "of EMR Serverless run as"
            )
        return self

    @property
    def root(self) -> str:
        return f"s3://{self.bucket}"

    @property
    def silence_allowed(self) -> float:
        """Seconds that a run may be silent; one that waits out EMR's errors is."""
        return max(self.idle_timeout_seconds, self.api_patience_seconds + 120)

    @property
    def logs(self) -> str:
        return self.log_uri.rstrip("/") or f"{self.root}/builditall-logs/emr"


TUNED_SPARK: Mapping[str, str] = {
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.adaptive.coalescePartitions.parallelismFirst": "false",
    "spark.sql.adaptive.advisoryPartitionSizeInBytes": "64m",
    "spark.sql.shuffle.partitions": "64",
    "spark.sql.autoBroadcastJoinThreshold": "48m",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.hadoop.parquet.compression.codec.zstd.level": "1",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.session.timeZone": "UTC",
    # Spark 4 would load ICU, a second, for letters that no code of a country or currency has.
    "spark.sql.icu.caseMappings.enabled": "false",
    "spark.sql.sources.partitionOverwriteMode": "static",
    "spark.buffer.pageSize": "2m",
    "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
}
"""Measured with benchmarks/lake.py; a partition's files end up between 10 and 100 MB."""

MANY_ROWS = 5_000_000
"""Rows of a day from which it pays that the driver's JVM optimizes what runs most."""

OPTIMIZING = (
    "-XX:TieredStopAtLevel=4 -XX:Tier4InvocationThreshold=50000"
    " -XX:Tier4MinInvocationThreshold=6000 -XX:Tier4CompileThreshold=150000"
    " -XX:Tier4BackEdgeThreshold=400000"
)
"""Ten times Java's thresholds: what only plans, each time another way, is not worth optimizing."""


def spark_properties(lake: Lake) -> dict[str, str]:
    """Return the cluster's `spark-defaults`."""
    properties = {**TUNED_SPARK}
    if lake.rows_per_day >= MANY_ROWS:
        properties["spark.driver.extraJavaOptions"] = OPTIMIZING
    if lake.open_lineage_url:
        properties |= {
            "spark.jars.packages": lake.open_lineage_package,
            "spark.extraListeners": "io.openlineage.spark.agent.OpenLineageSparkListener",
            "spark.openlineage.transport.type": "http",
            "spark.openlineage.transport.url": lake.open_lineage_url,
            "spark.openlineage.namespace": lake.root,
        }
    return {**properties, **lake.spark}


def from_environment(model: type[Model], environ: Mapping[str, str] | None = None) -> Model:
    """Return the settings that the environment gives; lists and maps are written as JSON."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        text = environ.get(variable := PREFIX + name.upper())
        if text is None:
            continue
        if getattr(field.annotation, "__origin__", None) in {list, dict}:
            try:
                values[name] = json.loads(text)
            except ValueError as error:
                raise TerminalError(f"`{variable}` is not JSON: {error}") from None
        else:
            values[name] = text
    try:
        return model(**values)
    except ValidationError as error:
        problems = "; ".join(
            f"`{PREFIX}{str(issue['loc'][0]).upper()}`: {issue['msg']}"
            if issue["loc"]
            else issue["msg"]
            for issue in error.errors()
        )
        raise TerminalError(
            f"the lake cannot be configured from the environment: {problems}"
        ) from None

"""Make days of a layer in a Dagster run: one cluster, one Spark job, checks, then publication."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import dagster as dg

from kestra_dagster.lake.bucket import lake_bucket
from kestra_dagster.lake.cluster import Cluster, ClusterLost, emr_cluster
from kestra_dagster.lake.config import Lake
from kestra_dagster.lake.jobs.catalog import tables
from kestra_dagster.lake.jobs.checks import Finding, Manifest, checks_of, judge
from kestra_dagster.lake.metadata import RECENT_DAYS, asset_key, day_metadata, rows_by_day
from kestra_dagster.lake.publications import (
    attempt,
    complete,
    publish,
    published,
    published_days,
    published_version,
    refuse,
    utc_now,
)
from kestra_dagster.lake.scripts import SCRIPTS, spark_submit_arguments, upload
from kestra_dagster.lake.serverless import Application, emr_application
from kestra_dagster.lake.step_logs import StepFailed

RUN_TAG = "dagster/run_id"
JOB_TAG = "dagster/job"
"""Tags of every cluster: whose it is, for the sensor that looks for orphans and for the bill."""

OWN_VERSION = "dagster-"
"""What the versions begin with that a run of the assets makes; it records them itself."""

_RETRY_DELAY = 30
_LONGEST_TAG = 250


class LayerRun:
    """The days that one step of a run makes of a layer."""

    def __init__(self, context: dg.AssetExecutionContext, lake: Lake, layer: str) -> None:
        from kestra_dagster.executor import termination

        self._context = context
        self._lake = lake
        self._layer = layer
        self._sleep = termination(context.run.run_id).sleep
        self._bucket = lake_bucket(lake, context.log.info, self._sleep)
        self._version = f"{OWN_VERSION}{context.run.run_id[:8]}-{context.retry_number}"

    def materialize(
        self, options: Mapping[str, str]
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        """Yield the checks and, if all days are good, the tables.

        Days that are good are published, and recorded, also when others fail; those make the step
        fail: with the traceback of the Spark job, the checks that failed, or what is missing.
        """
        if not self._context.selected_asset_keys:
            yield from self._check_again()
            return
        wanted = list(self._context.partition_keys)
        waiting = self._without_raw(wanted)
        days = [day for day in wanted if day not in waiting]
        broken = self._run_spark(days, options) if days else None
        manifests = self._attempts(days)
        findings = {day: self._judge(manifest) for day, manifest in manifests.items()}
        good = [day for day, found in findings.items() if all(item.passed for item in found)]
        self._publish(good, [day for day in manifests if day not in good])
        yield from self._check_results(findings)
        metadata = self._metadata({day: manifests[day] for day in good})
        if good == wanted and broken is None:
            yield from self._results(metadata)
        else:
            self._record(metadata)
            self._fail(waiting, findings, broken)

    def _check_again(self) -> Iterator[dg.AssetCheckResult]:
        """Yield the checks of what is published, by default of the last day; nothing is made."""
        context = self._context
        asked = context.has_partition_key or context.has_partition_key_range
        days = context.partition_keys if asked else []
        days = days or published_days(self._bucket, self._layer)[-1:]
        manifests = {day: manifest for day in days if (manifest := self._published(day))}
        if not manifests:
            raise dg.Failure(f"no day of {self._layer} is published, so there is nothing to check")
        yield from self._check_results({day: self._judge(it) for day, it in manifests.items()})

    def _without_raw(self, days: Sequence[str]) -> list[str]:
        if self._layer == "raw":
            return []
        missing = [day for day in days if published_version(self._bucket, "raw", day) is None]
        if missing:
            self._context.log.warning(
                f"processing waits for raw of {', '.join(missing)}: not published yet"
            )
        return missing

    def _run_spark(self, days: Sequence[str], options: Mapping[str, str]) -> StepFailed | None:
        """Run the layer's job for all days; return how it failed, if it did."""
        lake, context = self._lake, self._context
        folder = upload(lake, self._bucket)
        name = f"{self._layer} {span(days)}"
        given = {"root": lake.root, "days": ",".join(days), "version": self._version, **options}
        arguments = spark_submit_arguments(folder, self._layer, given)
        try:
            with self._spark(name) as spark:
                spark.spark_submit(SCRIPTS[self._layer], arguments)
        except StepFailed as failure:
            context.log.error(str(failure))
            return failure
        except ClusterLost as lost:
            context.log.warning(f"{lost}; at most {lake.retries} further attempts")
            raise dg.RetryRequested(lake.retries, _RETRY_DELAY) from lost
        return None

    def _spark(self, name: str) -> AbstractContextManager[Cluster | Application]:
        """Return a cluster for this step alone, or the EMR Serverless application if one is set."""
        run, log = self._context.run, self._context.log.info
        tags = {RUN_TAG: run.run_id, JOB_TAG: run.job_name, "dagster/asset": name}
        tags = {key: value[:_LONGEST_TAG] for key, value in tags.items()}
        if self._lake.serverless_application_id:
            return emr_application(self._lake, tags, log, self._sleep)
        return emr_cluster(self._lake, f"{run.job_name} {name}", tags, log, self._sleep)

    def _attempts(self, days: Sequence[str]) -> dict[str, Manifest]:
        found = {day: attempt(self._bucket, self._layer, day, self._version) for day in days}
        return {day: manifest for day, manifest in found.items() if manifest}

    def _judge(self, manifest: Manifest) -> list[Finding]:
        return judge(manifest, self._lake.rows_tolerance) + complete(self._bucket, manifest)

    def _publish(self, good: Sequence[str], bad: Sequence[str]) -> None:
        for day in good:
            publish(self._bucket, self._layer, day, self._version, utc_now())
        for day in bad:
            refuse(self._bucket, self._layer, day, self._version)
        if good:
            self._context.log.info(f"{self._layer} of {', '.join(good)} is published")

    def _check_results(
        self, findings: Mapping[str, Sequence[Finding]]
    ) -> Iterator[dg.AssetCheckResult]:
        if not findings:
            return
        for table in tables(self._layer):
            for check in checks_of(self._layer, table):
                said = {
                    day: item
                    for day, found in findings.items()
                    for item in found
                    if (item.table, item.check) == (table, check)
                }
                bad = [day for day, item in said.items() if not item.passed]
                shown = bad or list(said)
                key = asset_key(self._layer, table)
                if dg.AssetCheckKey(key, check) not in self._context.selected_asset_check_keys:
                    continue  # it has kept the day from being published all the same
                yield dg.AssetCheckResult(
                    asset_key=key,
                    check_name=check,
                    passed=not bad,
                    description=f"{shown[0]}: {said[shown[0]].said}"
                    + (f" (and {len(shown) - 1} more days)" if len(shown) > 1 else ""),
                    metadata={day: item.said for day, item in said.items()},
                )

    def _metadata(self, manifests: Mapping[str, Manifest]) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the metadata of each table and day."""
        recent = published_days(self._bucket, self._layer)[-RECENT_DAYS:] if manifests else []
        read = {day: manifests.get(day) or self._published(day) for day in recent}
        described: dict[str, dict[str, dict[str, Any]]] = {}
        for name, table in tables(self._layer).items():
            rows = {day: found["tables"][name]["rows"] for day, found in read.items() if found}
            chart = {"rows_by_day": rows_by_day(rows)}
            described[name] = {
                day: {**day_metadata(self._lake, table, manifest), **chart}
                for day, manifest in manifests.items()
            }
        return described

    def _published(self, day: str) -> Manifest | None:
        return published(self._bucket, self._layer, day)

    def _results(
        self, metadata: Mapping[str, Mapping[str, dict[str, Any]]]
    ) -> Iterator[dg.MaterializeResult]:
        """Yield the tables that were asked for; the others are made by the same job."""
        selected = self._context.selected_asset_keys
        others = {}
        for table, days in metadata.items():
            key = asset_key(self._layer, table)
            if key not in selected:
                others[table] = days
                continue
            for day, shown in days.items():
                self._context.add_asset_metadata(shown, asset_key=key, partition_key=day)
            yield dg.MaterializeResult(key)
        self._record(others)

    def _record(self, metadata: Mapping[str, Mapping[str, dict[str, Any]]]) -> None:
        """Record days in a step that fails for others, and tables that nobody asked for."""
        for table, days in metadata.items():
            for day, shown in days.items():
                key = asset_key(self._layer, table)
                self._context.log_event(dg.AssetMaterialization(key, partition=day, metadata=shown))

    def _fail(
        self,
        waiting: Sequence[str],
        findings: Mapping[str, Sequence[Finding]],
        broken: StepFailed | None,
    ) -> None:
        reasons = []
        if waiting:
            reasons.append(f"raw of {', '.join(waiting)} is not published: materialize `raw` first")
        for day, found in findings.items():
            failed = [
                f"{item.table}.{item.check}: {item.said}" for item in found if not item.passed
            ]
            if failed:
                reasons.append(
                    f"{self._layer} of {day} is not published, its checks failed:\n  "
                    + "\n  ".join(failed)
                )
        metadata: dict[str, Any] = {}
        if broken:
            reasons.append(str(broken))
            metadata = {
                "traceback": dg.MetadataValue.md(f"```\n{broken.traceback}\n```"),
                "logs": broken.logs,
            }
        raise dg.Failure("\n".join(reasons), metadata, allow_retries=False)


def span(days: Sequence[str]) -> str:
    """Return days in few words."""
    return days[0] if len(days) == 1 else f"{days[0]}..{days[-1]} ({len(days)} days)"

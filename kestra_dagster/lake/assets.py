"""The assets `raw/...` and `processed/...`: one Spark job on one cluster makes days of a layer."""

# Dagster reads the annotations of assets: no `from __future__ import annotations` here.

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import dagster as dg

from kestra_dagster.lake.aws import explained
from kestra_dagster.lake.config import Calendar, Lake
from kestra_dagster.lake.jobs.catalog import FACT_OF, PROCESSED, RAW, tables
from kestra_dagster.lake.jobs.checks import DESCRIPTIONS, checks_of
from kestra_dagster.lake.layer_run import LayerRun
from kestra_dagster.lake.metadata import asset_key, definition_metadata
from kestra_dagster.lake.scripts import SCRIPTS, bundle

OWNERS = ["team:data-platform"]
KINDS = {"spark", "s3", "parquet"}

_SOURCE_OF = {fact: source for source, fact in FACT_OF.items()}
_MADE_FROM: Mapping[str, tuple[str, ...]] = {
    "fct_orders": ("dim_customer", "fct_order_lines", "fct_payments"),
    "fct_order_lines": ("dim_product",),
    "fct_web_events": ("dim_customer", "dim_product"),
    "daily_sales": ("fct_order_lines", "dim_product"),
    "daily_traffic": ("fct_web_events",),
}
"""Processed tables that a processed table is made from, beside its raw table."""


def lake_assets(calendar: Calendar, lake: Lake) -> list[dg.AssetsDefinition]:
    """Return both layers; `lake` says what is known before a run is configured."""
    return [_raw(calendar, lake), _processed(calendar, lake)]


def _raw(calendar: Calendar, settings: Lake) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name="generate_raw",
        specs=_specs(calendar, settings, "raw"),
        check_specs=_checks("raw"),
        partitions_def=calendar.partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,  # see docs/decisions.md
        description="Generates the shop's raw data with the Spark job `data_generator.py` on EMR.",
        op_tags={"kind": "spark"},
    )
    def generate_raw(
        context: dg.AssetExecutionContext, lake: Lake
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        options = {
            "rows": str(lake.rows_per_day),
            "seed": str(lake.seed),
            "evolution-date": lake.evolution_date,
            "broken-rate": str(lake.broken_rate),
            "keyless-rate": str(lake.keyless_rate),
        }
        with _refusals_explained():
            yield from LayerRun(context, lake, "raw").materialize(options)

    return generate_raw


def _processed(calendar: Calendar, settings: Lake) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name="process_raw",
        specs=_specs(calendar, settings, "processed"),
        check_specs=_checks("processed"),
        partitions_def=calendar.partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,  # see docs/decisions.md
        description="Makes clean tables of raw days with the Spark job `data_processor.py` on EMR.",
        op_tags={"kind": "spark"},
    )
    def process_raw(
        context: dg.AssetExecutionContext, lake: Lake
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        with _refusals_explained():
            yield from LayerRun(context, lake, "processed").materialize({})

    return process_raw


@contextmanager
def _refusals_explained() -> Iterator[None]:
    """Say in one message what AWS refused: the stack of boto3 tells nobody more."""
    try:
        yield
    except Exception as error:
        said = explained(error)
        if said is None:
            raise
        raise dg.Failure(said) from None


def _specs(calendar: Calendar, lake: Lake, layer: str) -> list[dg.AssetSpec]:
    # Dagster steps through a thousand ticks of the cron expression for each policy it makes.
    freshness = _freshness(calendar, layer)
    return [
        dg.AssetSpec(
            asset_key(layer, table.name),
            deps=_deps(layer, table.name),
            description=table.description,
            metadata=definition_metadata(lake, layer, table),
            group_name=layer,
            kinds=KINDS,
            owners=OWNERS,
            tags={"domain": "shop"},
            code_version=bundle().hash,
            freshness_policy=freshness,
            skippable=True,
        )
        for table in tables(layer).values()
    ]


def _deps(layer: str, table: str) -> list[dg.AssetKey]:
    if layer == "raw":
        return []
    if table == "quarantine":
        return [asset_key("raw", name) for name in RAW]
    upstream = [asset_key("raw", _SOURCE_OF[table])] if table in _SOURCE_OF else []
    return upstream + [asset_key("processed", name) for name in _MADE_FROM.get(table, ())]


def _checks(layer: str) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(
            check,
            asset=asset_key(layer, table),
            description=DESCRIPTIONS[layer][check],
            blocking=True,
        )
        for table in tables(layer)
        for check in checks_of(layer, table)
    ]


def _freshness(calendar: Calendar, layer: str) -> dg.FreshnessPolicy:
    """A day is due some hours after its schedule; made earlier than that, it was another day."""
    start = calendar.generate_at if layer == "raw" else calendar.process_at
    hour = (start.hour + calendar.hours_to_finish) % 24
    return dg.FreshnessPolicy.cron(
        deadline_cron=f"{start.minute} {hour} * * *",
        lower_bound_delta=timedelta(hours=calendar.hours_to_finish),
        timezone=calendar.time_zone,
    )


assert set(SCRIPTS) == {"raw", "processed"}
assert set(_MADE_FROM) < set(PROCESSED)

"""A flow as a Dagster job: nested graphs, flat typed config, tags, the source to read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from kestra_dagster.executor import threaded_executor
from kestra_dagster.flow.catalog import FlowCatalog
from kestra_dagster.flow.model import Flow
from kestra_dagster.flow.properties import has_template
from kestra_dagster.flow.task_types import TaskTypes
from kestra_dagster.flow.unsupported import missing
from kestra_dagster.orchestration.graphs import build_graph
from kestra_dagster.orchestration.input_config import input_fields
from kestra_dagster.orchestration.names import job_name
from kestra_dagster.orchestration.ops import RESOURCE, build_op
from kestra_dagster.orchestration.tags import NAMES_TAG, flow_tags
from kestra_dagster.orchestration.watched import watched
from kestra_dagster.plan.compile import compile_flow
from kestra_dagster.plan.model import Plan
from kestra_dagster.runtime.secrets import Masker

EXECUTOR = watched(threaded_executor)


def build_job(
    flow: Flow,
    types: TaskTypes,
    *,
    name_template: str | None = None,
    flows: FlowCatalog | None = None,
    quiet: bool = False,
    asks_inputs: bool = True,
) -> dg.JobDefinition:
    """Return the job of a flow; its run config is the flow's inputs and nothing else.

    `flows` is where its subflows are found. `quiet` keeps its log off the console, for a caller
    that shows progress itself. Without `asks_inputs` its config is empty: whoever starts it hands
    the inputs over in memory.
    """
    plan = compile_flow(flow)
    name = job_name(flow, name_template)
    fields = input_fields(flow) if asks_inputs else {}
    return build_graph(plan, name, build_op).to_job(
        name=name,
        description=flow.description,
        resource_defs={RESOURCE: _resource(plan, types, flows)},
        executor_def=EXECUTOR,
        config=dg.ConfigMapping(
            config_fn=_quietly if quiet else _to_resource, config_schema=fields
        ),
        tags=flow_tags(flow) | ({NAMES_TAG: name_template} if name_template else {}),
        metadata=_metadata(flow),
    )


def _resource(plan: Plan, types: TaskTypes, flows: FlowCatalog | None) -> dg.ResourceDefinition:
    def opened(context: dg.InitResourceContext) -> Iterator[Any]:
        # Loaded by the processes of runs only.
        from kestra_dagster.orchestration.execution_resource import execution_of_run

        yield from execution_of_run(context, plan, types, flows)

    return dg.ResourceDefinition(
        opened, config_schema={"inputs": dg.Field(dg.Any, is_required=False)}
    )


def _to_resource(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {"resources": {RESOURCE: {"config": {"inputs": inputs}}}}


def _quietly(inputs: Mapping[str, Any]) -> dict[str, Any]:
    console = {"console": {"config": {"log_level": "CRITICAL"}}}
    return {**_to_resource(inputs), "loggers": console}


def _source(flow: Flow) -> dg.MarkdownMetadataValue:
    """Return the YAML as a block, in a fence longer than any in it, without written-out secrets."""
    written = [item.defaults for item in flow.inputs if item.type == "SECRET" and item.defaults]
    secrets = Masker(str(text) for text in written if not has_template(text))
    text = secrets.text(flow.source.text.rstrip())
    fence = max((mark for mark in re.findall("`{3,}", text)), default="``", key=len) + "`"
    return dg.MetadataValue.md(f"{fence}yaml\n{text}\n{fence}")


def _metadata(flow: Flow) -> dict[str, Any]:
    lacks = missing(flow)
    return {
        "namespace": flow.namespace,
        "flow": flow.id,
        "revision": flow.revision,
        "file": flow.source.file,
        "source": _source(flow),
        **({"not supported": "\n".join(lacks)} if lacks else {}),
        **({"labels": dg.MetadataValue.json(dict(flow.labels))} if flow.labels else {}),
    }

"""Run tags: what a person filters runs by."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kestra_dagster.flow.model import Flow

FLOW_TAG = "kestra/flow"
STATE_TAG = "kestra/state"
EXECUTION_TAG = "kestra/execution"
PARENT_TAG = "kestra/parent_run"
NAMES_TAG = ".dagster/kestra_job_names"
"""How the code location of a run names its jobs, where it was told; the UI does not show it."""
_KEY = re.compile(r"[^A-Za-z0-9_.-]")


def flow_tags(flow: Flow) -> dict[str, str]:
    """Return the tags every run of a flow carries."""
    return {
        FLOW_TAG: flow.id,
        "kestra/namespace": flow.namespace,
        "kestra/revision": str(flow.revision),
        **label_tags(flow.labels),
    }


def label_tags(labels: Mapping[str, str]) -> dict[str, str]:
    """Return labels as tags; what Dagster does not allow in a key becomes `_`."""
    return {f"label/{_KEY.sub('_', key)[:63]}": str(value) for key, value in labels.items()}

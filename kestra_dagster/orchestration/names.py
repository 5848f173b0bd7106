"""Names for Dagster: letters, digits and underscores, none of its reserved words."""

from __future__ import annotations

import keyword
import re

from kestra_dagster.flow.model import Flow

DEFAULT_JOB_NAME = "{id}"
_UNSAFE = re.compile(r"[^A-Za-z0-9_]")
# Dagster refuses these as names of nodes and outputs (dagster 1.13: DISALLOWED_NAMES).
_RESERVED = frozenset(
    {"context", "conf", "config", "meta", "arg_dict", "dict", "input_arg_dict", "output_arg_dict"}
    | {"int", "str", "float", "bool", "input", "output", "type"}
    | set(keyword.kwlist)
)


def safe_name(text: str) -> str:
    """Return `text` as a Dagster name."""
    name = _UNSAFE.sub("_", text)
    return f"{name}_" if name in _RESERVED else name


def job_name(flow: Flow, template: str = DEFAULT_JOB_NAME) -> str:
    """Return the job name of a flow; `template` may use `{id}` and `{namespace}`."""
    return safe_name(template.format(id=flow.id, namespace=flow.namespace))


def unique_names(ids: list[str]) -> dict[str, str]:
    """Give every id a safe name of its own: `a-b` and `a_b` become `a_b` and `a_b_2`."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for original in ids:
        name, count = safe_name(original), 1
        while name in taken:
            count += 1
            name = f"{safe_name(original)}_{count}"
        taken.add(name)
        names[original] = name
    return names

"""Names for Dagster: letters, digits and underscores, none of its reserved words."""

from __future__ import annotations

import keyword
import os
import re
from collections import defaultdict
from collections.abc import Iterable

from kestra_dagster.errors import TerminalError
from kestra_dagster.flow.diagnostics import Diagnostic, Report
from kestra_dagster.flow.model import Flow

NAME_VARIABLE = "KESTRA_DAGSTER_JOB_NAME"
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


def job_name(flow: Flow, template: str | None = None) -> str:
    """Return the job name of a flow; `template` may use `{id}` and `{namespace}`.

    Without one it is what KESTRA_DAGSTER_JOB_NAME says, else `{id}`.
    """
    template = template or os.environ.get(NAME_VARIABLE) or DEFAULT_JOB_NAME
    try:
        return safe_name(template.format(id=flow.id, namespace=flow.namespace))
    except (LookupError, ValueError, AttributeError):
        raise TerminalError(
            f"`{template}` cannot be used to name jobs: write a text with `{{id}}`, and "
            "`{namespace}` if you like"
        ) from None


def distinct(
    flows: Iterable[Flow], template: str | None = None
) -> tuple[list[Flow], list[Diagnostic]]:
    """Leave out flows whose jobs would have one name, with a diagnostic that names both files."""
    named: defaultdict[str, list[Flow]] = defaultdict(list)
    for flow in flows:
        named[job_name(flow, template)].append(flow)
    kept = [group[0] for group in named.values() if len(group) == 1]
    clashes = [
        clash
        for name, group in named.items()
        for flow in group[1:]
        for clash in _clash(flow, group[0], name)
    ]
    return kept, clashes


def _clash(flow: Flow, first: Flow, name: str) -> list[Diagnostic]:
    report = Report(flow.source)
    report.add(
        "KD025",
        ("id",),
        name=name,
        first=f"`{first.source.file}`",
        hint="rename one of the flows; or name every job by its namespace too, with "
        f'job_name: "{{namespace}}__{{id}}" ({NAME_VARIABLE} in the environment). '
        "Until then neither has a job",
    )
    return report.found


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

"""The migration report as text for a terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterator

from kestra_dagster.migration.report import FlowReport, MigrationReport, Remark, Status

WORDS: dict[Status, str] = {
    "runs": "runs as it is",
    "differs": "runs with differences",
    "unsupported": "not supported",
    "invalid": "invalid",
}
_OF_ALL: dict[Status, str] = {
    "runs": "as they are",
    "differs": "with differences",
    "unsupported": "use what is not supported",
    "invalid": "invalid",
}
_COLORS: dict[Status, str] = {
    "runs": "green",
    "differs": "cyan",
    "unsupported": "yellow",
    "invalid": "red",
}
_WIDEST_NAME = 60
_NARROWEST, _WIDEST = 80, 160

Style = Callable[[str, str], str]
"""Give a text a color, or leave it as it is."""


def table(report: MigrationReport, style: Style = lambda text, _: text) -> str:
    """Return one line a flow, and below each what keeps it from running as it is."""
    width = max(_NARROWEST, min(shutil.get_terminal_size((120, 24)).columns, _WIDEST))
    longest = max((len(flow.name) for flow in report.flows), default=0)
    column = min(longest, _WIDEST_NAME)
    lines = []
    for flow in report.flows:
        word = style(WORDS[flow.status], _COLORS[flow.status])
        wrong = f", {style(mistakes(flow.mistakes), 'red')}" if flow.mistakes else ""
        lines.append(f"{flow.name:<{column}}  {word}{wrong}")
        for remark in shown(flow):
            lines += textwrap.wrap(
                f"line {remark.found.line}: {said(remark)}",
                width,
                initial_indent="    ",
                subsequent_indent="        ",
                break_long_words=False,
                break_on_hyphens=False,
            )
    return "\n".join(lines)


def summary(report: MigrationReport, style: Style = lambda text, _: text) -> str:
    """Return what share runs, and what is missing most."""
    total = len(report.flows)
    share = f"{report.running} of {total} flow{'s' if total != 1 else ''} run"
    parts = [
        style(f"{report.count(status)} {word}", _COLORS[status])
        for status, word in _OF_ALL.items()
        if report.count(status)
    ]
    lines = [f"{share} ({report.share:.0%}): {', '.join(parts)}."]
    if report.mistaken:
        lines.append(mistaken(report))
    missing = report.missing()
    if missing:
        width = max(len("Missing"), *(len(one.name) for one in missing))
        lines += ["", f"{'Missing':<{width}}  flows  only this"]
        lines += [f"{one.name:<{width}}  {one.flows:>5}  {one.alone or '-':>9}" for one in missing]
    return "\n".join(lines)


def mistakes(count: int) -> str:
    """Name a number of mistakes."""
    return "1 mistake" if count == 1 else f"{count} mistakes"


def mistaken(report: MigrationReport) -> str:
    """Return how many flows have expressions that fail."""
    count = report.mistaken
    return f"{count} of them {'has' if count == 1 else 'have'} expressions that fail."


def shown(flow: FlowReport) -> Iterator[Remark]:
    """Yield what a table says of a flow: why it does not run as it is, and its mistakes."""
    for remark in flow.remarks:
        if remark.kind != "note":
            yield remark


def said(remark: Remark) -> str:
    """Return a remark in the words of a table, which says itself what becomes of the flow."""
    return remark.found.lacking if remark.kind == "unsupported" else remark.found.message

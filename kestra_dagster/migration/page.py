"""The migration report as one HTML page that needs nothing beside itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from kestra_dagster.migration.report import STATUSES, FlowReport, MigrationReport, Remark
from kestra_dagster.migration.terminal import WORDS, mistaken, mistakes, said, shown

_KINDS = {"unsupported": "missing", "difference": "differs", "mistake": "mistake", "note": "note"}


def page(report: MigrationReport, *, made: datetime | None = None) -> str:
    """Return the page; `made` is the date it shows (default: now)."""
    when = made or datetime.now().astimezone()
    total = len(report.flows)
    files = _within([flow.file for flow in report.flows])
    return _PAGE.format(
        style=_STYLE,
        script=_SCRIPT,
        date=f"{when:%Y-%m-%d %H:%M}",
        share=f"{report.share:.0%}",
        running=report.running,
        total=total,
        bar=_bar(report),
        legend=_legend(report),
        missing=_missing(report),
        mistaken=f'<p class="mistaken">{mistaken(report)}</p>' if report.mistaken else "",
        flows="\n".join(_flow(flow, name) for flow, name in zip(report.flows, files, strict=True)),
    )


def _bar(report: MigrationReport) -> str:
    total = len(report.flows) or 1
    return "".join(
        f'<span class="{status}" style="width:{100 * report.count(status) / total:.3f}%" '
        f'title="{report.count(status)} {WORDS[status]}"></span>'
        for status in STATUSES
        if report.count(status)
    )


def _legend(report: MigrationReport) -> str:
    return "\n".join(
        f'<label class="pill {status}"><input type="checkbox" value="{status}" checked> '
        f"<b>{report.count(status)}</b> {WORDS[status]}</label>"
        for status in STATUSES
        if report.count(status)
    )


def _missing(report: MigrationReport) -> str:
    missing = report.missing()
    if not missing:
        return ""
    most = missing[0].flows
    rows = "\n".join(
        f"<tr><td><code>{escape(one.name)}</code></td>"
        f'<td class="number">{one.flows}</td><td class="number">{one.alone or ""}</td>'
        f'<td class="meter"><span style="width:{100 * one.flows / most:.1f}%"></span></td></tr>'
        for one in missing
    )
    return (
        "<h2>What is missing</h2>\n<table><thead><tr><th>Type or property</th>"
        '<th class="number">Flows</th><th class="number" title="flows that lack nothing else">'
        f"Only this</th><th></th></tr></thead><tbody>\n{rows}\n</tbody></table>"
    )


def _within(files: Sequence[str]) -> list[str]:
    """Return the names of files within the folder that holds all: where it is, is no one's."""
    paths = [Path(file).absolute() for file in files]
    top = os.path.commonpath([path.parent for path in paths]) if paths else ""
    return [str(path.relative_to(top)) for path in paths]


def _flow(flow: FlowReport, file: str) -> str:
    told = [*shown(flow), *(one for one in flow.remarks if one.kind == "note")]
    head = (
        f'<span class="name">{escape(flow.name)}</span> '
        f'<span class="pill {flow.status}">{WORDS[flow.status]}</span> '
        + (f'<span class="pill invalid">{mistakes(flow.mistakes)}</span> ' if flow.mistakes else "")
        + f'<span class="file">{escape(file)}</span>'
    )
    text = escape(" ".join((flow.name, file, *flow.missing)).lower(), quote=True)
    data = f'data-status="{flow.status}" data-text="{text}"'
    if not told:
        return f'<div class="flow plain" {data}>{head}</div>'
    opened = " open" if flow.status in ("unsupported", "invalid") else ""
    items = "\n".join(_remark(remark) for remark in told)
    return (
        f'<details class="flow" {data}{opened}><summary>{head}</summary>\n'
        f"<ul>{items}</ul></details>"
    )


def _remark(remark: Remark) -> str:
    found = remark.found
    helps = found.hint and (remark.kind == "mistake" or found.hint.startswith("did you mean"))
    hint = f'<div class="hint">{_with_code(found.hint or "")}</div>' if helps else ""
    return (
        f'<li><span class="kind {remark.kind}">{_KINDS[remark.kind]}</span> '
        f'<span class="line">line {found.line}</span> {_with_code(said(remark))}{hint}</li>'
    )


def _with_code(text: str) -> str:
    """Return text as HTML, with what stands in backticks as code."""
    parts = escape(text).split("`")
    if len(parts) % 2 == 0:
        return "`".join(parts)
    return "".join(f"<code>{part}</code>" if odd % 2 else part for odd, part in enumerate(parts))


_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e24; --soft: #667085; --line: #e4e7ec; --paper: #fff;
  --tint: #f7f8fa; --runs: #12805c; --differs: #1b6fd0; --unsupported: #b25e09; --invalid: #c0322b }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --soft: #98a2b3; --line: #333741;
  --paper: #16181d; --tint: #1f222a; --runs: #4cc38a; --differs: #66aaf9; --unsupported: #f0a04b;
  --invalid: #f2716a } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.5rem 4rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2.5rem 0 .6rem }
.date, .file, .line, .hint { color: var(--soft) } .date { margin: .1rem 0 1.6rem }
.share { font-size: 2.6rem; font-weight: 650; line-height: 1.1 }
.share small { font-size: 1rem; font-weight: 400; color: var(--soft) }
.bar { display: flex; height: 12px; border-radius: 6px; overflow: hidden; margin: .9rem 0;
  background: var(--line) }
.bar .runs { background: var(--runs) } .bar .differs { background: var(--differs) }
.bar .unsupported { background: var(--unsupported) } .bar .invalid { background: var(--invalid) }
.legend { display: flex; flex-wrap: wrap; gap: .5rem }
.pill { display: inline-block; border: 1px solid currentColor; border-radius: 99px;
  padding: 0 .6rem; font-size: .82rem; white-space: nowrap }
.pill input { vertical-align: -2px; margin: 0 .2rem 0 0 }
.pill.runs, .kind.ok { color: var(--runs) }
.pill.differs, .kind.difference { color: var(--differs) }
.pill.unsupported, .kind.unsupported { color: var(--unsupported) }
.pill.invalid, .kind.mistake { color: var(--invalid) }
table { border-collapse: collapse; width: 100% }
th { text-align: left; font-size: .82rem; color: var(--soft); font-weight: 500 }
td, th { padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
.number { text-align: right; width: 5.5rem; font-variant-numeric: tabular-nums }
.meter { width: 30%; vertical-align: middle }
.meter span { display: block; height: 8px; border-radius: 4px; background: var(--unsupported) }
code { font: .88em ui-monospace, "SF Mono", Menlo, Consolas, monospace; background: var(--tint);
  padding: .08em .3em; border-radius: 4px; overflow-wrap: anywhere }
.search { width: 100%; padding: .5rem .8rem; border: 1px solid var(--line); border-radius: 8px;
  background: var(--tint); color: inherit; font: inherit; margin-bottom: .6rem }
.flow { border-bottom: 1px solid var(--line); padding: .45rem 0 } .flow[hidden] { display: none }
.flow.plain { padding-left: 1.05rem } summary { cursor: pointer }
.name { font-weight: 560 } .file { font-size: .82rem; overflow-wrap: anywhere }
ul { list-style: none; margin: .4rem 0 .5rem; padding: 0 0 0 1.05rem }
li { padding: .2rem 0 } .kind, .line { font-size: .82rem } .kind { font-weight: 600 }
.kind.note { color: var(--soft) } .hint { font-size: .85rem; padding-left: 1rem }
@media print { .search, .legend input { display: none } }
""".strip()

_SCRIPT = """
const flows = [...document.querySelectorAll('.flow')], search = document.querySelector('.search');
const boxes = [...document.querySelectorAll('.legend input')];
function choose() {
  const words = search.value.toLowerCase();
  const on = new Set(boxes.filter(box => box.checked).map(box => box.value));
  for (const flow of flows)
    flow.hidden = !on.has(flow.dataset.status) || !flow.dataset.text.includes(words);
}
search.addEventListener('input', choose);
for (const box of boxes) box.addEventListener('change', choose);
""".strip()

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Kestra flows on Dagster: migration report</title>
<style>
{style}
</style>
</head>
<body>
<h1>Kestra flows on Dagster</h1>
<p class="date">Migration report of {date}</p>
<div class="share">{share} <small>{running} of {total} flows run</small></div>
<div class="bar">{bar}</div>
<div class="legend">
{legend}
</div>
{mistaken}
{missing}
<h2>Flows</h2>
<input class="search" type="search" placeholder="Find a flow, a file or a type" aria-label="Find">
{flows}
<script>
{script}
</script>
</body>
</html>
"""

"""The page of an execution: what it waits for, forms to resume it, a button to kill it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from kestra_dagster.flow.input_types import Input
from kestra_dagster.flow.input_values import text_value
from kestra_dagster.flow.properties import has_template
from kestra_dagster.runtime.signals import Pause

_KINDS: Mapping[str, str] = {
    "INT": "number",
    "FLOAT": "number",
    "DATE": "date",
    "TIME": "time",
    "EMAIL": "email",
    "FILE": "file",
    "SECRET": "password",
}
_HINTS: Mapping[str, str] = {
    "DATETIME": "2026-01-31T09:00:00Z",
    "DURATION": "PT1H30M",
    "URI": "https://example.com/path",
    "ARRAY": '["a", "b"]',
    "JSON": '{"key": "value"}',
    "YAML": "key: value",
}
_STYLE = """
:root{color-scheme:light dark;--line:#8884;--accent:#4f43dd}
body{font:15px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}
h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:0 0 .2rem}
section{border:1px solid var(--line);border-radius:8px;padding:1rem 1.2rem;margin:1.2rem 0}
dl{display:grid;grid-template-columns:8rem 1fr;gap:.2rem 1rem;margin:1rem 0}
dt,.hint{opacity:.7}dd{margin:0}.hint{font-size:.87rem;margin:0 0 .3rem}
label{display:block;margin:.9rem 0 .2rem;font-weight:600}
input,select,textarea{font:inherit;width:100%;box-sizing:border-box;padding:.4rem .5rem}
textarea{min-height:5rem;font-family:ui-monospace,monospace}
button{font:inherit;padding:.45rem 1.2rem;margin-top:1rem;border-radius:6px;cursor:pointer;
border:1px solid var(--line)}
button.go{background:var(--accent);border-color:var(--accent);color:#fff}
.problem{border-color:#c33;color:#c33;white-space:pre-line}
.state{font-weight:700}code{font-family:ui-monospace,monospace}
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page of an execution says; `given` are values that were not taken, to mend them."""

    execution: Mapping[str, Any]
    pauses: Sequence[Pause] = ()
    run_url: str | None = None
    command: str | None = None
    problem: str | None = None
    given: Mapping[str, Any] = field(default_factory=dict)


def execution_page(shown: Shown) -> str:
    """Return the page as HTML."""
    execution = shown.execution
    state = execution["state"]["current"]
    name = f"{execution['namespace']}.{execution['flowId']}"
    rows = {
        "State": f'<span class="state">{escape(state)}</span>',
        "Execution": f"<code>{escape(execution['id'])}</code>",
        "Since": escape(execution["state"]["histories"][-1]["date"]),
    }
    if shown.run_url:
        rows["Run"] = f'<a href="{escape(shown.run_url)}">in the Dagster UI</a>'
    parts = [f"<h1>{escape(name)}</h1>", _listing(rows)]
    if shown.problem:
        parts.append(f'<section class="problem">{escape(shown.problem)}</section>')
    if shown.command:
        parts.append(
            "<section><p>The process of this run has ended. Go on with:</p>"
            f"<p><code>{escape(shown.command)}</code></p></section>"
        )
    else:
        parts += [_pause(pause, shown.given) for pause in shown.pauses]
    if "endDate" not in execution["state"]:
        parts.append(
            '<form method="post" action="?do=kill"><button>Kill the execution</button></form>'
        )
    return _page(f"{name}: {state}", "".join(parts))


def token_page(problem: str | None = None) -> str:
    """Return the page that asks for the token."""
    said = f'<section class="problem">{escape(problem)}</section>' if problem else ""
    return _page(
        "Who are you?",
        f"<h1>Executions</h1>{said}<form method='post' action='?do=enter'>"
        '<label for="token">Token</label><p class="hint">what KESTRA_DAGSTER_TOKEN is set to</p>'
        '<input id="token" name="token" type="password" required autofocus>'
        '<button class="go">Enter</button></form>',
    )


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><body>{body}</body></html>"
    )


def _listing(rows: Mapping[str, str]) -> str:
    inside = "".join(f"<dt>{name}</dt><dd>{html}</dd>" for name, html in rows.items())
    return f"<dl>{inside}</dl>"


def _pause(pause: Pause, given: Mapping[str, Any]) -> str:
    said = pause.task.options.description
    fields = "".join(_field(one, given.get(one.id)) for one in asked(pause))
    return (
        f"<section><h2>Paused at <code>{escape(pause.task.id)}</code></h2>"
        + (f'<p class="hint">{escape(said)}</p>' if said else "")
        + '<form method="post" action="?do=resume" enctype="multipart/form-data">'
        f'<input type="hidden" name="~pause" value="{escape(pause.task_run_id)}">{fields}'
        '<button class="go">Resume</button></form></section>'
    )


def asked(pause: Pause) -> Sequence[Input]:
    """Return the inputs that a pause asks for."""
    return getattr(pause.task.spec, "on_resume", ())


def _field(item: Input, given: Any) -> str:
    name = escape(item.id)
    label = escape(item.display_name or item.id) + ("" if _needed(item) else " (optional)")
    hint = escape(" ".join(part for part in (item.description, f"({item.type})") if part))
    return (
        f'<label for="{name}">{label}</label><p class="hint">{hint}</p>'
        f"{_control(item, name, given)}"
    )


def _needed(item: Input) -> bool:
    return item.required and item.defaults is None and item.depends_on is None


def _control(item: Input, name: str, given: Any) -> str:
    needed = " required" if _needed(item) else ""
    value = _value(item) if given is None else given
    values = getattr(item, "values", None)
    if item.type in ("BOOL", "BOOLEAN"):
        values = ("true", "false")
    free = getattr(item, "allow_custom_value", False)
    if values and not free:
        several = item.type == "MULTISELECT"
        chosen = _several(value) if several else (value,)
        options = "".join(
            f"<option{' selected' if one in chosen else ''}>{escape(one)}</option>"
            for one in map(str, values)
        )
        empty = "" if several else '<option value=""></option>'
        more = " multiple" if several else ""
        return f'<select id="{name}" name="{name}"{more}{needed}>{empty}{options}</select>'
    if item.type in ("JSON", "YAML", "ARRAY", "MULTISELECT"):
        hint = _HINTS.get(item.type, _HINTS["ARRAY"])
        return (
            f'<textarea id="{name}" name="{name}" placeholder="{escape(hint)}"{needed}>'
            f"{escape(value)}</textarea>"
        )
    kind = _KINDS.get(item.type, "text")
    step = ' step="any"' if item.type == "FLOAT" else ""
    shown = "" if kind in ("file", "password") else f' value="{escape(value)}"'
    hint = f' placeholder="{escape(_HINTS[item.type])}"' if item.type in _HINTS else ""
    return f'<input id="{name}" name="{name}" type="{kind}"{step}{shown}{hint}{needed}>'


def _value(item: Input) -> str:
    """Return what a field holds at first: the default, or what is proposed."""
    value = item.defaults if item.defaults is not None else getattr(item, "prefill", None)
    if value is None or item.type == "SECRET" or has_template(value):
        return ""
    return text_value(value)


def _several(value: str) -> Sequence[str]:
    try:
        found = json.loads(value or "[]")
    except ValueError:
        return (value,)
    return [str(one) for one in found] if isinstance(found, list) else (value,)

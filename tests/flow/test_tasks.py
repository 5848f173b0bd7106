from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from kestra_dagster.flow.loader import load_flow
from kestra_dagster.flow.model import Mark, TaskOptions
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.flow.tasks import type_hint
from kestra_dagster.flow.unsupported import Unsupported

RETURN = "io.kestra.plugin.core.debug.Return"
LOG = "io.kestra.plugin.core.log.Log"
FLOW = "io.kestra.plugin.core.flow."


def flow_of(tasks: str) -> str:
    body = "".join(f"  {line}\n" for line in tasks.strip("\n").splitlines())
    return f"id: f\nnamespace: n\ntasks:\n{body}"


def only(loaded):
    (found,) = loaded.diagnostics
    return found


def test_a_task_knows_its_type_place_and_properties(load):
    flow = load(
        flow_of("- id: a\n  type: io.kestra.core.tasks.debugs.Return\n  format: '{{ x }}'")
    ).require()
    (task,) = flow.tasks
    assert (task.id, task.type) == ("a", RETURN)
    assert task.written_type == "io.kestra.core.tasks.debugs.Return"
    assert task.properties == {"format": "{{ x }}"}
    assert task.path == ("tasks", 0)
    assert task.mark == Mark(4, 5)
    assert task.options == TaskOptions()
    assert not task.is_flowable


def test_common_options(load):
    flow = load(
        flow_of(f"""
- id: a
  type: {RETURN}
  description: what it does
  timeout: PT10S
  retry: {{type: exponential, interval: PT1S, maxInterval: PT1M, maxAttempts: 3, delayFactor: 2}}
  disabled: true
  runIf: false
  allowFailure: true
  allowWarning: true
  logLevel: WARN
  logToFile: true
  taskCache: {{enabled: true, ttl: P1D}}
  assets: {{inputs: [{{id: x}}]}}
- id: b
  type: {RETURN}
  timeout: "{{{{ inputs.t }}}}"
  retry: {{type: constant, interval: PT1S, maxAttempt: 2}}
""")
    ).require()
    options = flow.tasks[0].options
    assert options.timeout == timedelta(seconds=10)
    assert options.retry.type == "exponential"
    assert options.retry.max_attempts == 3
    assert options.retry.delay_factor == 2
    assert options.run_if == "false"
    assert options.task_cache.ttl == timedelta(days=1)
    assert options.log_level == "WARN"
    assert all((options.disabled, options.allow_failure, options.allow_warning))
    assert flow.tasks[0].properties == {}
    assert flow.tasks[1].options.timeout == "{{ inputs.t }}"
    assert flow.tasks[1].options.retry.max_attempts == 2


def test_a_null_is_as_good_as_nothing(load):
    flow = load(flow_of(f"- id: a\n  type: {RETURN}\n  format: null\n  timeout:\n")).require()
    assert flow.tasks[0].properties == {}


def test_branches_of_every_shape(load):
    flow = load(
        flow_of(f"""
- id: choose
  type: {FLOW}Switch
  value: "{{{{ x }}}}"
  cases:
    on: [{{id: a, type: {RETURN}}}]
    1: [{{id: b, type: {RETURN}}}, {{id: c, type: {RETURN}}}]
  defaults: [{{id: d, type: {RETURN}}}]
- id: decide
  type: {FLOW}If
  condition: true
  then: [{{id: e, type: {RETURN}}}]
  else: [{{id: f, type: {RETURN}}}]
  errors: [{{id: g, type: {RETURN}}}]
  finally: [{{id: h, type: {RETURN}}}]
- id: graph
  type: {FLOW}Dag
  tasks:
    - task: {{id: i, type: {RETURN}}}
    - task: {{id: j, type: {RETURN}}}
      dependsOn: [i]
- id: hold
  type: {FLOW}Pause
  onPause: {{id: k, type: {RETURN}}}
- id: start
  type: {FLOW}Subflow
  namespace: n
  flowId: other
  errors: [{{id: l, type: {RETURN}}}]
""")
    ).require()
    switch, decide, graph, hold, start = flow.tasks
    shape = {name: [task.id for task in tasks] for name, tasks in switch.branches.items()}
    assert shape == {"cases.on": ["a"], "cases.1": ["b", "c"], "defaults": ["d"]}
    assert list(decide.branches) == ["then", "else", "errors", "finally"]
    assert decide.spec.condition == "true"
    assert graph.depends_on == {"i": (), "j": ("i",)}
    assert graph.branches["tasks"][1].path == ("tasks", 2, "tasks", 1, "task")
    assert [task.id for task in hold.branches["onPause"]] == ["k"]
    assert [task.id for task in start.branches["errors"]] == ["l"]
    assert not start.is_flowable
    assert [task.id for task in flow.walk() if len(task.id) == 1] == list("abcdefghijkl")


@pytest.mark.parametrize(
    ("task", "code", "place", "says", "hint"),
    [
        (f"- type: {RETURN}", "KD010", (4, 5), "`id`", "add"),
        ("- id: a", "KD017", (4, 5), "`a`", None),
        (f"- id: a\n  typ: {RETURN}", "KD017", (4, 5), "`a`", "is `typ` meant?"),
        ("- id: a\n  type: [x]", "KD015", (5, 11), "Invalid type", None),
        ("- just text", "KD022", (4, 5), "`just text`", None),
        (f"- id: a b\n  type: {RETURN}", "KD013", (4, 9), "`a b`", None),
        (f"- id: -a\n  type: {RETURN}", "KD013", (4, 9), "`-a`", None),
        (f"- id: a.b\n  type: {RETURN}", "KD013", (4, 9), "`a.b`", None),
        (f"- id: [a]\n  type: {RETURN}", "KD013", (4, 9), "a list", None),
        (
            f"- id: a\n  type: {RETURN}\n  fromat: x",
            "KD011",
            (6, 5),
            "`fromat`",
            "did you mean `format`?",
        ),
        (
            f"- id: a\n  type: {RETURN}\n  timout: PT1S",
            "KD011",
            (6, 5),
            "`timout`",
            "did you mean `timeout`?",
        ),
        (
            f"- id: a\n  type: {RETURN}\n  colour: red",
            "KD011",
            (6, 5),
            "`colour`",
            "it has: format, allowFailure, allowWarning, assets, description",
        ),
        (f"- id: a\n  type: {LOG}", "KD010", (4, 5), "`message`", "add `message:`"),
        (
            f"- id: a\n  type: {FLOW}Parallel\n  task: []",
            "KD021",
            (4, 5),
            "`tasks`",
            None,
        ),
        (
            f"- id: a\n  type: {LOG}\n  message: x\n  level: LOUD",
            "KD012",
            (7, 12),
            "one of `TRACE`, `DEBUG`",
            None,
        ),
        (
            f"- id: a\n  type: {LOG}\n  message: {{a: 1}}",
            "KD012",
            (6, 14),
            "`message` should be text or a list, but this is a map",
            None,
        ),
        (
            f"- id: a\n  type: {RETURN}\n  timeout: soon",
            "KD012",
            (6, 14),
            "`timeout` is not a duration",
            None,
        ),
        (
            f"- id: a\n  type: {RETURN}\n  disabled: maybe",
            "KD012",
            (6, 15),
            "true or false, but this is the text `maybe`",
            None,
        ),
        (
            f"- id: a\n  type: {RETURN}\n  retry: {{type: constant}}",
            "KD010",
            (6, 5),
            "`interval`",
            None,
        ),
        (
            f"- id: a\n  type: {RETURN}\n  retry: {{type: sometimes}}",
            "KD015",
            (6, 19),
            "retry type",
            "known are: constant, exponential, random",
        ),
        (
            f"- id: a\n  type: {RETURN}\n  workerGroup: {{kye: x}}",
            "KD010",
            (6, 5),
            "`workerGroup`",
            "is `kye` meant?",
        ),
        (
            "- id: a\n  type: io.kestra.plugin.core.debug.Retrun",
            "KD015",
            (5, 11),
            "Retrun",
            f"did you mean `{RETURN}`?",
        ),
        (
            "- id: a\n  type: io.kestra.plugin.core.flow.Log\n  message: x",
            "KD015",
            (5, 11),
            "flow.Log",
            f"did you mean `{LOG}`?",
        ),
        (
            f"- id: a\n  type: {FLOW}Dag\n  tasks: [{{id: b, type: {RETURN}}}]",
            "KD011",
            (6, 14),
            "Dag",
            "below `task`",
        ),
        (
            f"- id: a\n  type: {FLOW}Sequential\n  tasks: text",
            "KD012",
            (6, 12),
            "should be a list",
            None,
        ),
    ],
)
def test_what_is_wrong_is_said_at_its_place(load, task, code, place, says, hint):
    loaded = load(flow_of(task))
    assert loaded.flow is None
    found = next(one for one in loaded.diagnostics if one.code == code)
    assert (found.line, found.column) == place
    assert says in found.message
    assert hint is None or hint in (found.hint or "")
    assert "pydantic" not in found.message
    assert "Input should" not in found.message


@pytest.mark.parametrize(
    ("type_name", "hint"),
    [
        ("io.kestra.plugin.core.kv.Set", None),
        ("com.acme.Frobnicate", "entry point"),
        ("io.kestra.plugin.missing.Send", "entry point"),
    ],
)
def test_a_type_that_is_not_supported_leaves_its_flow_there(load, table, type_name, hint):
    loaded = load(flow_of(f"- id: a\n  type: {type_name}\n  timeout: PT5S\n  any: [1, 2]"))
    (found,) = loaded.diagnostics
    assert (found.code, found.line, found.column) == ("KD016", 5, 11)
    assert (found.severity, found.about) == ("error", type_name)
    assert hint is None or hint in (found.hint or "")
    (task,) = loaded.require().tasks
    assert isinstance(task.spec, Unsupported)
    assert task.options.timeout == timedelta(seconds=5)
    assert load_flow(loaded.source.text, table, strict=True).flow is None


def test_all_problems_of_a_file_come_at_once(load):
    loaded = load(
        flow_of(f"""
- id: a
  type: {LOG}
  mesage: x
- id: b
  type: {FLOW}Parallel
  concurrent: -1
  tasks:
    - id: a
      type: {RETURN}
      format: {{x: 1}}
    - id: c
      type: nope
- type: {RETURN}
""")
    )
    codes = [found.code for found in loaded.diagnostics]
    assert codes == ["KD010", "KD011", "KD012", "KD014", "KD012", "KD015", "KD010"]


def test_ids_are_unique_at_any_depth(load):
    loaded = load(
        flow_of(f"- id: a\n  type: {FLOW}Sequential\n  tasks: [{{id: a, type: {RETURN}}}]")
        + f"errors:\n  - id: a\n    type: {RETURN}\n"
    )
    assert [found.code for found in loaded.diagnostics] == ["KD014", "KD014"]
    assert "line 4" in loaded.diagnostics[0].message


def test_deprecated_properties_warn_and_are_left_out(load):
    loaded = load(flow_of(f"- id: a\n  type: {RETURN}\n  format: x\n  level: TRACE"))
    assert only(loaded).code == "KD018"
    assert only(loaded).severity == "warning"
    assert loaded.require().tasks[0].properties == {"format": "x"}


def test_old_property_names_become_current_ones(load):
    loaded = load(flow_of(f"- id: a\n  type: {FLOW}Pause\n  delay: PT1S"))
    spec = loaded.require().tasks[0].spec
    assert spec.pause_duration == timedelta(seconds=1)
    assert only(loaded).code == "KD018"
    assert "`pauseDuration`" in (only(loaded).hint or "")
    wrong = load(flow_of(f"- id: a\n  type: {FLOW}Pause\n  delay: soon"))
    assert (wrong.diagnostics[-1].code, wrong.diagnostics[-1].line) == ("KD012", 6)


def test_enterprise_properties_are_read_and_have_no_effect(load):
    loaded = load(
        flow_of(f"- id: a\n  type: {RETURN}\n  workerGroup: {{key: x}}\n  version: 1.2.3")
    )
    assert only(loaded).code == "KD020"
    assert only(loaded).severity == "info"
    assert loaded.flow is not None


def test_inputs_of_a_pause_are_inputs(load):
    flow = load(
        flow_of(f"- id: a\n  type: {FLOW}Pause\n  onResume: [{{id: x, type: INT, min: 1}}]")
    ).require()
    assert flow.tasks[0].spec.on_resume[0].min == 1
    wrong = load(flow_of(f"- id: a\n  type: {FLOW}Pause\n  onResume: [{{id: x, type: NUMBER}}]"))
    assert "onResume[0]" in only(wrong).message or "NUMBER" in only(wrong).message


def test_type_hints_look_at_the_class_not_only_at_the_package():
    known = ["io.kestra.plugin.core.http.Request", "io.kestra.plugin.core.kv.Get"]
    assert type_hint("io.kestra.plugin.core.http.Requst", known).endswith("http.Request`?")
    assert type_hint("io.kestra.plugin.core.kv.Explode", known).endswith("has: Get")
    assert type_hint("io.kestra.plugin.http.Request", known).endswith("core.http.Request`?")
    assert type_hint("io.kestra.plugin.ovh.Request", known).startswith("no such plugin")


class _Quiet(RunnableSpec):
    ignored: ClassVar[Mapping[str, str]] = {"color": "there are no colors here"}
    ignored_below: ClassVar[Mapping[tuple[str, ...], str]] = {
        ("style", "font", "size"): "all letters are alike"
    }
    differences: ClassVar[Mapping[str, str]] = {"message": "it is whispered"}
    message: Dynamic[Text]
    style: Dynamic[dict[str, Any]] | None = None


def test_what_has_no_effect_and_what_differs_is_told(table):
    text = flow_of(
        "- {id: a, type: x.Quiet, message: hi, color: red, style: {font: {size: 3, a: b}}}"
    )
    loaded = load_flow(text, type(table)({**table.specs, "x.Quiet": _Quiet}))
    assert loaded.flow is not None
    assert [(found.code, found.severity, found.message) for found in loaded.diagnostics] == [
        ("KD035", "info", "the task `a` runs with a difference: it is whispered"),
        ("KD034", "warning", "`color` has no effect: there are no colors here"),
        ("KD034", "warning", "`size` has no effect: all letters are alike"),
    ]

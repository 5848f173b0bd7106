"""References of expressions, checked when a flow is read. `«` in a flow marks a finding."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

import pytest

from kestra_dagster.flow.diagnostics import (
    FAILS_WHEN_RENDERED,
    Diagnostic,
    format_diagnostics,
    has_errors,
)
from kestra_dagster.flow.loader import Loaded, load_flow
from kestra_dagster.flow.names import ATTRIBUTES
from kestra_dagster.runtime.inline import inline_platform, run_inline
from kestra_dagster.tasks.registry import default_registry

CORE = "io.kestra.plugin.core"
SHORT = {
    "Return": f"{CORE}.debug.Return",
    "Log": f"{CORE}.log.Log",
    **{
        name: f"{CORE}.flow.{name}"
        for name in (
            "Sequential", "Parallel", "Dag", "If", "Switch", "ForEach", "EachSequential",
            "EachParallel", "Loop", "LoopUntil", "AllowFailure", "Pause", "Template",
            "WorkingDirectory", "Subflow", "ForEachItem",
        )
    },
}  # fmt: skip


def flow_of(tasks: str, before: str = "", after: str = "") -> str:
    """Write a flow; types of tasks may be short (`type: Return`), `«` marks stay."""
    parts = ["id: f", "namespace: n", textwrap.dedent(before).strip("\n"), "tasks:"]
    parts += [textwrap.indent(textwrap.dedent(tasks).strip("\n"), "  ")]
    parts += [textwrap.dedent(after).strip("\n")]
    text = "\n".join(part for part in parts if part) + "\n"
    return re.sub(r"type: ([A-Z]\w+)", lambda found: f"type: {SHORT.get(found[1], found[1])}", text)


def read(text: str) -> tuple[Loaded, list[tuple[int, int]]]:
    """Load a marked flow; return it with the places of its marks."""
    marks = []
    for line, content in enumerate(text.splitlines(), 1):
        while (at := content.find("«")) >= 0:
            marks.append((line, at + 1))
            content = content.replace("«", "", 1)
    return load_flow(text.replace("«", ""), default_registry(), file="f.yaml"), marks


def expect(text: str, *said: str) -> list[Diagnostic]:
    """Check that the findings are these (`KD043`, or `KD043 warning`) at the marks, in order."""
    loaded, marks = read(text)
    found = [one for one in loaded.diagnostics if one.code not in ("KD018", "KD019")]
    shown = format_diagnostics(found, [loaded.source])
    wanted = [one if " " in one else f"{one} error" for one in said]
    assert [f"{one.code} {one.severity}" for one in found] == wanted, shown
    assert [(one.line, one.column) for one in found] == marks, shown
    assert loaded.flow is not None
    return found


INPUTS = """
inputs:
  - {id: day, type: STRING}
  - {id: with-dash, type: STRING}
  - {id: a.b, type: STRING}
  - {id: a.c, type: JSON}
variables:
  base: s3://bucket
  "other-base": s3://other
  nested: {deep: {x: 1}, list: [1, 2]}
"""


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("{{ inputs.day }}", []),
        ("{{ inputs['with-dash'] }}", []),
        ("{{ inputs.a.b }}{{ inputs.a.c.what.ever }}{{ inputs.a }}", []),
        ("{{ inputs.day.length() }}{{ inputs.day.anything }}", []),
        ("{{ inputs[vars.base] }}{{ inputs }}", []),
        ("{{ inputs.«dya }}", ["KD041"]),
        ("x {{ inputs.day }} {{ inputs.a.«d }}", ["KD041"]),
        ("{{ inputs[«'with-dish'] }}", ["KD041"]),
        ("{{ inputs.«with-dash }}", ["KD041"]),
        ("{{ inputs.dya ?? 'x' }}{{ inputs.dya is defined }}{{ inputs.dya | default('') }}", []),
        ("{% if inputs.dya is defined %}{{ inputs.dya }}{% endif %}", []),
        ("{{ inputs.dya is defined ? inputs.dya : 'none' }}", []),
        ("{{ inputs.day == 'x' ? inputs.«dya : 'none' }}", ["KD041 warning"]),
        ("{% if inputs.day == 'x' %}{{ inputs.«dya }}{% endif %}", ["KD041 warning"]),
        ("{{ inputs.day ?? inputs.«dya }}", ["KD041 warning"]),
        ("{% for x in inputs.«list %}{{ x.y ~ loop.index }}{% endfor %}", ["KD041"]),
        ("{% set inputs = 1 %}{{ inputs.x }}", []),
        ("{% macro m(inputs) %}{{ inputs.x }}{% endmacro %}{{ m(1) }}", []),
        ("{% raw %}{{ inputs.dya }}{% endraw %}", []),
        ("{{ vars.base }}{{ vars['other-base'] }}{{ vars.nested.deep.x }}", []),
        ("{{ vars.nested.list[7] }}{{ vars.base.x }}{{ vars.nested.list.size() }}", []),
        ("{{ vars.«bas }}", ["KD042"]),
        ("{{ vars.nested.deep.«y }}", ["KD042"]),
        ("{{ vars.«other-base }}", ["KD042"]),
        ("{{ «foo.bar }}", ["KD048"]),
        ("{{ «input.day }}", ["KD048"]),
        ("{{ «day }}", ["KD048"]),
        ("{{ «with-dash }}", ["KD048"]),
        ("{{ foo ?? 'x' }}{{ flow.id startsWith 'a' or inputs.day endsWith 'z' }}", []),
        ("{{ flow.id }}{{ execution.startDate }}{{ task.type }}{{ taskrun.attemptsCount }}", []),
        ("{{ flow.«name }}", ["KD048"]),
        ("{{ execution.«startdate }}", ["KD048"]),
        ("{{ trigger.any.thing }}{{ labels.x }}{{ envs.y }}{{ globals.z }}{{ kestra.url }}", []),
        ("{{ namespace.x }}{{ workingDir }}{{ outputDir }}{{ secret('KEY') }}{{ kv('k').a }}", []),
        ("{{ «parent.taskrun.value }}", ["KD048"]),
        ("{{ taskrun.«value }}", ["KD048"]),
        ("{{ «item.value }}", ["KD048"]),
        ("{{ inputs.day | «uper }}", ["KD049"]),
        ("{{ «nwo() }}", ["KD049"]),
        ("{{ inputs.day is «blank }}", ["KD049"]),
        ("{{ inputs.day ?? («nwo()) }}", ["KD049 warning"]),
        ("{{ inputs.day «}", ["KD040"]),
        ("{{ inputs.day «&& true }}", ["KD040"]),
        ("{% «iff true %}", ["KD040"]),
    ],
)
def test_names(expression, said):
    task = f"""
    - id: one
      type: Return
      format: "{expression}"
    """
    expect(flow_of(task, INPUTS), *said)


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ("{{ inputs.dya }}", "did you mean `inputs.day`? available: day, with-dash, a"),
        ("{{ inputs.a.d }}", "available: b, c"),
        ("{{ inputs.with-dash }}", "`-` subtracts; write `inputs['with-dash']`"),
        ("{{ inputs.with-dish }}", "did you mean `inputs['with-dash']`? available: day, w"),
        ("{{ vars.other-base }}", "`-` subtracts; write `vars['other-base']`"),
        ("{{ vars.nested.deap }}", "did you mean `vars.nested.deep`? available: deep, list"),
        ("{{ outputs.on.value }}", "did you mean `outputs.one`? available: one, my-task"),
        ("{{ outputs.my-task.value }}", "`-` subtracts; write `outputs['my-task']`"),
        ("{{ outputs.my-tusk.value }}", "did you mean `outputs['my-task']`?"),
        ("{{ outputs.one-more.value }}", "`-` subtracts; write `outputs['one-more']`"),
        ("{{ my-task.value }}", "`-` subtracts; write `outputs['my-task']`"),
        ("{{ one.value }}", "write `outputs.one`"),
        ("{{ day }}", "write `inputs.day`"),
        ("{{ base }}", "write `vars.base`"),
        ("{{ ouputs.one }}", "did you mean `outputs`? available: outputs, tasks, execution, tr"),
        ("{{ execution.startdate }}", "did you mean `execution.startDate`?"),
        ("{{ 'x' | uper }}", "did you mean `upper`?"),
        ("{{ inputs.day && 1 }}", "write `and`"),
    ],
)
def test_hints_say_what_is_meant(expression, hint):
    tasks = f"""
    - {{id: one, type: Return}}
    - {{id: my-task, type: Return}}
    - {{id: one-more, type: Return}}
    - id: last
      type: Return
      format: "{expression}"
    """
    loaded, _ = read(flow_of(tasks, INPUTS))
    (found,) = loaded.diagnostics
    assert (found.hint or "").startswith(hint), found
    assert found.severity == "error"


def test_messages_in_full():
    tasks = """
    - {id: extract, type: Return}
    - id: b
      type: Return
      format: >-
        one two
        {{ outputs.extrct.value }}
    """
    loaded, _ = read(flow_of(tasks))
    assert format_diagnostics(loaded.diagnostics, [loaded.source]) == textwrap.dedent(
        """\
        f.yaml:9:18: error KD043: `outputs.extrct` does not exist: the flow has no task `extrct`
          8 |       one two
          9 |       {{ outputs.extrct.value }}
            |                  ^
          hint: did you mean `outputs.extract`? available: extract, b"""
    )


def test_a_flow_without_inputs_says_so():
    (found,) = expect(flow_of('- {id: a, type: Return, format: "{{ inputs.«x }}"}'), "KD041")
    assert found.message == "`inputs.x` does not exist: the flow has no inputs"
    expect(flow_of('- {id: a, type: Return, format: "{{ «inputs }}"}'), "KD041")


def test_subtractions_stay_subtractions():
    tasks = """
    - {id: a, type: Return}
    - {id: b, type: Return}
    - id: c
      type: Return
      format: "{{ outputs.a.value-outputs.b.value }}{{ inputs.x-inputs.y }}{{ inputs.x-1 }}"
    """
    expect(flow_of(tasks, "inputs: [{id: x, type: INT}, {id: y, type: INT}]"))
    expect(flow_of(tasks.replace("x-inputs.y", "«z-inputs.«w"),
                   "inputs: [{id: x, type: INT}]"), "KD041", "KD041")  # fmt: skip


def test_variables_that_tasks_set_are_not_judged():
    tasks = f"""
    - {{id: a, type: {CORE}.execution.SetVariables, variables: {{x: 1}}}}
    - {{id: b, type: Return, format: "{{{{ vars.x }}}}{{{{ vars.y }}}}"}}
    """
    expect(flow_of(tasks))


def test_a_rendered_variable_is_checked_where_it_stands():
    before = """
    inputs: [{id: day, type: STRING}]
    variables:
      good: "{{ inputs.day }} {{ outputs.a.value }} {{ taskrun.id }}"
      bad: "{{ inputs.«dya }}"
      late: "{{ outputs.«c.value }}"
      deep: {list: ["{{ «foo }}"]}
      broken: "«{{ inputs.day"
      unused: "{{ inputs.dya }} {{ x"
    """
    tasks = """
    - {id: a, type: Return}
    - id: b
      type: Return
      format: >-
        {{ render(vars.good) }}{{ render(vars.bad) }}{{ render(vars.late) }}
        {{ render(vars.deep) }}{{ render(vars.broken) }}{{ render(vars.good) ?? 'x' }}
        {{ render(vars.unused) ?? 'x' }}
    - {id: c, type: Return}
    """
    expect(flow_of(tasks, before), "KD041", "KD044", "KD048", "KD040")


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (  # a sequence
            """
            - {id: a, type: Return, format: "{{ outputs.«b.value }}{{ tasks.«b.state }}"}
            - {id: b, type: Return, format: "{{ outputs.a.value }}{{ tasks.a.state }}"}
            - {id: c, type: Return, format: "{{ outputs.«c.value }}{{ tasks.c.state }}"}
            - {id: d, type: Return, format: "{{ outputs.«nope.value }}{{ tasks['«nope'].x }}"}
            """.replace("['«", "[«'"),
            ["KD044", "KD044", "KD044", "KD043", "KD043"],
        ),
        (  # what is inside of earlier siblings, and in earlier siblings of ancestors
            """
            - id: a
              type: Sequential
              tasks:
                - {id: a1, type: Return}
                - {id: a2, type: Return, format: "{{ outputs.a1.value }}{{ outputs.«b.value }}"}
            - id: b
              type: Sequential
              tasks:
                - {id: b1, type: Return, format: "{{ outputs.a2.value }}{{ outputs.«b2.value }}"}
                - {id: b2, type: Return}
            """,
            ["KD044", "KD044"],
        ),
        (  # branches of an If and of a Switch
            """
            - id: a
              type: If
              condition: "{{ outputs.«a1.value == 1 }}"
              then:
                - {id: a1, type: Return, format: "{{ outputs.a.evaluationResult }}"}
              else:
                - {id: a2, type: Return, format: "{{ outputs.«a1.value }}"}
            - id: b
              type: Switch
              value: "{{ outputs.a1.value ?? outputs.a2.value }}"
              cases:
                x: [{id: b1, type: Return, format: "{{ outputs.a1.value }}"}]
                y: [{id: b2, type: Return, format: "{{ outputs.«b1.value }}"}]
              defaults: [{id: b3, type: Return, format: "{{ outputs.«b2.value }}"}]
              errors: [{id: b4, type: Return, format: "{{ outputs.b3.value }}"}]
              finally: [{id: b5, type: Return, format: "{{ outputs.b4.value }}"}]
            """,
            ["KD044", "KD045", "KD045", "KD045"],
        ),
        (  # side by side
            """
            - id: p
              type: Parallel
              tasks:
                - {id: p1, type: Return}
                - {id: p2, type: Return, format: "{{ outputs.«p1.value }}{{ outputs.«p3.value }}"}
                - {id: p3, type: Return}
            - {id: z, type: Return, format: "{{ outputs.p1.value }}"}
            """,
            ["KD046 warning", "KD046 warning"],
        ),
        (  # side by side, but one at a time
            """
            - id: p
              type: Parallel
              concurrent: 1
              tasks:
                - {id: p1, type: Return}
                - {id: p2, type: Return, format: "{{ outputs.p1.value }}{{ outputs.«p3.value }}"}
                - {id: p3, type: Return}
            """,
            ["KD044"],
        ),
        (
            """
            - id: p
              type: Parallel
              tasks:
                - id: s1
                  type: Sequential
                  tasks:
                    - {id: p1, type: Return}
                    - {id: p2, type: Return, format: "{{ outputs.p1.value }}"}
                - id: s2
                  type: Sequential
                  tasks: [{id: p3, type: Return, format: "{{ outputs.«p1.value }}"}]
            """,
            ["KD046 warning"],
        ),
        (  # a Dag
            """
            - id: d
              type: Dag
              tasks:
                - task: {id: d1, type: Return, format: "{{ outputs.«d3.value }}"}
                - task: {id: d2, type: Return, format: "{{ outputs.«d1.value }}"}
                - task: {id: d3, type: Return, format: "{{ outputs.d1.value }}"}
                  dependsOn: [d1]
                - task: {id: d4, type: Return, format: "{{ outputs.d1.value }}"}
                  dependsOn: [d3]
            - {id: z, type: Return, format: "{{ outputs.d4.value }}"}
            """,
            ["KD044", "KD046 warning"],
        ),
        (  # handlers see everything of their scope; nothing else sees them but what follows
            """
            - id: s
              type: Sequential
              tasks:
                - {id: s1, type: Return, format: "{{ outputs.«s3.value }}"}
                - {id: s2, type: Return}
              errors: [{id: s3, type: Return, format: "{{ outputs.s2.value }}"}]
              finally: [{id: s4, type: Return, format: "{{ outputs.s3.value }}"}]
            - {id: z, type: Return, format: "{{ outputs.s3.value }}{{ outputs.s4.value }}"}
            """,
            ["KD044"],
        ),
        (  # loops: earlier tasks of the iteration, and later ones by an earlier iteration only
            """
            - id: each
              type: ForEach
              values: ["1", "2"]
              tasks:
                - id: e1
                  type: Return
                  format: "{{ outputs.«e2[taskrun.value].value }}"
                - id: e2
                  type: Return
                  format: "{{ outputs.e1[taskrun.value].value }}{{ currentEachOutput(outputs.e1) }}"
                - id: e3
                  type: Return
                  format: "{{ outputs.«e3['1'].value }}{{ outputs.e3['1'].value ?? '' }}"
            - {id: z, type: Return, format: "{{ outputs.e1['1'].value }}"}
            - {id: y, type: Return, format: "{{ currentEachOutput(outputs.«ee1) }}"}
            """,
            ["KD044 warning", "KD044 warning", "KD043"],
        ),
        (
            """
            - id: each
              type: EachParallel
              value: ["1", "2"]
              tasks:
                - {id: e1, type: Return}
                - {id: e2, type: Return, format: "{{ outputs.«e1[taskrun.value].value }}"}
            """,
            ["KD046 warning"],
        ),
        (  # LoopUntil
            """
            - id: until
              type: LoopUntil
              condition: "{{ outputs.u2.value == 'x' and outputs.until.iterationCount > 1 }}"
              tasks:
                - {id: u1, type: Return, format: "{{ outputs.until.iterationCount }}"}
                - {id: u2, type: Return, format: "{% if taskrun.id %}{{ outputs.u3 }}{% endif %}"}
                - {id: u3, type: Return, format: "{{ outputs.u1.value }}{{ outputs.u3 ?? 0 }}"}
              checkFrequency: {maxIterations: "{{ outputs.«u1.value }}"}
            """,
            ["KD044"],
        ),
        (  # Loop (2.x): what is inside cannot be seen from outside
            """
            - {id: a, type: Return}
            - id: loop
              type: Loop
              values: [1, 2]
              tasks:
                - {id: l1, type: Return, format: "{{ item.value }}{{ outputs.a.value }}"}
                - {id: l2, type: Return, format: "{{ outputs.l1.value }}{{ item.parent.value }}"}
              breakWhen: "{{ iteration.outputs.x == item.index }}"
              outputs:
                - {id: x, type: STRING, value: "{{ outputs.l2.value }}{{ outputs.«z.value }}"}
            - {id: z, type: Return, format: "{{ loopOutputs(outputs.loop.outputs, 'x') }}"}
            - {id: y, type: Return, format: "{{ outputs.«l1.value }}{{ outputs.«l1['0'].value }}"}
            - {id: x, type: Return, format: "{{ «item.value }}{{ «iteration.state }}"}
            """,
            ["KD044", "KD045", "KD045 warning", "KD048", "KD048"],
        ),
        (  # WorkingDirectory and Pause
            """
            - id: w
              type: WorkingDirectory
              outputFiles: ["{{ outputs.w2.value }}"]
              inputFiles: {"a.txt": "{{ outputs.«w1.value }}"}
              tasks:
                - {id: w1, type: Return, format: "{{ workerTaskrun }}{{ taskrun.«value }}"}
                - {id: w2, type: Return, format: "{{ outputs.w1.value }}"}
            - id: p
              type: Pause
              onPause: {id: p0, type: Return, format: "{{ outputs.«p1.value }}"}
              tasks: [{id: p1, type: Return, format: "{{ outputs.p.onResume.x }}{{ outputs.p0 }}"}]
            """,
            ["KD044", "KD048", "KD044"],
        ),
        (  # disabled tasks publish nothing, and what they read does not matter
            """
            - {id: a, type: Return, disabled: true, format: "{{ outputs.nope }}{{ inputs.nope }}"}
            - id: s
              type: Sequential
              disabled: true
              tasks: [{id: s1, type: Return, format: "{{ outputs.nope }}"}]
            - {id: b, type: Return, format: "{{ outputs.«a.value }}{{ outputs.«s1.value }}"}
            """,
            ["KD047 warning", "KD047 warning"],
        ),
        (  # retried tasks may see what they published before
            """
            - id: a
              type: Return
              format: "{{ outputs.«a.value }}"
              retry: {type: constant, interval: PT1S, maxAttempts: 2}
            """,
            ["KD044 warning"],
        ),
        (  # the hidden steps of a ForEachItem, and what its inputs see
            """
            - id: each
              type: ForEachItem
              namespace: n
              flowId: other
              items: "{{ outputs.«nope.uri }}"
              inputs: {file: "{{ taskrun.items }}", other: "{{ outputs.«later.value }}"}
            - id: later
              type: Return
              format: "{{ outputs.each_merge.subflowOutputs }}{{ outputs.each_items }}"
            """,
            ["KD043", "KD044"],
        ),
        (  # tasks that look first
            """
            - id: a
              type: If
              condition: "{{ outputs.c is defined }}"
              then: [{id: a1, type: Return, format: "{{ outputs.c.value }}"}]
            - {id: b, type: Return, runIf: "{{ outputs.c is defined }}", format: "{{ outputs.c }}"}
            - {id: c, type: Return, runIf: "{{ outputs.«d == 1 }}", format: "{{ outputs.«d }}"}
            - {id: d, type: Return}
            """,
            ["KD044", "KD044"],
        ),
        (  # the options of tasks are templates too, and so are keys of maps
            """
            - {id: a, type: Return, runIf: "{{ inputs.«x }}", timeout: "{{ vars.«x }}"}
            - id: b
              type: io.kestra.plugin.core.output.OutputValues
              values:
                "{{ inputs.«y }}": ["{{ outputs.a.value }}", {k: "{{ outputs.«bb }}"}]
            """,
            ["KD041", "KD042", "KD041", "KD043"],
        ),
        (  # rendered by the task itself: with its own variables, or in another flow
            """
            - id: a
              type: io.kestra.plugin.core.storage.FilterItems
              from: "{{ outputs.«z.uri }}"
              filterCondition: "{{ price > 1 and outputs.x == inputs.y }}"
            - id: b
              type: Subflow
              namespace: n
              flowId: other
              outputs: {x: "{{ outputs.of_the_child.value }}"}
            - id: c
              type: io.kestra.plugin.core.execution.Count
              expression: "{{ count > inputs.«y }}"
              namespaces: [n]
            - id: d
              type: io.kestra.plugin.core.execution.Assert
              conditions: ["{{ outputs.«nope.value }}"]
            - {id: z, type: Return}
            """,
            ["KD044", "KD041 warning", "KD043"],
        ),
        (  # a template brings tasks that nobody knows yet
            """
            - {id: t, type: Template, namespace: n, templateId: x}
            - {id: a, type: Return, format: "{{ outputs.from_template.value }}{{ vars.x }}"}
            """,
            [],
        ),
        (  # values of loops
            """
            - id: each
              type: ForEach
              values: "{{ outputs.«each }}"
              tasks:
                - {id: e1, type: Return, format: "{{ taskrun.value }}"}
                - id: e2
                  type: If
                  condition: "{{ taskrun.value == '1' }}"
                  then:
                    - {id: e3, type: Return, format: "{{ taskrun.«value }}"}
                    - {id: e7, type: Return, format: "{{ parent.taskrun.value }}"}
                - id: e4
                  type: WorkingDirectory
                  tasks: [{id: e5, type: Return, format: "{{ taskrun.value }}"}]
              errors: [{id: e6, type: Return, format: "{{ taskrun.value }}"}]
            """,
            ["KD044", "KD048"],
        ),
    ],
)
def test_order(tasks, said):
    expect(flow_of(tasks), *said)


def test_flow_handlers_see_what_came_before():
    after = """
    errors:
      - {id: e, type: Return, format: "{{ outputs.a.value }}{{ outputs.«f.value }}"}
    finally:
      - {id: f, type: Return, format: "{{ outputs.e.value }}{{ outputs.«g.value }}"}
    afterExecution:
      - {id: g, type: Return, format: "{{ outputs.f.value }}{{ execution.state }}"}
    listeners:
      - tasks: [{id: h, type: Return, format: "{{ outputs.g.value }}{{ outputs.«i.value }}"}]
      - tasks: [{id: i, type: Return, format: "{{ outputs.h.value }}"}]
    outputs:
      - {id: x, type: STRING, value: "{{ outputs.f.value }}{{ outputs.«g.value }}"}
      - {id: y, type: STRING, value: "{{ «taskrun.value }}{{ outputs.«nope }}{{ outputs.a }}"}
    """
    tasks = '- {id: a, type: Return, format: "{{ outputs.«e.value }}"}'
    said = ["KD044", "KD044", "KD044", "KD044", "KD044", "KD048", "KD043"]
    expect(flow_of(tasks, after=after), *said)


def test_flow_retry_counts():
    tasks = '- {id: a, type: Return, format: "{{ outputs.«a.value }}"}'
    retry = "retry: {type: constant, interval: PT1S, maxAttempts: 2}"
    expect(flow_of(tasks, retry), "KD044 warning")


def test_parts_around_the_tasks():
    before = """
    inputs:
      - {id: a, type: STRING, defaults: "{{ outputs.«x }}{{ vars.v }}{{ inputs.«q }}"}
      - {id: b, type: SELECT, expression: "{{ inputs.«q }}"}
      - {id: c, type: STRING, dependsOn: {inputs: [a], condition: "{{ inputs.«d == inputs.a }}"}}
    variables: {v: 1}
    checks:
      - {condition: "{{ inputs.«q == 1 }}", message: "{{ x"}
      - {when: "{{ «outputs.a }}", message: m}
    sla:
      - id: s
        type: EXECUTION_ASSERTION
        behavior: NONE
        assert: "{{ outputs.t.x == outputs.«u }}"
    labels: {a: "{{ not rendered"}
    description: "{{ not rendered"
    """
    before = before.replace("{{ outputs.«x }}", "{{ «outputs.x }}")
    said = ["KD048 warning", "KD041 warning", "KD041", "KD041", "KD041", "KD048", "KD043 warning"]
    expect(flow_of("- {id: t, type: Return, description: '{{ x'}", before), *said)


def test_triggers():
    before = """
    inputs: [{id: a, type: STRING}]
    variables: {v: 1}
    triggers:
      - id: daily
        type: io.kestra.plugin.core.trigger.Schedule
        cron: "@daily"
        conditions:
          - {type: io.kestra.plugin.core.condition.Expression, expression: "{{ vars.«w }}"}
        inputs:
          a: "{{ trigger.date }}{{ inputs.a }}{{ vars.v }}{{ inputs.«b }}{{ schedule.date }}"
      - id: after
        type: io.kestra.plugin.core.trigger.Flow
        conditions:
          - {type: io.kestra.plugin.core.condition.Expression, expression: "{{ inputs.theirs «}"}
        inputs:
          a: "{{ trigger.outputs.x }}{{ outputs.theirs.value }}{{ inputs.theirs }}{{ «foo() }}"
          more: x
      - id: hook
        type: io.kestra.plugin.core.trigger.Webhook
        key: k
        disabled: true
        inputs: {a: "{{ vars.«w }}"}
    """
    tasks = '- {id: t, type: Return, format: "{{ inputs.more }}{{ inputs.«none }}"}'
    said = ["KD042", "KD041", "KD040", "KD049", "KD042 warning", "KD041"]
    expect(flow_of(tasks, before), *said)


def test_plugin_defaults_are_checked_where_they_stand():
    before = f"""
    pluginDefaults:
      - type: {CORE}.debug.Return
        values:
          format: "{{{{ inputs.«x }}}}"
      - type: {CORE}.log
        values: {{message: ["ok", "{{{{ outputs.«c.value }}}}"]}}
    """
    tasks = """
    - {id: a, type: Return}
    - {id: b, type: Log}
    - {id: c, type: Return, format: mine}
    """
    expect(flow_of(tasks, before), "KD041", "KD044")


def test_without_an_exact_place_the_expression_is_shown():
    """The default of a condition: found at the condition, with the place in the expression."""
    before = f"""
    pluginDefaults:
      - type: {CORE}.condition.Expression
        values: {{expression: "{{{{ one & 1 }}}}"}}
    triggers:
      - id: t
        type: {CORE}.trigger.Flow
        conditions:
          - «type: {CORE}.condition.Expression
    """
    (found,) = expect(flow_of("- {id: a, type: Return}", before), "KD040")
    assert found.hint == "write `and`"
    assert found.message == (
        "`conditions[0].expression` is not a valid template: unexpected character `&`\n"
        "  line 1, column 8:\n"
        "    {{ one & 1 }}\n"
        "           ^"
    )


@pytest.mark.parametrize(
    "expression",
    ["{{ x" + " ~ x" * 20_000 + " }}", "{{ x" + "-x" * 20_000 + " }}", "{{ x }}" * 20_000],
)
def test_very_many_faults_are_not_all_looked_for(expression):
    loaded, _ = read(flow_of(f'- {{id: a, type: Return, format: "{expression}"}}'))
    assert 1 <= len(loaded.diagnostics) <= 50


def test_what_is_written_once_is_said_once():
    tasks = """
    - &base
      id: a
      type: Return
      format: "{{ inputs.«x }}"
    - {<<: *base, id: b}
    """
    expect(flow_of(tasks), "KD041")


def test_old_names_of_properties_keep_their_place():
    expect(flow_of('- {id: p, type: Pause, delay: "{{ inputs.«x }}"}'), "KD041")


def test_a_file_with_other_errors_is_checked_too():
    text = flow_of(
        """
        - id: a
          type: io.kestra.plugin.core.unheard.Of
          tasks: [{id: inner, type: Return}]
        - {id: b, type: Return, format: "{{ outputs.a.x }}{{ outputs.inner.x }}{{ outputs.«no }}"}
        """
    )
    loaded, marks = read(text)
    assert [found.code for found in loaded.diagnostics] == ["KD015", "KD043"]
    assert [(found.line, found.column) for found in loaded.diagnostics[1:]] == marks
    assert loaded.flow is None


def test_a_flow_with_wrong_expressions_can_run():
    loaded, _ = read(flow_of('- {id: a, type: Return, format: "{{ nope }}"}'))
    assert has_errors(loaded.diagnostics)
    assert not has_errors(loaded.diagnostics, fatal=True)
    assert loaded.require().id == "f"


DELIBERATE = {
    # The cases of these flows assert that a task fails because of this.
    "all-flowable.yaml": {
        (26, "KD048 error"), (72, "KD048 error"), (76, "KD048 error"), (80, "KD048 error"),
    },
    "disable-flowable.yaml": {(51, "KD048 error")},
    "each-sequential.yaml": {(17, "KD048 warning")},
    "failed-first.yaml": {(7, "KD048 error")},
    "flow-with-outputs-failed.yml": {(11, "KD048 error")},
    "restart_pause_last_failed.yaml": {(17, "KD048 warning")},
    "retry-success.yaml": {(7, "KD048 warning")},
    # Its case gives inputs that the flow does not have, which Kestra drops unless a test does it.
    "task-flow-dynamic.yaml": {(14, "KD041 error"), (15, "KD041 error")},
}  # fmt: skip
"""File -> what is found in it, by line."""


def found_in(files: Iterable[Path]) -> dict[str, set[tuple[int, str]]]:
    found: dict[str, set[tuple[int, str]]] = {}
    for file in files:
        for one in load_flow(file, default_registry()).diagnostics:
            if one.code in FAILS_WHEN_RENDERED:
                found.setdefault(file.name, set()).add((one.line, f"{one.code} {one.severity}"))
    return found


def test_no_false_alarm_in_the_flows_of_kestra(conformance):
    files = [*conformance.glob("flows/*.y*ml"), *conformance.glob("flows_extra/*.y*ml")]
    assert len(files) > 90
    assert found_in(files) == DELIBERATE


def test_no_false_alarm_in_other_flows(conformance):
    root = Path(__file__).parents[2]
    files = [*root.glob("flows/**/*.y*ml"), *root.glob("examples/**/*.y*ml")]
    files += conformance.parent.glob("seeds/**/*.y*ml")
    assert len(files) > 4
    assert not found_in(files)


def test_attributes_are_those_that_tasks_see(tmp_path):
    task = """
    - id: each
      type: LoopUntil
      condition: "{{ true }}"
      tasks:
        - id: a
          type: io.kestra.plugin.core.output.OutputValues
          values:
            flow: "{{ flow | keys }}"
            execution: "{{ execution | keys }}"
            task: "{{ task | keys }}"
            taskrun: "{{ taskrun | keys }}"
    """
    flow = load_flow(flow_of(task), default_registry()).require()
    result = run_inline(flow, inline_platform(default_registry(), root=tmp_path), {})
    values = result.task_outputs["a"]["values"]
    seen = {name: set(json.loads(keys)) for name, keys in values.items()}
    assert seen["flow"] == ATTRIBUTES["flow"]
    assert seen["task"] == ATTRIBUTES["task"]
    assert seen["execution"] == ATTRIBUTES["execution"] - {"endDate", "outputs"}
    assert seen["taskrun"] == ATTRIBUTES["taskrun"] - {"value", "iteration", "items"}

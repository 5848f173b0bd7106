from __future__ import annotations

import pytest

from kestra_dagster.flow.loader import load_flow
from kestra_dagster.runtime.continuation import recorded_runs
from kestra_dagster.runtime.inline import inline_platform, run_inline
from kestra_dagster.runtime.succession import below, comes_after
from kestra_dagster.tasks.registry import default_registry

FLOW = """\
id: all-kinds
namespace: tests
tasks:
  - id: first
    type: io.kestra.plugin.core.debug.Return
  - id: par
    type: io.kestra.plugin.core.flow.Parallel
    tasks:
      - {id: p1, type: io.kestra.plugin.core.debug.Return}
      - id: p2
        type: io.kestra.plugin.core.flow.Sequential
        tasks:
          - {id: s1, type: io.kestra.plugin.core.debug.Return}
          - {id: s2, type: io.kestra.plugin.core.debug.Return}
  - id: dag
    type: io.kestra.plugin.core.flow.Dag
    tasks:
      - task: {id: d1, type: io.kestra.plugin.core.debug.Return}
      - task: {id: d2, type: io.kestra.plugin.core.debug.Return}
        dependsOn: [d1]
      - task: {id: d3, type: io.kestra.plugin.core.debug.Return}
        dependsOn: [d2]
      - task: {id: d4, type: io.kestra.plugin.core.debug.Return}
  - id: one
    type: io.kestra.plugin.core.flow.ForEach
    values: [a, b]
    tasks:
      - {id: o1, type: io.kestra.plugin.core.debug.Return}
      - {id: o2, type: io.kestra.plugin.core.debug.Return}
  - id: many
    type: io.kestra.plugin.core.flow.ForEach
    concurrencyLimit: 0
    values: [a, b]
    tasks:
      - {id: m1, type: io.kestra.plugin.core.debug.Return}
      - {id: m2, type: io.kestra.plugin.core.debug.Return}
  - id: pairs
    type: io.kestra.plugin.core.flow.EachParallel
    value: [a, b]
    tasks:
      - {id: e1, type: io.kestra.plugin.core.debug.Return}
      - {id: e2, type: io.kestra.plugin.core.debug.Return}
finally:
  - {id: cleanup, type: io.kestra.plugin.core.debug.Return}
"""


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory):
    """Run the flow, and give which task runs come after one of them."""
    types = default_registry()
    platform = inline_platform(types, root=tmp_path_factory.mktemp("kestra"))
    flow = load_flow(FLOW, types).require()
    result = run_inline(flow, platform, {})
    journal = platform.journal(result.execution_id)
    runs = recorded_runs(journal, flow)
    from kestra_dagster.plan.places import places

    known = places(flow)
    short = {run.id: run.task_id + "".join(f"[{v}]" for v in run.values) for run in runs.values()}

    def find(name: str):
        chosen = next(run for run in runs.values() if short[run.id] == name)
        return {short[run.id] for run in runs.values() if comes_after(run, chosen, known, flow)} - {
            "cleanup"
        }, {short[run.id] for run in runs.values() if below(run, chosen, known)}

    return find


LATER = {
    "many": {"many", "m1[a]", "m2[a]", "m1[b]", "m2[b]"},
    "pairs": {"pairs", "e1[a]", "e2[a]", "e1[b]", "e2[b]"},
    "one": {"one", "o1[a]", "o2[a]", "o1[b]", "o2[b]"},
    "dag": {"dag", "d1", "d2", "d3", "d4"},
}


def later(*names: str) -> set[str]:
    return set().union(*(LATER[name] for name in names))


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("p1", later("dag", "one", "many", "pairs")),
        ("s1", {"s2"} | later("dag", "one", "many", "pairs")),
        ("p2", {"s1", "s2"} | later("dag", "one", "many", "pairs")),
        ("d1", {"d2", "d3"} | later("one", "many", "pairs")),
        ("d4", later("one", "many", "pairs")),
        ("o1[a]", {"o2[a]", "o1[b]", "o2[b]"} | later("many", "pairs")),
        ("o2[b]", later("many", "pairs")),
        ("m1[a]", {"m2[a]"} | later("pairs")),
        ("m2[b]", later("pairs")),
        ("e1[a]", set()),
        ("pairs", {"e1[a]", "e2[a]", "e1[b]", "e2[b]"}),
    ],
)
def test_what_comes_after(after, chosen: str, expected: set[str]) -> None:
    assert after(chosen)[0] == expected


def test_everything_comes_after_the_first_but_what_handles(after) -> None:
    found, _ = after("first")
    assert {"par", "p1", "p2", "s1", "s2"} | later("dag", "one", "many", "pairs") == found


def test_below(after) -> None:
    assert after("p2")[1] == {"s1", "s2"}
    assert after("one")[1] == {"o1[a]", "o2[a]", "o1[b]", "o2[b]"}
    assert after("o1[a]")[1] == set()

"""Loops, fan-out, nesting and subflows: time a task, growth, memory, against Dagster's bare run.

    python benchmarks/loops.py [--most 10000]

Each measurement runs in a process of its own, so that its peak memory is its own. Ratios compare
figures of this run; absolute times depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LOOP = """
id: loop
namespace: benchmarks
inputs: [{id: count, type: INT}]
tasks:
  - id: each
    type: io.kestra.plugin.core.flow.ForEach
    values: "{{ range(1, inputs.count) }}"
    concurrencyLimit: 4
    tasks:
      - {id: one, type: io.kestra.plugin.core.debug.Return, format: "{{ taskrun.value }}"}
      - {id: two, type: io.kestra.plugin.core.debug.Return,
         format: "{{ outputs.one[taskrun.value].value }} of {{ inputs.count }}"}
"""
CHILD = """
id: child
namespace: benchmarks
tasks: [{id: one, type: io.kestra.plugin.core.debug.Return, format: one}]
"""
PARENT = """
id: parent
namespace: benchmarks
tasks: [{id: call, type: io.kestra.plugin.core.flow.Subflow, namespace: benchmarks, flowId: child}]
"""


def parallel(width: int) -> str:
    """Return a flow with a Parallel of so many tasks."""
    tasks = "".join(
        f"      - {{id: t{n}, type: io.kestra.plugin.core.debug.Return, format: '{n}'}}\n"
        for n in range(width)
    )
    return (
        "id: wide\nnamespace: benchmarks\ntasks:\n  - id: all\n"
        f"    type: io.kestra.plugin.core.flow.Parallel\n    tasks:\n{tasks}"
    )


def nested(depth: int) -> str:
    """Return a flow of flowables in one another, every third one a loop."""
    kinds = ("Sequential", "Parallel", "ForEach")
    lines = ["id: deep", "namespace: benchmarks", "tasks:"]
    for level in range(depth):
        pad = "  " * (2 * level + 1)
        kind = kinds[level % 3]
        lines += [f"{pad}- id: f{level}", f"{pad}  type: io.kestra.plugin.core.flow.{kind}"]
        if kind == "ForEach":
            lines.append(f"{pad}  values: \"{{{{ ['x'] }}}}\"")
        lines.append(f"{pad}  tasks:")
    pad = "  " * (2 * depth + 1)
    lines += [f"{pad}- id: leaf", f"{pad}  type: io.kestra.plugin.core.debug.Return"]
    lines.append(f"{pad}  format: deep")
    return "\n".join(lines)


def measure(name: str, engine: str, number: int) -> dict[str, Any]:
    """Run one measurement in this process."""
    import resource

    import dagster as dg

    import kestra_dagster as kd

    with tempfile.TemporaryDirectory() as folder, dg.instance_for_test() as instance:
        flows = Path(folder)
        made = {"wide": parallel, "deep": nested}
        path = flows / f"{name}.yaml"
        path.write_text(LOOP if name == "loop" else made[name](number))
        inputs = {"count": number} if name == "loop" else {}
        options: dict[str, Any] = {"flows": flows, "engine": engine}
        if engine == "dagster":
            options["instance"] = instance
        repeat = 1 if name == "loop" else 7
        times = []
        for _ in range(repeat):
            started = time.perf_counter()
            result = kd.run_flow(path, inputs, **options)
            times.append(time.perf_counter() - started)
            assert result.state == "SUCCESS", result.error
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        # The first run pays for imports and for building the job.
        seconds = statistics.median(times[1:]) if repeat > 1 else times[0]
        return {"seconds": seconds, "tasks": len(result.task_runs), "peak": peak}


def call(rounds: int) -> dict[str, dict[str, float]]:
    """Return the cost of a Subflow call and of Dagster's bare run of one op: wall and processor.

    A call is what a flow with a Subflow takes beyond one of a task of its own. The runs take turns
    in one process on one instance, so that a machine that is busy slows all of them.
    """
    import dagster as dg

    import kestra_dagster as kd

    @dg.op
    def one() -> str:
        return "one"

    def bare() -> None:
        @dg.job(executor_def=dg.in_process_executor)
        def child() -> None:
            one()

        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        assert child.execute_in_process(instance=instance, run_config=quiet).success

    def flow(name: str) -> None:
        result = kd.run_flow(folder / f"{name}.yaml", {}, flows=folder, instance=instance)
        assert result.state == "SUCCESS", result.error

    with tempfile.TemporaryDirectory() as temporary, dg.instance_for_test() as instance:
        folder = Path(temporary)
        (folder / "child.yaml").write_text(CHILD)
        (folder / "parent.yaml").write_text(PARENT)
        kinds = {"bare": bare, "child": lambda: flow("child"), "parent": lambda: flow("parent")}
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
        for _ in range(rounds + 2):
            for name, run in kinds.items():
                wall, processor = time.perf_counter(), time.process_time()
                run()
                spent = time.perf_counter() - wall, time.process_time() - processor
                taken[name].append(spent)
    # The first rounds pay for imports and for building jobs.
    columns = {name: list(zip(*spent[2:], strict=True)) for name, spent in taken.items()}
    return {
        kind: {name: statistics.median(found[index]) for name, found in columns.items()}
        for index, kind in enumerate(("wall", "processor"))
    }


def apart(*arguments: str) -> Any:
    """Run a measurement in a process of its own."""
    command = [sys.executable, __file__, "--one", *arguments]
    done = subprocess.run(command, check=True, capture_output=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=10_000)
    parser.add_argument("--one", nargs="+")
    given = parser.parse_args()
    if given.one:
        name, engine, number = (
            (*given.one, "dagster", "0")[:3] if len(given.one) == 1 else (*given.one, "0")[:3]
        )
        print(json.dumps(call(15) if name == "call" else measure(name, engine, int(number))))
        return
    few = given.most // 10
    print(f"{'':34}{'seconds':>9}{'ms a task':>11}{'peak MB':>9}")
    for engine in ("inline", "dagster"):
        base = apart("loop", engine, "10")
        small, large = (apart("loop", engine, str(count)) for count in (few, given.most))
        for count, one in ((few, small), (given.most, large)):
            row(f"ForEach of {count:,} x 2, {engine}", one)
        growth = (large["seconds"] - base["seconds"]) / (small["seconds"] - base["seconds"])
        more = large["peak"] - small["peak"]
        print(f"    {growth:.1f} x the time for 10 x the values, {more:+.0f} MB")
        row(f"Parallel of 200, {engine}", apart("wide", engine, "200"))
        row(f"nested 30 deep, {engine}", apart("deep", engine, "30"))
    for kind, seconds in apart("call").items():
        beyond, alone = seconds["parent"] - seconds["child"], seconds["bare"]
        print(f"{kind} time, medians of 15 runs in turn")
        print(f"    bare Dagster run of one op    {alone:9.3f}")
        print(f"    a run of a flow of one task   {seconds['child']:9.3f}")
        print(
            f"    a Subflow call                {beyond:9.3f}   {beyond / alone:.2f} x the bare run"
        )


def row(label: str, one: dict[str, Any]) -> None:
    """Print one measurement."""
    each = one["seconds"] / one["tasks"] * 1000
    print(f"{label:34}{one['seconds']:9.2f}{each:11.2f}{one['peak']:9.0f}")


if __name__ == "__main__":
    main()

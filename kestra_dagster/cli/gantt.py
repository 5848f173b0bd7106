"""Task runs as bars over time, in plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kestra_dagster.runtime.records import TaskRun

TASK, FLOWABLE = "█", "─"
ASCII: Mapping[str, str] = {TASK: "#", FLOWABLE: "-"}


def gantt(runs: Sequence[TaskRun], width: int = 50, *, ascii_only: bool = False) -> str:
    """Draw one line per task run: name (indented by nesting), bar, seconds.

    The bars share one scale, from the first start to the last end, over `width` columns; a run
    that is too short for the scale still shows as one column. Open runs are left out.
    """
    ended = [(run, run.ended) for run in runs if run.ended]
    if not ended:
        return ""
    by_id = {run.id: run for run in runs}
    parents = {run.parent_id for run in runs}
    names = ["  " * _depth(run, by_id) + _name(run) for run, _ in ended]
    label = max(map(len, names))
    first = min(run.started for run, _ in ended)
    span = max((end - first).total_seconds() for _, end in ended) or 1e-9
    lines = []
    for name, (run, end) in zip(names, ended, strict=True):
        left = min(int((run.started - first).total_seconds() / span * width), width - 1)
        right = max(int((end - first).total_seconds() / span * width), left + 1)
        bar = (FLOWABLE if run.id in parents else TASK) * (right - left)
        lines.append(f"{name:<{label}}  {' ' * left + bar:<{width}}  {run.seconds:7.3f} s")
    text = "\n".join(lines)
    return text.translate(str.maketrans(dict(ASCII))) if ascii_only else text


def _depth(run: TaskRun, by_id: Mapping[str, TaskRun]) -> int:
    depth = 0
    while run.parent_id and (parent := by_id.get(run.parent_id)):
        run, depth = parent, depth + 1
    return depth


def _name(run: TaskRun) -> str:
    return f"{run.task_id}[{run.value}]" if run.value is not None else run.task_id

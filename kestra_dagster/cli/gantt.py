"""Task runs as bars over time, in plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kestra_dagster.runtime.records import TaskRun

TASK, FLOWABLE = "█", "─"
ASCII: Mapping[str, str] = {TASK: "#", FLOWABLE: "-"}


def gantt(runs: Sequence[TaskRun], width: int = 50, *, ascii_only: bool = False) -> str:
    """Draw one line per task run, children below their parent: name, bar, seconds.

    The bars share one scale, from the first start to the last end, over `width` columns; a run
    that is too short for the scale still shows as one column. Open runs are left out.
    """
    rows = [(depth, run, run.ended) for depth, run in _tree(runs) if run.ended]
    if not rows:
        return ""
    parents = {run.parent_id for run in runs}
    names = ["  " * depth + _name(run) for depth, run, _ in rows]
    label = max(map(len, names))
    first = min(run.started for _, run, _ in rows)
    span = max((end - first).total_seconds() for *_, end in rows) or 1e-9
    lines = []
    for name, (_, run, end) in zip(names, rows, strict=True):
        left = min(int((run.started - first).total_seconds() / span * width), width - 1)
        right = max(int((end - first).total_seconds() / span * width), left + 1)
        bar = (FLOWABLE if run.id in parents else TASK) * (right - left)
        lines.append(f"{name:<{label}}  {' ' * left + bar:<{width}}  {run.seconds:7.3f} s")
    text = "\n".join(lines)
    return text.translate(str.maketrans(dict(ASCII))) if ascii_only else text


def _tree(runs: Sequence[TaskRun]) -> Iterator[tuple[int, TaskRun]]:
    children: dict[str | None, list[TaskRun]] = {}
    known = {run.id for run in runs}
    for run in runs:
        children.setdefault(run.parent_id if run.parent_id in known else None, []).append(run)
    waiting = [(0, run) for run in reversed(children.get(None, ()))]
    while waiting:
        depth, run = waiting.pop()
        yield depth, run
        waiting += [(depth + 1, child) for child in reversed(children.get(run.id, ()))]


def _name(run: TaskRun) -> str:
    return f"{run.task_id}[{run.value}]" if run.value is not None else run.task_id

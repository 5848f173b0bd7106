"""Task runs as lines of the journal, and back; outputs as the JSON a template would see."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from kestra_dagster.runtime.records import Attempt, LoopItem, TaskRun


def to_line(run: TaskRun) -> dict[str, Any]:
    """Return a run as a JSON object; absent values are left out."""
    line: dict[str, Any] = {
        "run": run.id,
        "task": run.task_id,
        "state": run.state,
        "started": run.started.isoformat(),
        "seq": run.sequence,
    }
    optional = {
        "parent": run.parent_id,
        "value": run.value,
        "iteration": run.iteration,
        "loop": [list(item[:3]) for item in run.loop] or None,
        "outputs": run.outputs,
        "file": run.log_file,
        "ended": run.ended.isoformat() if run.ended else None,
        "error": run.error,
        "history": [
            [attempt.state, attempt.started.isoformat(), attempt.ended.isoformat(), attempt.error]
            for attempt in run.history
        ]
        or None,
        "states": [[state, since.isoformat()] for state, since in run.states] or None,
    }
    line.update((key, value) for key, value in optional.items() if value is not None)
    return line


def from_line(line: Mapping[str, Any]) -> TaskRun | None:
    """Return the run a line holds; None for a line of another kind."""
    if "run" not in line:
        return None
    moment = datetime.fromisoformat
    return TaskRun(
        id=line["run"],
        task_id=line["task"],
        state=line["state"],
        started=moment(line["started"]),
        sequence=line["seq"],
        parent_id=line.get("parent"),
        value=line.get("value"),
        iteration=line.get("iteration"),
        loop=tuple(LoopItem(*item) for item in line.get("loop", ())),
        outputs=line.get("outputs"),
        ended=moment(line["ended"]) if "ended" in line else None,
        error=line.get("error"),
        log_file=line.get("file"),
        history=tuple(
            Attempt(state, moment(started), moment(ended), error)
            for state, started, ended, error in line.get("history", ())
        ),
        states=tuple((state, moment(since)) for state, since in line.get("states", ())),
    )


def jsonable(value: Any) -> Any:
    """Return nested data with JSON types only, as Kestra stores outputs (dates as ISO text)."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item) for item in value]
    if isinstance(value, datetime):
        return iso_millis(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return iso_duration(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def iso_millis(moment: datetime) -> str:
    """Return an instant as `2026-01-02T03:04:05.678Z`, the form dates have in Kestra's context."""
    text = moment.isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def iso_duration(duration: timedelta) -> str:
    """Return a duration as Java prints it: `PT1H2M3.5S`."""
    seconds = duration.total_seconds()
    sign = "-" if seconds < 0 else ""
    hours, rest = divmod(abs(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    text = (f"{hours:.0f}H" if hours else "") + (f"{minutes:.0f}M" if minutes else "")
    if rest or not text:
        text += f"{rest:.6f}".rstrip("0").rstrip(".") + "S"
    return f"{sign}PT{text}"

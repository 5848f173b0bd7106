from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from kestra_dagster.cli.gantt import gantt
from kestra_dagster.runtime.records import TaskRun

T0 = datetime(2026, 1, 1, tzinfo=timezone.utc)


def run(id: str, start: float, end: float | None, parent: str | None = None, **more) -> TaskRun:
    return TaskRun(
        id=id,
        task_id=id,
        state="SUCCESS",
        started=T0 + timedelta(seconds=start),
        ended=None if end is None else T0 + timedelta(seconds=end),
        sequence=0,
        parent_id=parent,
        **more,
    )


def test_sequential_tasks_follow_each_other() -> None:
    runs = [run("seq", 0, 4), run("a", 0, 1, "seq"), run("b", 1, 3, "seq"), run("c", 3, 4, "seq")]
    assert gantt(runs, 8) == (
        "seq  ────────    4.000 s\n"
        "  a  ██          1.000 s\n"
        "  b    ████      2.000 s\n"
        "  c        ██    1.000 s"
    )


def test_parallel_tasks_share_their_columns() -> None:
    runs = [run("a", 0, 2), run("b", 0.1, 2), run("c", 0, 1)]
    assert gantt(runs, 4) == (
        "a  ████    2.000 s\n"
        "b  ████    1.900 s\n"
        "c  ██      1.000 s"
    )  # fmt: skip


def test_children_stand_below_their_parent_in_whatever_order_they_ran() -> None:
    runs = [run("one", 0, 2), run("two", 0, 2), run("b", 0, 2, "two"), run("a", 0, 2, "one")]
    names = [line.split("  █")[0].split("  ─")[0] for line in gantt(runs, 4).splitlines()]
    assert names == ["one", "  a", "two", "  b"]


def test_iterations_carry_their_value_and_open_runs_are_left_out() -> None:
    runs = [run("each", 0, 1, value="x"), run("open", 0, None)]
    assert gantt(runs, 2, ascii_only=True) == "each[x]  ##    1.000 s"
    assert gantt([run("open", 0, None)]) == ""


def test_a_run_without_length_is_still_seen() -> None:
    assert gantt([run("a", 0, 0)], 3) == "a  █      0.000 s"


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=20),
    st.integers(1, 200),
)
def test_every_bar_is_inside_the_chart(times: list[tuple[float, float]], width: int) -> None:
    runs = [run("t", start, start + length) for start, length in times]
    lines = gantt(runs, width).splitlines()
    assert len(lines) == len(runs)
    for line in lines:
        chart = line[3 : 3 + width]
        assert chart.strip(" ") != ""
        assert set(chart.strip(" ")) == {"█"}

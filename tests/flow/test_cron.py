from __future__ import annotations

import pytest

from kestra_dagster.flow.cron import cron_problem


@pytest.mark.parametrize(
    "expression",
    [
        "* * * * *",
        "0 9 * * MON-FRI",
        "*/15 0-6,20-23 1,15 JAN,jul 0",
        "0 0 * * 7",
        "5/10 * * * *",
        "0 0 1-31/2 * *",
        "0 0 * * FRI-0",
        "@daily",
        "@Hourly",
        "  0 9 * * *  ",
    ],
)
def test_good_expressions(expression):
    assert cron_problem(expression) is None


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("$ome Inv@lid Cr0n", "3 fields"),
        ("* * * * * *", "withSeconds"),
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day of month"),
        ("* * * 13 *", "month"),
        ("* * * FOO *", "FOO"),
        ("* * * * 8", "day of week"),
        ("* * L * *", "L"),
        ("* * * * 5#2", "cannot read"),
        ("*/0 * * * *", "step"),
        ("30-10 * * * *", "ends before"),
        ("*-5 * * * *", "cannot read"),
        ("1,,2 * * * *", "cannot read"),
        ("@reboot", "nickname"),
        ("", "0 fields"),
    ],
)
def test_bad_expressions(expression, says):
    assert says in (cron_problem(expression) or "")


def test_seconds():
    assert cron_problem("*/10 * * * * *", with_seconds=True) is None
    assert "second" in (cron_problem("61 * * * * *", with_seconds=True) or "")
    assert "6: second" in (cron_problem("* * * * *", with_seconds=True) or "")

"""Kestra's own expressions: one test per case of `expressions.yaml`."""

from __future__ import annotations

from typing import Any

import pytest
from case_host import case_host
from expression_cases import judge, known_differences, load_cases, plain

from kestra_dagster import expressions
from kestra_dagster.errors import KestraDagsterError

RECURSIVE = "kestra.variables.recursive-rendering"
CASES = load_cases()


def _cases() -> list[Any]:
    if not CASES:
        return [pytest.param(None, marks=pytest.mark.skip("there are no cases here"))]
    differ = known_differences()
    return [
        pytest.param(
            case,
            id=case["id"],
            marks=[pytest.mark.xfail(reason=differ[case["id"]], strict=True)]
            if case["id"] in differ
            else [],
        )
        for case in CASES
    ]


@pytest.mark.parametrize("case", _cases())
def test_case(case, tmp_path):
    variables = plain(case.get("variables") or {})
    recursive = str((case.get("config") or {}).get(RECURSIVE, "")).lower() == "true"
    with case_host(case, variables, tmp_path) as host:

        def render() -> str:
            return expressions.render(case["template"], variables, host, recursive=recursive)

        if case.get("error"):
            with pytest.raises(KestraDagsterError) as caught:
                render()
            assert case.get("error_contains", "") in str(caught.value)
        else:
            judge(case, render())


@pytest.mark.skipif(not CASES, reason="there are no cases here")
def test_documented_differences_are_few():
    differ = known_differences().keys() & {case["id"] for case in CASES}
    assert len(differ) <= 0.02 * len(CASES)

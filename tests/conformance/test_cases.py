"""Kestra's own cases, each through both engines."""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance.actions import run_case
from conformance.corpus import Case, corpus_folder
from conformance.fixtures import ENGINES, MakeEngine, cases_found
from conformance.known import known

RUN = [
    pytest.param(
        engine,
        case,
        id=f"{engine}-{case.area}-{case.id}",
        marks=[pytest.mark.dagster] * (engine == "dagster") + known(engine, case.id),
    )
    for engine in ENGINES
    for case in cases_found()
    if case.share == "run"
]


@pytest.mark.conformance
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("engine", "case"), RUN)
def test_case(
    engine: str,
    case: Case,
    make_engine: MakeEngine,
    tmp_path: Path,
    record_property: pytest.FixtureRequest,
) -> None:
    record_property("conformance", (engine, case.area, case.id))
    differs = run_case(case, corpus_folder(), make_engine(engine), tmp_path / "given")
    assert not differs, "\n".join(differs)

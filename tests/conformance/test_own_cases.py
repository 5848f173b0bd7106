"""Our own cases, each through both engines: what the language says and Kestra's cases leave out."""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance.actions import run_case
from conformance.corpus import Case, load_cases
from conformance.fixtures import ENGINES, MakeEngine

OWN = Path(__file__).parent / "own"
RUN = [
    pytest.param(
        engine,
        case,
        id=f"{engine}-{case.area}-{case.id}",
        marks=[pytest.mark.dagster] * (engine == "dagster"),
    )
    for engine in ENGINES
    for case in load_cases(OWN)
]


@pytest.fixture
def corpus() -> Path:
    return OWN


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("engine", "case"), RUN)
def test_case(
    engine: str,
    case: Case,
    make_engine: MakeEngine,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    if engine == "dagster" and not pytestconfig.getoption("keyword"):
        pytest.skip("left to `make conformance`: Kestra's cases try the same machinery")
    differs = run_case(case, OWN, make_engine(engine), tmp_path / "given")
    assert not differs, "\n".join(differs)

"""Our own cases, each through both engines: what the language says and Kestra's cases leave out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conformance.actions import run_case
from conformance.corpus import Case, load_cases
from conformance.fixtures import ENGINES, MakeEngine

OWN = Path(__file__).parent / "own"
CASES = load_cases(OWN)


def cases(engine: str) -> list[Any]:
    """Return our cases for an engine."""
    marks = [pytest.mark.dagster] * (engine == "dagster")
    return [
        pytest.param(engine, case, id=f"{engine}-{case.area}-{case.id}", marks=marks)
        for case in CASES
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Take both engines for `make conformance`, and the quick one otherwise."""
    engines = ENGINES if metafunc.config.getoption("thorough") else ("inline",)
    if "case" in metafunc.fixturenames:
        metafunc.parametrize(("engine", "case"), [one for name in engines for one in cases(name)])


@pytest.fixture
def corpus() -> Path:
    return OWN


@pytest.mark.timeout(180)
def test_case(engine: str, case: Case, make_engine: MakeEngine, tmp_path: Path) -> None:
    differs = run_case(case, OWN, make_engine(engine), tmp_path / "given")
    assert not differs, "\n".join(differs)

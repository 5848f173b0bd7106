"""What the tests of cases share: an instance a worker, an engine a case, the table at the end."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conformance.corpus import Case, CorpusUnreadable, Share, corpus_folder, load_cases
from conformance.engines import DagsterEngine, Engine, InlineEngine

__all__ = ["corpus", "dagster_instance", "make_engine", "pytest_terminal_summary"]

ENGINES = ("dagster", "inline")
QUIET = {
    "telemetry": {"enabled": False},
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    },
}
MakeEngine = Callable[[str], Engine]


@pytest.fixture(scope="session")
def dagster_instance() -> Iterator[Any]:
    """Give a real instance on SQLite, one for all cases of a worker."""
    from dagster import instance_for_test

    with instance_for_test(overrides=QUIET) as instance:
        yield instance


@pytest.fixture
def corpus() -> Path:
    """Give the folder of the cases."""
    return corpus_folder()


@pytest.fixture
def make_engine(
    tmp_path: Path, corpus: Path, request: pytest.FixtureRequest
) -> Iterator[MakeEngine]:
    """Give what makes the engine of a case: on a folder of flows of its own, with no keys set."""
    from kestra_dagster.tasks.registry import default_registry

    flows = tmp_path / "flows"
    flows.mkdir()
    for file in (corpus / "flows").glob("*.y*ml"):
        os.symlink(file, flows / file.name)
    types = default_registry()
    with ExitStack() as stack:

        def make(name: str) -> Engine:
            if name == "inline":
                return InlineEngine(tmp_path / "kestra", types, flows)
            instance = request.getfixturevalue("dagster_instance")
            engine = DagsterEngine(instance, types, flows)
            stack.callback(engine.platform.kv.purge, ["*"], None, False)
            return engine

        yield make


def cases_found() -> list[Case]:
    """Return the cases at hand; none where there is no corpus."""
    try:
        return load_cases(corpus_folder())
    except CorpusUnreadable:
        if os.environ.get("KESTRA_CONFORMANCE"):
            raise
        return []


def left_out(cases: list[Case]) -> Counter[tuple[str, Share]]:
    """Count the cases that are not run, by area and by what takes them out."""
    return Counter((case.area, case.share) for case in cases if case.share != "run")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many cases of each area passed, failed and are left out, by engine."""
    ran = _ran(terminalreporter.stats)
    if not ran:
        return
    cases = cases_found()
    out = left_out(cases)
    areas = sorted({case.area for case in cases})
    terminalreporter.section("cases by area")
    for engine in ENGINES:
        if any(one == engine for one, _, _ in ran):
            for line in table(engine, areas, ran, out):
                terminalreporter.write_line(line)


def _ran(stats: Mapping[str, Any]) -> Counter[tuple[str, str, str]]:
    """Count the reports of cases by engine, area, and `passed`, `failed` or `known`."""
    kinds = {"passed": "passed", "failed": "failed", "error": "failed", "xfailed": "known"}
    ran: Counter[tuple[str, str, str]] = Counter()
    for outcome, kind in kinds.items():
        for report in stats.get(outcome, ()):
            found = dict(getattr(report, "user_properties", ())).get("conformance")
            if found:
                ran[found[0], found[1], kind] += 1
    return ran


def table(
    engine: str,
    areas: Sequence[str],
    ran: Mapping[tuple[str, str, str], int],
    out: Mapping[tuple[str, Share], int],
) -> list[str]:
    """Return the table of one engine, a line for each area and one for all of them."""
    kinds = ("passed", "failed", "known")
    shares: tuple[Share, ...] = ("java plugin", "not portable", "network", "triggers")
    rows = []
    for area in areas:
        done = [ran[engine, area, kind] for kind in kinds]
        rows.append((area, *done, *(out[area, share] for share in shares)))
    rows.append(("all", *(sum(row[at] for row in rows) for at in range(1, 8))))
    head = ("area", "passed", "failed", "known to differ", *shares)
    lines = [f"{engine:<18}" + "".join(f"{name:>17}" for name in head[1:])]
    lines += [
        f"{row[0]:<18}" + "".join(f"{number or '-':>17}" for number in row[1:]) for row in rows
    ]
    passed, total = rows[-1][1], sum(rows[-1][1:4])
    return [*lines, f"{passed} of {total} = {passed / max(total, 1):.1%}", ""]

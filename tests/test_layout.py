"""The rooms of the package import one way, and those that say so do without Dagster."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kestra_dagster"
ROOMS = (
    "errors",
    "steady_clock",
    "expressions",
    "flow",
    "plan",
    "triggers",
    "runtime",
    "tasks",
    "schema",
    "executor",
    "storage",
    "instance",
    "local",
    "orchestration",
    "workers",
    "lake",
    "webhooks",
    "executions",
    "api",
    "migration",
    "component",
    "definitions",
    "cli",
)
"""In the order of CONTRIBUTING.md: a room imports from those before it only."""
WITHOUT_DAGSTER = ROOMS[: ROOMS.index("executor")]


def imports(file: Path) -> Iterator[str]:
    """Yield the modules a file imports, those for type checking alone aside."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "kestra_dagster":
                yield from (f"kestra_dagster.{alias.name}" for alias in node.names)
            else:
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def files(room: str) -> list[Path]:
    module = PACKAGE / f"{room}.py"
    return [module] if module.is_file() else sorted((PACKAGE / room).rglob("*.py"))


def test_every_room_is_listed() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert found - {"__init__", "__pycache__"} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_those_before_it(room: str) -> None:
    later = ROOMS[ROOMS.index(room) + 1 :]
    wrong = [
        f"{file.relative_to(PACKAGE)} imports {module}"
        for file in files(room)
        for module in imports(file)
        if module.startswith("kestra_dagster.") and module.split(".")[1] in later
    ]
    assert not wrong


@pytest.mark.parametrize("room", WITHOUT_DAGSTER)
def test_a_room_before_the_executor_knows_no_dagster(room: str) -> None:
    wrong = [
        str(file.relative_to(PACKAGE))
        for file in files(room)
        for module in imports(file)
        if module.split(".")[0].startswith("dagster")
    ]
    assert not wrong

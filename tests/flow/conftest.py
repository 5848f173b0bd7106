"""A small table of task types, and flows around a snippet, for the tests of the loader."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import yaml
from pydantic import ConfigDict

from kestra_dagster.flow.dialects import CORE, canonical
from kestra_dagster.flow.flowables import FLOWABLES
from kestra_dagster.flow.loader import Loaded, load_flow
from kestra_dagster.flow.properties import Duration, Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec, TaskSpec
from kestra_dagster.flow.unsupported import CORE_TYPES


class Return(RunnableSpec):
    deprecated: ClassVar[Mapping[str, str]] = {"level": "nothing: it never had an effect"}
    format: Dynamic[Text] | None = None


class Log(RunnableSpec):
    message: Dynamic[Text | list[Text]]
    level: Dynamic[Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR"]] = "INFO"


class Sleep(RunnableSpec):
    duration: Dynamic[Duration]


class Anything(RunnableSpec):
    """Stands for a task type that somebody else models."""

    model_config = ConfigDict(extra="allow")


class Table:
    """TaskTypes over a fixed mapping."""

    def __init__(self, specs: Mapping[str, type[TaskSpec]]) -> None:
        self.specs = specs

    def canonical(self, type_name: str) -> str:
        return canonical(type_name)

    def spec(self, type_name: str) -> type[TaskSpec] | None:
        return self.specs.get(type_name)

    def polling(self, type_name: str) -> type[TaskSpec] | None:
        return None

    def names(self) -> Iterable[str]:
        return self.specs


_SMALL = {
    **FLOWABLES,
    f"{CORE}debug.Return": Return,
    f"{CORE}log.Log": Log,
    f"{CORE}flow.Sleep": Sleep,
}


@pytest.fixture(scope="session")
def table() -> Table:
    """The flowables and three runnables."""
    return Table(_SMALL)


@pytest.fixture(scope="session")
def permissive() -> Table:
    """All of Kestra's core types; those not modelled here take any property."""
    return Table({**dict.fromkeys(CORE_TYPES, Anything), **_SMALL})


@pytest.fixture
def load(table: Table) -> Callable[[str], Loaded]:
    """Load a whole flow from its text."""
    return lambda text: load_flow(text, table, file="flow.yaml")


@pytest.fixture
def load_parts(table: Table) -> Callable[..., Loaded]:
    """Load a flow of one task with top-level properties given as data."""

    def load(**parts: Any) -> Loaded:
        base = {
            "id": "sample",
            "namespace": "my.team",
            "tasks": [{"id": "one", "type": f"{CORE}debug.Return"}],
        }
        return load_flow(yaml.safe_dump({**base, **parts}, sort_keys=False), table)

    return load


@pytest.fixture(scope="session")
def conformance() -> Path:
    """The folder of Kestra's own cases, which is not part of the repository."""
    near = Path(__file__).parents[3] / "shared" / "conformance"
    folder = Path(os.environ.get("KESTRA_CONFORMANCE", near))
    if not folder.is_dir():
        pytest.skip("the conformance cases are not here")
    return folder

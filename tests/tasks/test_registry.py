from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kestra_dagster.flow.properties import Rendered
from kestra_dagster.flow.task_types import RunnableSpec, TaskSpec
from kestra_dagster.tasks.registry import BUILT_IN, PluginError, Registry, default_registry

RETURN = "io.kestra.plugin.core.debug.Return"


def test_every_type_can_be_loaded():
    registry = default_registry()
    for name in registry.names():
        spec = registry.spec(name)
        assert spec is not None, name
        assert issubclass(spec, TaskSpec)
        assert spec.kind != "runnable" or spec.run is not RunnableSpec.run, name


def test_names_are_canonical():
    registry = default_registry()
    assert [name for name in registry.names() if registry.canonical(name) != name] == []


@pytest.mark.parametrize(
    "old",
    [
        "io.kestra.core.tasks.debugs.Return",
        "io.kestra.core.tasks.log.Log",
        "io.kestra.core.tasks.flows.Sequential",
        "io.kestra.core.tasks.flows.Parallel",
        "io.kestra.plugin.fs.http.Download",
        "io.kestra.plugin.fs.http.Request",
        "io.kestra.plugin.aws.s3.Upload",
        "io.kestra.core.tasks.storages.Split",
        "io.kestra.core.tasks.states.Get",
    ],
)
def test_old_names_lead_to_a_type(old):
    registry = default_registry()
    assert registry.spec(registry.canonical(old)) is not None


def test_unknown_type():
    assert default_registry().spec("io.kestra.plugin.core.debug.Retrun") is None


def test_a_type_imports_its_own_module_only():
    code = (
        "import sys; from kestra_dagster.tasks.registry import default_registry\n"
        f"default_registry().spec('{RETURN}')\n"
        "tasks = {m for m in sys.modules if m.startswith('kestra_dagster.tasks.')}\n"
        "heavy = {'dagster', 'boto3', 'botocore', 'httpx', 'jq'} & set(sys.modules)\n"
        "mine = {f'kestra_dagster.tasks.{name}' for name in ('debug', 'families', 'registry')}\n"
        "assert tasks == mine, tasks\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def write_package(folder: Path, name: str, entry: str, source: str) -> None:
    """Lay out an installed package as pip leaves it."""
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[kestra_dagster.tasks]\ntypes = {entry}\n")


SOURCE = """
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec

class Greet(RunnableSpec):
    name: Dynamic[Text]

    def run(self, context):
        context.log.info(f"greeting {self.name}")
        return {"greeting": f"Hello {self.name}"}

TYPES = {"com.example.Greet": Greet, "com.example.Lazy": "PACKAGE:Greet"}
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_a_package_adds_its_own_task(site, context):
    write_package(site, "greetings", "greetings:TYPES", SOURCE.replace("PACKAGE", "greetings"))
    registry = Registry(BUILT_IN)
    assert {"com.example.Greet", "com.example.Lazy"} <= set(registry.names())
    for name in ("com.example.Greet", "com.example.Lazy"):
        spec = registry.spec(name)
        assert spec is not None
        assert issubclass(spec, RunnableSpec)
        assert context.run(spec, {"name": "{{ task.id }}"}) == {"greeting": "Hello task"}
    assert context.log.messages("INFO") == ["greeting task"] * 2
    assert registry.problems() == ()


def test_two_packages_with_one_type(site):
    for name in ("first", "second"):
        write_package(site, name, f"{name}:TYPES", SOURCE.replace("PACKAGE", name))
    registry = Registry(BUILT_IN)
    with pytest.raises(PluginError, match=r"`com.example.Greet` is offered by `\w+` and by `\w+`"):
        registry.spec("com.example.Greet")
    assert len(registry.problems()) == 2
    assert registry.spec(RETURN) is not None


def test_a_package_cannot_replace_a_type_of_ours(site):
    source = SOURCE.replace("com.example.Greet", RETURN).replace("PACKAGE", "thief")
    write_package(site, "thief", "thief:TYPES", source)
    with pytest.raises(PluginError, match="offered by `kestra-dagster` and by `thief`"):
        Registry(BUILT_IN).spec(RETURN)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nowhere_at_all", "No module named 'nowhere_at_all'"),
        ("OTHER = 1", "TYPES"),
        ("TYPES = [1]", "expected a mapping of task types, found list"),
        ("TYPES = {'com.example.Greet': 5}", "not a type name with a RunnableSpec subclass"),
        ("TYPES = {'com.example.Greet': dict}", "not a type name with a RunnableSpec subclass"),
        ("raise SystemError('boom')", "boom"),
    ],
)
def test_a_broken_package_is_named(site, source, said):
    write_package(site, "broken", "broken:TYPES", source)
    registry = Registry(BUILT_IN)
    assert registry.spec(RETURN) is not None
    with pytest.raises(PluginError, match="package `broken`") as caught:
        registry.spec("com.example.Greet")
    assert said in str(caught.value)
    assert len(registry.problems()) == 1


@pytest.mark.parametrize("target", ["broken_late:Nothing", "nowhere_at_all:X", "broken_late:N"])
def test_a_class_that_is_not_there(site, target):
    source = f"N = 5\nTYPES = {{'com.example.Greet': '{target}'}}"
    write_package(site, "broken_late", "broken_late:TYPES", source)
    with pytest.raises(PluginError, match=r"`com\.example\.Greet` of package `broken_late`"):
        Registry(BUILT_IN).spec("com.example.Greet")


def test_a_template_may_stand_where_a_number_has_limits():
    """Limits beside `Dynamic[...] | None` would be asked of the template itself."""
    registry = default_registry()
    wrong = [
        f"{name}: {field}"
        for name in registry.names()
        if (spec := registry.spec(name)) is not None
        for field, info in spec.model_fields.items()
        if info.metadata
        and not any(isinstance(mark, Rendered) for mark in info.metadata)
        and "Rendered" in repr(info.annotation)
    ]
    assert wrong == []

"""`io.kestra.plugin.graalvm`: short scripts that are given values or rows, and return some."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.records_json import jsonable
from kestra_dagster.runtime.working_files import inside, write_input_files
from kestra_dagster.tasks.data_from import DataFrom, each
from kestra_dagster.tasks.items import EXTENSION
from kestra_dagster.tasks.process import run_process
from kestra_dagster.tasks.rows import Rows
from kestra_dagster.tasks.script_lines import ScriptLines
from kestra_dagster.tasks.script_place import ScriptPlace
from kestra_dagster.tasks.script_spec import inherited

_SHOWN = ("flow", "execution", "task", "taskrun", "inputs", "outputs", "trigger", "vars", "labels")
"""The variables of expressions that scripts see by name."""


class _Language(NamedTuple):
    name: str
    command: Sequence[str]
    driver: str


_LANGUAGES: Mapping[str, _Language] = {
    "python": _Language("Python", (sys.executable, "-I"), "evaluate.py"),
    "js": _Language("JavaScript", ("node",), "evaluate.js"),
}


class GraalSpec(RunnableSpec):
    """A script that runs in a process of its own."""

    ignored: ClassVar[Mapping[str, str]] = {
        "options": "they are for GraalVM, which is not used",
        "concurrent": "rows are handled one after another",
    }
    differences: ClassVar[Mapping[str, str]] = {
        "type": "the script runs outside the JVM: it sees `logger` and the variables, and neither "
        "`runContext` nor classes of Java"
    }
    language: ClassVar[_Language]

    script: Dynamic[Text]

    def evaluate(
        self,
        context: TaskContext,
        modules: str = "",
        outputs: Sequence[str] = (),
        source: Path | None = None,
    ) -> Path:
        """Run the script, once or for each row of `source`, and return the file that it wrote."""
        with ScriptPlace(context) as place:
            target = inside(context.working_dir, ".evaluated")
            asked = {
                "script": self.script,
                "variables": {name: jsonable(context.variables.get(name)) for name in _SHOWN},
                "modules": modules,
                "outputs": list(outputs),
                "source": str(source) if source else None,
                "target": str(target),
            }
            told = place.secret_file("asked.json", json.dumps(asked, ensure_ascii=False))
            driver = Path(place.library("eval")) / self.language.driver
            lines = ScriptLines(context)
            code = run_process(
                [*self.language.command, str(driver), str(told)],
                lines.take,
                context.cancel,
                folder=place.folder,
                env=inherited(),
            )
        if code:
            why = lines.last_errors[-1] if lines.last_errors else f"exit code {code}"
            raise TaskFailed(f"the {self.language.name} script fails: {why}")
        return target


class Eval(GraalSpec):
    """Run a script, and return the values that it is to give."""

    outputs: Dynamic[list[Text]] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        target = self.evaluate(context, self.module_folder(context), self.outputs or ())
        return {"outputs": json.loads(target.read_text(encoding="utf-8")), "result": None}

    def module_folder(self, context: TaskContext) -> str:
        """Return the folder that the script's own modules are in."""
        return ""


class PythonEval(Eval):
    """Run a script in Python, and return the values that it is to give."""

    language = _LANGUAGES["python"]
    modules: Dynamic[dict[str, Text]] | None = None

    def module_folder(self, context: TaskContext) -> str:
        folder = "__kestra_python"
        named = {f"{folder}/{name}": text for name, text in (self.modules or {}).items()}
        write_input_files(named, context)
        return str(context.working_dir / folder)


class JsEval(Eval):
    """Run a script in JavaScript, and return the values that it is to give."""

    language = _LANGUAGES["js"]


class FileTransform(GraalSpec):
    """Run a script for each row, which it changes, drops or takes apart."""

    from_: DataFrom = Field(alias="from")

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        source = inside(context.working_dir, ".rows")
        with Rows(source) as written:
            for row in each(self.from_, context):
                written.write(row)
        target = self.evaluate(context, source=source)
        with target.open("rb") as file:
            context.metric("records", sum(1 for _ in file))
        return {"uri": context.storage.put(target, f"rows{EXTENSION}")}


class PythonTransform(FileTransform):
    """Run a script in Python for each row, which it changes, drops or takes apart."""

    language = _LANGUAGES["python"]


class JsTransform(FileTransform):
    """Run a script in JavaScript for each row, which it changes, drops or takes apart."""

    language = _LANGUAGES["js"]

"""JSON and YAML files to rows and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, ClassVar

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file
from kestra_dagster.tasks.rows import check_charset, opened_text, plain, read_json, read_rows
from kestra_dagster.tasks.serdes import Conversion, store_rows


class JsonToIon(Conversion):
    """Convert a JSON file to rows: one value after another, or a list of them."""

    new_line: Dynamic[bool] = True
    """Whether each line is a value; false for a list of values. Either is recognized."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        return store_rows(read_json(self.from_, self.charset, context), context)


class IonToJson(Conversion):
    """Convert rows to JSON: one a line, or as one list."""

    ignored: ClassVar[Mapping[str, str]] = {
        "shouldKeepAnnotations": "annotations of Ion are left out",
    }

    new_line: Dynamic[bool] = True
    """Whether each row has a line of its own; false for one list."""
    time_zone_id: Dynamic[Text] | None = None

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        end = ".jsonl" if self.new_line else ".json"
        rows = read_rows(self.from_, context)
        return _stored(context, f"rows{end}", self.charset, lambda file: self._write(rows, file))

    def _write(self, rows: Iterator[Any], file: IO[str]) -> int:
        encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=plain).encode
        count = 0
        if not self.new_line:
            file.write("[")
        for row in rows:
            if not self.new_line and count:
                file.write(",")
            file.write(encode(row) + ("\n" if self.new_line else ""))
            count += 1
        if not self.new_line:
            file.write("]")
        return count


class JsonToJsonl(Conversion):
    """Convert a JSON list to JSON values, one a line."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        def write(file: IO[str]) -> int:
            count = 0
            for value in read_json(self.from_, self.charset, context):
                file.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
                count += 1
            return count

        return _stored(context, "rows.jsonl", self.charset, write)


class YamlToIon(Conversion):
    """Convert a YAML file to rows: one a document, and the items of a list as such."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        def rows() -> Iterator[Any]:
            for document in _documents(self.from_, self.charset, context):
                yield from document if isinstance(document, list) else [document]

        return store_rows(rows(), context)


class IonToYaml(Conversion):
    """Convert rows to YAML documents."""

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        import yaml

        def write(file: IO[str]) -> int:
            count = 0
            for row in read_rows(self.from_, context):
                file.write("---\n")
                yaml.safe_dump(plain(row), file, sort_keys=False, allow_unicode=True)
                count += 1
            return count

        return _stored(context, "rows.yaml", self.charset, write)


class YamlToJson(Conversion):
    """Convert a YAML file to JSON, each document on a line."""

    new_line: Dynamic[bool] = True
    json_list: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        def write(file: IO[str]) -> int:
            documents = [plain(one) for one in _documents(self.from_, self.charset, context)]
            if self.json_list:
                json.dump(documents, file, ensure_ascii=False)
            else:
                file.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in documents)
            return len(documents)

        return _stored(context, "document.json", self.charset, write)


class JsonToYaml(Conversion):
    """Convert JSON to YAML, each value a document."""

    json_list: Dynamic[bool] = False

    def run(self, context: TaskContext) -> Mapping[str, Any]:
        import yaml

        def write(file: IO[str]) -> int:
            count = 0
            for value in read_json(self.from_, self.charset, context):
                file.write("---\n" if count else "")
                yaml.safe_dump(value, file, sort_keys=False, allow_unicode=True)
                count += 1
            return count

        return _stored(context, "document.yaml", self.charset, write)


def _documents(uri: str, charset: str, context: TaskContext) -> Iterator[Any]:
    import yaml

    with opened_text(uri, charset, context) as file:
        try:
            yield from (one for one in yaml.safe_load_all(file.read()) if one is not None)
        except yaml.YAMLError as error:
            raise TaskFailed(f"`{uri}` is not YAML: {error}") from error


def _stored(
    context: TaskContext, name: str, charset: str, write: Callable[[IO[str]], int]
) -> dict[str, Any]:
    check_charset(charset)
    with scratch_file(context) as path:
        with path.open("w", encoding=charset, newline="") as file:
            count = write(file)
        context.metric("records", count)
        return {"uri": context.storage.put(path, name), "size": count}

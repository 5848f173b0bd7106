"""YAML in and out, as Jackson on snakeyaml does it: minimal quotes, dashes indented by one."""

from __future__ import annotations

from datetime import date, datetime, time, timezone
from decimal import Decimal
from io import StringIO
from typing import Any

import yaml
from yaml import events
from yaml.emitter import Emitter

from kestra_dagster.expressions.context import Budget
from kestra_dagster.expressions.errors import ExpressionError, ExpressionLimitError
from kestra_dagster.expressions.java_time import Moment, time_json
from kestra_dagster.expressions.text import java_text
from kestra_dagster.expressions.values import Entry, is_collection, is_map

_MAX_INPUT = 500_000
_MAX_DEPTH = 60
_STRING = "tag:yaml.org,2002:str"
_RESERVED = {
    word
    for name in ("false", "no", "n", "off", "null", "on", "true", "yes", "y")
    for word in (name, name.capitalize(), name.upper())
}


class _JacksonEmitter(Emitter):
    """PyYAML's emitter is snakeyaml's ancestor; Jackson sets its `indicatorIndent` to 1."""

    def expect_block_sequence_item(self, first: bool = False) -> None:
        """Write ` -` where PyYAML writes `-`; a nested block starts on a line of its own."""
        if not first and isinstance(self.event, events.SequenceEndEvent):
            self.indent = self.indents.pop()
            self.state = self.states.pop()
            return
        self.write_indent()
        self.stream.write(" ")
        self.column += 1
        self.whitespace = True
        self.write_indicator("-", True, indention=True)
        self.states.append(self.expect_block_sequence_item)
        self.expect_node(sequence=True)


def yaml_text(value: Any, budget: Budget) -> str:
    """Return a value as a YAML document that ends with a new line."""
    stream = StringIO()
    emitter = _JacksonEmitter(stream, width=1 << 40, allow_unicode=True)
    emitter.emit(events.StreamStartEvent())
    emitter.emit(events.DocumentStartEvent(explicit=False))
    _emit(value, emitter, budget, 0)
    emitter.emit(events.DocumentEndEvent(explicit=False))
    emitter.emit(events.StreamEndEvent())
    text = stream.getvalue()
    budget.text(len(text))
    return text.removesuffix("...\n")


def _emit(value: Any, emitter: Emitter, budget: Budget, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ExpressionLimitError(f"the value is nested more than {_MAX_DEPTH} levels deep")
    budget.spend(8)
    if isinstance(value, Entry):
        value = {value.key: value.value}
    if is_map(value):
        emitter.emit(events.MappingStartEvent(None, None, True, flow_style=False))
        for key, item in value.items():
            _emit(key if isinstance(key, str) else java_text(key), emitter, budget, depth + 1)
            _emit(item, emitter, budget, depth + 1)
        emitter.emit(events.MappingEndEvent())
    elif is_collection(value):
        emitter.emit(events.SequenceStartEvent(None, None, True, flow_style=False))
        for item in value:
            _emit(item, emitter, budget, depth + 1)
        emitter.emit(events.SequenceEndEvent())
    else:
        text, style = _scalar(value)
        emitter.emit(events.ScalarEvent(None, _STRING, (True, True), text, style=style))


def _scalar(value: Any) -> tuple[str, str | None]:
    if value is None:
        return "null", None
    if isinstance(value, str):
        return value, _style(value)
    if isinstance(value, (bool, int, float, Decimal)):
        return java_text(value), None
    written = time_json(value)
    if written is None:
        text = java_text(value)
        return text, _style(text)
    if not written.startswith('"'):
        return written, None
    return written[1:-1], _style(written[1:-1])


def _style(text: str) -> str | None:
    """Say how Jackson quotes a string: `"`, as a block (`|`), or not at all."""
    if not text or text in _RESERVED or text.startswith("~"):
        return '"'
    for index, char in enumerate(text):
        if char in "[]{},":
            return '"'
        if char == "#" and index and text[index - 1] in " \t":
            return '"'
        if char == ":" and (index + 1 == len(text) or text[index + 1] in " \t\n"):
            return '"'
    return "|" if "\n" in text else None


def parse_yaml(text: str, budget: Budget) -> Any:
    """Read one YAML 1.1 document; `yes` is true and `010` is 8, as for snakeyaml."""
    if len(text) > _MAX_INPUT:
        raise ExpressionLimitError(f"the YAML is longer than {_MAX_INPUT} characters")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _times(yaml.load(text, loader), budget, 0)  # only a SafeLoader is used
    except yaml.YAMLError as error:
        problem = str(getattr(error, "problem", None) or error).splitlines()[0]
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ExpressionError(f"not valid YAML: {problem}{place}") from None
    except RecursionError:
        raise ExpressionLimitError("the YAML is nested too deep") from None
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise ExpressionError(f"not valid YAML: {error}") from None


def _times(value: Any, budget: Budget, depth: int) -> Any:
    """Return the document with its dates as Java has them; aliases count each time."""
    budget.spend()
    if depth > _MAX_DEPTH:
        raise ExpressionLimitError(f"the YAML is nested more than {_MAX_DEPTH} levels deep")
    if type(value) is dict:
        return {key: _times(item, budget, depth + 1) for key, item in value.items()}
    if type(value) is list:
        return [_times(item, budget, depth + 1) for item in value]
    if isinstance(value, datetime):
        return Moment(value if value.tzinfo else value.replace(tzinfo=timezone.utc), 0, "date")
    if isinstance(value, date):
        return Moment(datetime.combine(value, time(), timezone.utc), 0, "date")
    return value

"""Check a map against a pydantic model and say what is wrong in plain words, at its place."""

from __future__ import annotations

import difflib
import functools
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kestra_dagster.flow.diagnostics import Report
from kestra_dagster.flow.model import Source, SourcePath
from kestra_dagster.flow.properties import LOAD
from kestra_dagster.flow.reader import value_mark
from kestra_dagster.flow.unsupported import may_be_a_plugin

ModelT = TypeVar("ModelT", bound=BaseModel)


def validate(
    model: type[ModelT],
    data: Mapping[str, Any],
    path: SourcePath,
    report: Report,
    owner: str,
    also_known: Iterable[str] = (),
) -> ModelT | None:
    """Return the model of `data`, or None with every problem reported below `path`.

    `owner` names the thing in messages; `also_known` are properties read elsewhere, for hints.
    """
    try:
        return model.model_validate(data, context=LOAD)
    except ValidationError as error:
        _report_all(model, data, error, path, report, owner, also_known)
        return None


def explain(model: type[BaseModel], data: Mapping[str, Any], error: ValidationError) -> list[str]:
    """Say in plain words why `data` is no `model`; for values that stand in no file."""
    report = Report(Source("", "", {}))
    _report_all(model, data, error, (), report, "the task", ())
    return [found.message for found in report.found]


def _report_all(
    model: type[BaseModel],
    data: Mapping[str, Any],
    error: ValidationError,
    path: SourcePath,
    report: Report,
    owner: str,
    also_known: Iterable[str],
) -> None:
    seen: dict[SourcePath, list[ErrorDetails]] = {}
    for problem in error.errors(include_url=False):
        seen.setdefault(_written(problem, data), []).append(problem)
    for place, problems in seen.items():
        _report(model, data, path, place, problems, report, owner, also_known)


def check_map(value: Any, path: SourcePath, report: Report, owner: str) -> dict[str, Any] | None:
    """Return `value` if it is a map, else report it."""
    if isinstance(value, dict):
        return value
    report.add("KD022", path, owner=owner, found=describe(value))
    return None


def check_list(value: Any, path: SourcePath, report: Report, name: str) -> list[Any]:
    """Return `value` if it is a list, `[]` for nothing; report anything else."""
    if isinstance(value, list):
        return value
    if value is not None:
        reason = f"should be a list, but this is {describe(value)}"
        report.add(
            "KD012", path, at=value_mark(report.source, path), what=f"`{name}`", reason=reason
        )
    return []


def suggest(name: str, known: Iterable[str]) -> str | None:
    """Return a did-you-mean hint, if anything is near."""
    candidates = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    if not near:
        folded = {candidate.lower(): candidate for candidate in candidates}
        near = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
        near = [folded[found] for found in near]
    return f"did you mean `{near[0]}`?" if near else None


def misspelled(name: str, given: Iterable[Any]) -> str | None:
    """Return a hint to the one of the names given that is meant to be the one that is missing."""
    close = difflib.get_close_matches(name, map(str, given), n=1, cutoff=0.6)
    return f"is `{close[0]}` meant?" if close else None


def type_written_as(data: Any) -> str | None:
    """Return a hint to the misspelled `type` of a map that has none."""
    return misspelled("type", data) if isinstance(data, dict) and "type" not in data else None


def describe(value: Any) -> str:
    """Name a value for a message, shortened."""
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    kind = "text" if isinstance(value, str) else "value"
    return f"the {kind} `{text if len(text) <= 60 else text[:57] + '...'}`"


def property_names(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the names of a model's properties as YAML writes them."""
    return _property_names(model)


@functools.cache
def _property_names(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _written(problem: ErrorDetails, data: Any) -> SourcePath:
    """Drop from a pydantic place what names a choice of a union, not a part of the file."""
    place: list[str | int] = []
    for step in problem["loc"]:
        if _holds(data, step):
            data = data[step]
            place.append(step)
    if problem["type"] == "missing":
        place.append(problem["loc"][-1])
    return tuple(place)


def _report(
    model: type[BaseModel],
    data: Mapping[str, Any],
    path: SourcePath,
    place: SourcePath,
    problems: Sequence[ErrorDetails],
    report: Report,
    owner: str,
    also_known: Iterable[str],
) -> None:
    first = problems[0]
    kind, name = first["type"], _dotted(place)
    holder = f"`{_dotted(place[:-1])}` of {owner}" if len(place) > 1 else owner
    last = str(place[-1]) if place else ""
    inner = _model_at(model, place[:-1])
    if kind == "missing":
        known = [*(property_names(inner) if inner else ()), *(also_known if inner is model else ())]
        hint = f"add `{last}:`"
        given = _value_at(data, place[:-1])
        if isinstance(given, dict):
            hint = misspelled(last, [key for key in given if key not in known]) or hint
        report.add("KD010", (*path, *place[:-1]), owner=holder, name=last, hint=hint)
        return
    if kind == "extra_forbidden":
        known = [*(property_names(inner) if inner else ()), *(also_known if inner is model else ())]
        hint = suggest(last, known) or (f"it has: {', '.join(known)}" if known else None)
        report.add("KD011", (*path, *place), owner=holder, name=last, hint=hint)
        return
    if kind == "missing_type":
        of = f"`{name}` of {owner}" if name else owner
        report.add("KD017", (*path, *place), owner=of, hint=type_written_as(_value_at(data, place)))
        return
    if kind == "unknown_type":
        context = dict(first.get("ctx", {}))
        at = value_mark(report.source, (*path, *place, "type"))
        # Task runners and the like are plugins too: Kestra may well have what is not here.
        plugin = context.pop("plugin", False) and may_be_a_plugin(context["type"])
        report.add("KD016" if plugin else "KD015", (*path, *place), at=at, **context)
        return
    at_property = first.get("ctx", {}).get("at")
    if at_property:
        place = (*place, at_property)
        name = _dotted(place)
    value = _value_at(data, place)
    said = list(dict.fromkeys(_reason(problem) for problem in problems))
    if all(reason.startswith("should be ") for reason in said):
        wanted = " or ".join(reason.removeprefix("should be ") for reason in said)
        reason = f"should be {wanted}, but this is {describe(value)}"
    else:
        reason = next(reason for reason in said if not reason.startswith("should be "))
    at = value_mark(report.source, (*path, *place)) if place else None
    what = f"`{name}`" if name else owner
    report.add("KD012", (*path, *place), at=at, what=what, reason=reason)


_WANTED = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozenset": "a list",
    "dict": "a map",
    "mapping": "a map",
    "model": "a map",
    "dataclass": "a map",
    "datetime": "a date and time",
    "date": "a date",
    "time": "a time",
    "none": "empty",
}

_BOUNDS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def _reason(problem: ErrorDetails) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    if kind in ("literal_error", "enum"):
        expected = context.get("expected", "").replace("'", "`").replace(" or ", ", ")
        return f"should be one of {expected}"
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        return f"should be {word} {context.get(key)}"
    if kind in ("too_short", "string_too_short"):
        return "must not be empty"
    if kind in ("too_long", "string_too_long"):
        return f"is longer than {context.get('max_length')}"
    if kind == "string_pattern_mismatch":
        return f"should be text that matches `{context.get('pattern')}`"
    if kind == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    wanted = _WANTED.get(kind.split("_")[0])
    return f"should be {wanted}" if wanted else problem["msg"]


def _dotted(place: SourcePath) -> str:
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _value_at(data: Any, place: SourcePath) -> Any:
    for step in place:
        if not _holds(data, step):
            return None
        data = data[step]
    return data


def _holds(data: Any, step: str | int) -> bool:
    if isinstance(data, dict):
        return step in data
    return isinstance(data, list) and isinstance(step, int) and step < len(data)


def _model_at(model: type[BaseModel], place: SourcePath) -> type[BaseModel] | None:
    """Follow property names into nested models."""
    current: Any = model
    for step in place:
        if isinstance(step, int):
            continue
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            return None
        fields = current.model_fields
        field = next((f for name, f in fields.items() if (f.alias or name) == step), None)
        current = _first_model(field.annotation) if field else None
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _first_model(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    origin = get_origin(annotation)
    if origin is Annotated:
        return _first_model(get_args(annotation)[0])
    if origin in (Union, types.UnionType, list, tuple):
        return next(filter(None, map(_first_model, get_args(annotation))), None)
    return None

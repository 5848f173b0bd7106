"""Filters, functions and tests by name; their modules load when a template uses one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple


class Callee(NamedTuple):
    """Where a filter or function is defined; `parameters` None means any number without names."""

    module: str
    name: str
    parameters: tuple[str, ...] | None = ()


def _table(module: str, **entries: str | tuple[str, tuple[str, ...] | None]) -> dict[str, Callee]:
    table = {}
    for name, entry in entries.items():
        if isinstance(entry, str):
            table[name.rstrip("_")] = Callee(module, entry)
        else:
            table[name.rstrip("_")] = Callee(module, *entry)
    return table


_DATE = ("format", "timeZone", "existingFormat", "locale")
_STAMP = ("timeZone", "existingFormat")

FILTERS: dict[str, Callee] = {
    **_table(
        "filters_text",
        abbreviate=("abbreviate", ("length",)),
        capitalize="capitalize",
        condense="condense",
        endsWith=("ends_with", ("value",)),
        escapeChar=("escape_char", ("type",)),
        format=("format_", ()),
        indent=("indent", ("amount", "prefix")),
        lower="lower",
        nindent=("nindent", ("amount", "prefix")),
        nl2br="nl2br",
        regexExtract=("regex_extract", ("regex", "group")),
        regexMatch=("regex_match", ("regex",)),
        regexReplace=("regex_replace", ("regex", "replacement")),
        replace=("replace", ("replace_pairs", "regexp")),
        slugify="slugify",
        split=("split", ("delimiter", "limit")),
        startsWith=("starts_with", ("value",)),
        string="string",
        substringAfter=("substring_after", ("separator",)),
        substringAfterLast=("substring_after_last", ("separator",)),
        substringBefore=("substring_before", ("separator",)),
        substringBeforeLast=("substring_before_last", ("separator",)),
        title="title",
        trim="trim",
        upper="upper",
    ),
    **_table(
        "filters_collections",
        chunk=("chunk", ("size",)),
        default=("default", ("default",)),
        distinct="distinct",
        first="first",
        flatten="flatten",
        join=("join", ("separator",)),
        keys="keys",
        last="last",
        length="length",
        merge=("merge", ("items",)),
        reverse="reverse",
        rsort="rsort",
        slice=("slice_", ("fromIndex", "toIndex")),
        sort="sort",
        values="values",
    ),
    **_table(
        "filters_data",
        abs="absolute",
        base64decode="base64_decode",
        base64encode="base64_encode",
        className="class_name_of",
        jq=("jq", ("expression",)),
        json="to_json",
        jsonEncode="to_json",
        md5="md5",
        number=("number", ("type",)),
        numberFormat=("number_format", ("format",)),
        sha1="sha1",
        sha256="sha256",
        sha512="sha512",
        toIon="to_ion",
        toJson="to_json",
        urldecode="url_decode",
        urlencode="url_encode",
        yaml="to_yaml",
    ),
    **_table(
        "filters_dates",
        date=("date", _DATE),
        dateAdd=("date_add", ("amount", "unit", *_DATE)),
        timestamp=("timestamp", _STAMP),
        timestampMicro=("timestamp_micro", _STAMP),
        timestampMilli=("timestamp_milli", _STAMP),
        timestampNano=("timestamp_nano", _STAMP),
    ),
}

FUNCTIONS: dict[str, Callee] = {
    **_table(
        "functions_core",
        env=("env", ("name", "default")),
        fetchContext="print_context",
        fromIon=("from_ion", ("ion", "allRows")),
        fromJson=("from_json", ("json",)),
        ionDecode=("from_ion", ("ion", "allRows")),
        json=("from_json", ("json",)),
        jsonDecode=("from_json", ("json",)),
        max=("maximum", None),
        min=("minimum", None),
        printContext="print_context",
        range=("range_", ("start", "end", "increment")),
        render=("render", ("toRender", "recursive")),
        renderOnce=("render_once", ("toRender",)),
        tasksWithState=("tasks_with_state", ("state",)),
        yaml=("from_yaml", ("yaml",)),
    ),
    **_table(
        "functions_crypto",
        decrypt=("decrypt", ("key", "encrypted")),
        encrypt=("encrypt", ("key", "plaintext")),
    ),
    **_table(
        "functions_dates",
        dayOfMonth=("day_of_month", ("date",)),
        dayOfWeek=("day_of_week", ("date",)),
        hourOfDay=("hour_of_day", ("date",)),
        isDateAfter=("is_date_after", ("date", "reference")),
        isDateBefore=("is_date_before", ("date", "reference")),
        isDateBetween=("is_date_between", ("date", "after", "before")),
        isDayWeekInMonth=("is_day_week_in_month", ("date", "dayOfWeek", "position")),
        isLastWorkingDay=("is_last_working_day", ("date", "workingDays")),
        isPublicHoliday=("is_public_holiday", ("date", "countryCode", "subDivision")),
        isWeekend=("is_weekend", ("date",)),
        monthOfYear=("month_of_year", ("date",)),
        now=("now", _DATE),
    ),
    **_table(
        "functions_host",
        appLink=("not_open_source", None),
        credential=("not_open_source", None),
        errorLogs="error_logs",
        fileExists=("file_exists", ("path", "namespace")),
        fileSize=("file_size", ("path", "namespace")),
        fileURI=("file_uri", ("path", "namespace", "revision", "version")),
        http=(
            "http",
            ("uri", "method", "query", "body", "contentType", "headers", "options", "accept"),
        ),
        isFileEmpty=("is_file_empty", ("path", "namespace")),
        kv=("kv", ("key", "namespace", "errorOnMissing")),
        read=("read", ("path", "namespace", "revision", "version")),
        secret=("secret", ("key", "namespace", "subkey", "full")),
        subflow=("subflow", None),
    ),
    **_table(
        "functions_ids",
        id="short_id",
        ksuid="ksuid",
        nanoId=("nano_id", ("length", "alphabet")),
        randomInt=("random_int", ("lower", "upper")),
        randomPort="random_port",
        uuid="uuid",
    ),
    **_table(
        "functions_outputs",
        currentEachOutput=("current_each_output", ("outputs",)),
        iterationOutput=("iteration_output", ("taskId", "iteration")),
        loopOutputs=("loop_outputs", ("outputs", "name")),
        parentOutput=("parent_output", ("index",)),
    ),
}

TESTS = ("defined", "empty", "even", "iterable", "json", "map", "null", "odd")


@cache
def resolve(callee: Callee) -> Callable[..., Any]:
    """Import the function behind a name."""
    module = import_module(f"kestra_dagster.expressions.{callee.module}")
    return getattr(module, callee.name)

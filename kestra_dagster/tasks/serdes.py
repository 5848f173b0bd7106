"""What the tasks of `io.kestra.plugin.serdes` have in common: a file in, a file out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any, ClassVar, Literal

from pydantic import Field

from kestra_dagster.errors import TaskFailed
from kestra_dagster.flow.properties import Dynamic, Text
from kestra_dagster.flow.task_types import RunnableSpec
from kestra_dagster.runtime.context import TaskContext
from kestra_dagster.runtime.files import scratch_file
from kestra_dagster.tasks.items import EXTENSION
from kestra_dagster.tasks.rows import Rows, as_datetime

OnBadLines = Literal["ERROR", "WARN", "SKIP"]
EXTRA = "serdes"


class Conversion(RunnableSpec):
    """A file to convert."""

    from_: Dynamic[Text] = Field(alias="from")
    """URI of the file in internal storage."""
    charset: Dynamic[Text] = "UTF-8"


def store_rows(rows: Iterable[Any], context: TaskContext) -> dict[str, Any]:
    """Store rows as a file of Kestra's, one a line, and return the outputs."""
    with scratch_file(context) as path:
        with Rows(path) as written:
            for row in rows:
                written.write(row)
        context.metric("records", written.count)
        return {"uri": context.storage.put(path, f"rows{EXTENSION}"), "size": written.count}


def bad_line(policy: OnBadLines, message: str, context: TaskContext) -> None:
    """Deal with a record that cannot be converted: fail, warn, or be silent."""
    if policy == "ERROR":
        raise TaskFailed(message, hint="`onBadLines: WARN` leaves such records out")
    if policy == "WARN":
        context.log.warn(f"left out: {message}")


class TextWriter(Conversion):
    """How dates and times are written in a text format."""

    date_format: Dynamic[Text] = "yyyy-MM-dd"
    time_format: Dynamic[Text] = "HH:mm:ss[XXX]"
    date_time_format: Dynamic[Text] = "yyyy-MM-dd'T'HH:mm:ss.SSS[XXX]"
    time_zone_id: Dynamic[Text] | None = None

    deprecated: ClassVar[Mapping[str, str]] = {}

    def written(self, value: Any) -> Any:
        """Return dates and times as text by their format, anything else unchanged."""
        found = as_datetime(value)
        if found is None:
            return value
        if isinstance(found, datetime):
            return self._formatted(found, self.date_time_format)
        if isinstance(found, date):
            when = datetime(found.year, found.month, found.day)
            return self._formatted(when, self.date_format)
        return self._formatted(datetime.combine(date(1970, 1, 1), found), self.time_format)

    def _formatted(self, when: datetime, pattern: str) -> str:
        from kestra_dagster.expressions.date_names import names_of
        from kestra_dagster.expressions.date_patterns import format_moment, parse_pattern
        from kestra_dagster.expressions.java_time import Moment, zone_of

        zone = zone_of(self.time_zone_id) if self.time_zone_id else None
        if when.tzinfo is not None and zone is not None:
            when = when.astimezone(zone)
        moment = Moment(when, 0, "zoned" if when.tzinfo else "local")
        return format_moment(moment, parse_pattern(pattern), names_of("en"))


def table_rows(
    rows: Iterable[Any], *, header: bool, uri: str
) -> Iterator[tuple[tuple[str, ...] | None, list[Any]]]:
    """Yield the cells of each row; with the first of maps their names, where a header is wanted.

    Cells of later maps follow the names of the first.
    """
    names: tuple[str, ...] | None = None
    for number, row in enumerate(rows, start=1):
        if isinstance(row, Mapping):
            first = names is None
            if names is None:
                names = tuple(str(name) for name in row)
            cells = [row.get(name) for name in names]
            yield (names if first and header else None), cells
        elif isinstance(row, list):
            if header:
                raise TaskFailed(
                    f"row {number} of `{uri}` is a list, which has no names for the header",
                    hint="set `header: false`",
                )
            yield None, row
        else:
            raise TaskFailed(f"row {number} of `{uri}` is neither a map nor a list")

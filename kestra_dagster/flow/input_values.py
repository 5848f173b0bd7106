"""Text or a typed value to the value of an input, type by type.

An execution's inputs travel as JSON, so dates, times and durations end up as the text that Java
prints for them (`2019-10-06T18:27:49Z`, `01:00`, `PT5M6S`): what expressions see in Kestra.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

from kestra_dagster.flow.properties import duration_text, parse_duration, scalar_text
from kestra_dagster.flow.reader import read_value


class InputRejected(ValueError):
    """A value that an input does not take; the text is the reason."""


def text_value(value: Any) -> str:
    """Return the text of any value: scalars as Java prints them, maps and lists as JSON."""
    if value is None:
        return "null"
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    if isinstance(value, datetime):
        return instant_text(value)
    if isinstance(value, time):
        return time_text(value)
    if isinstance(value, timedelta):
        return duration_text(value)
    return str(scalar_text(value))


def int_value(value: Any) -> int:
    text = text_value(value)
    if not re.fullmatch(r"[-+]?\d{1,1000}", text):
        raise InputRejected(f"Expected `INT` but received `{text}`")
    return int(text)


def float_value(value: Any) -> float:
    text = text_value(value)
    try:
        return float(text.strip())
    except ValueError:
        raise InputRejected(f"Expected `FLOAT` but received `{text}`") from None


def bool_value(value: Any) -> bool:
    """Read `true` in any case as true and anything else as false, as Kestra does."""
    return text_value(value).lower() == "true"


_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d)(:\d\d)?(\.\d{1,9})?([Zz]|[-+]\d\d(?::?\d\d)?)\Z"
)


def parse_instant(value: Any) -> datetime:
    """Read a point in time: an ISO date-time with `Z` or an offset."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value
    text = text_value(value)
    match = _INSTANT.match(text)
    if match:
        day, minutes, seconds, fraction, zone = match.groups()
        micros = (fraction or ".0")[1:7].ljust(6, "0")
        offset = "+00:00" if zone in "Zz" else zone if len(zone) > 3 else zone + ":00"
        offset = offset if ":" in offset else f"{offset[:3]}:{offset[3:]}"
        try:
            return datetime.fromisoformat(f"{day}T{minutes}{seconds or ':00'}.{micros}{offset}")
        except ValueError:
            pass
    raise InputRejected(f"Expected `DATETIME` but received `{text}`")


def instant_text(value: datetime) -> str:
    """Print a point in time as Java's `Instant.toString`."""
    utc = value.astimezone(timezone.utc) if value.tzinfo else value
    return f"{utc:%Y-%m-%dT%H:%M:%S}{_fraction(utc.microsecond)}Z"


def parse_date(value: Any) -> date:
    """Read `yyyy-MM-dd`."""
    text = value.isoformat() if isinstance(value, date) else text_value(value)
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    raise InputRejected(f"Expected `DATE` but received `{text}`")


def parse_time(value: Any) -> time:
    """Read `HH:mm`, `HH:mm:ss` or with a fraction."""
    if isinstance(value, time):
        return value
    text = text_value(value)
    match = re.fullmatch(r"(\d\d:\d\d)(:\d\d)?(\.\d{1,9})?", text)
    if match:
        minutes, seconds, fraction = match.groups()
        try:
            micros = (fraction or ".0")[1:7].ljust(6, "0")
            return time.fromisoformat(f"{minutes}{seconds or ':00'}.{micros}")
        except ValueError:
            pass
    raise InputRejected(f"Expected `TIME` but received `{text}`")


def time_text(value: time) -> str:
    """Print a time as Java's `LocalTime.toString`: no seconds if there are none."""
    if not value.second and not value.microsecond:
        return f"{value:%H:%M}"
    return f"{value:%H:%M:%S}{_fraction(value.microsecond)}"


def _fraction(micros: int) -> str:
    if not micros:
        return ""
    return f".{micros // 1000:03d}" if micros % 1000 == 0 else f".{micros:06d}"


def parse_span(value: Any) -> timedelta:
    """Read a duration, as text only."""
    try:
        return parse_duration(value if isinstance(value, timedelta) else text_value(value))
    except ValueError:
        raise InputRejected(f"Expected `DURATION` but received `{text_value(value)}`") from None


def json_value(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise InputRejected(f"Expected `JSON` but received `{value}`") from None


def yaml_value(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return read_value(value)
    except ValueError:
        raise InputRejected(f"Expected `YAML` but received `{value}`") from None


_URI = re.compile(
    r"[a-z]+://(?:www\.)?[-a-zA-Z0-9@:%._+~#=]{1,256}\.[a-zA-Z0-9()]{1,6}\b"
    r"[-a-zA-Z0-9()@:%_+.~#?&/=]*\Z"
)
_EMAIL = re.compile(r"[^@\s]+@[a-zA-Z0-9.-]+\Z")


def uri_value(value: Any) -> str:
    text = text_value(value)
    if not _URI.match(text):
        raise InputRejected(f"Expected `URI` but received `{text}`")
    return text


def email_value(value: Any) -> str:
    text = text_value(value)
    if text and not _EMAIL.match(text):
        raise InputRejected(f"Expected `EMAIL` but received `{text}`")
    return text


def list_value(value: Any, item_type: str, what: str) -> list[Any]:
    """Read a list, or the JSON text of one, and every element as `item_type`."""
    items = json_value(value) if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise InputRejected(f"Expected `{what}` but received `{text_value(value)}`")
    return [_element(item, item_type) for item in items]


def _element(item: Any, item_type: str) -> Any:
    try:
        return CONVERTERS[item_type](item)
    except InputRejected:
        reason = f"Unable to parse array element as `{item_type}` on `{text_value(item)}`"
        raise InputRejected(reason) from None


CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    "STRING": text_value,
    "ENUM": text_value,
    "SELECT": text_value,
    "SECRET": text_value,
    "FILE": text_value,
    "INT": int_value,
    "FLOAT": float_value,
    "BOOL": bool_value,
    "BOOLEAN": bool_value,
    "DATETIME": lambda value: instant_text(parse_instant(value)),
    "DATE": lambda value: parse_date(value).isoformat(),
    "TIME": lambda value: time_text(parse_time(value)),
    "DURATION": lambda value: duration_text(parse_span(value)),
    "JSON": json_value,
    "YAML": yaml_value,
    "URI": uri_value,
    "EMAIL": email_value,
}
"""How a value of each simple type is read (also elements of ARRAY, MULTISELECT; flow outputs)."""

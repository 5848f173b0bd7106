"""Amazon Ion's text form, as much of it as Kestra's files use."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

from kestra_dagster.expressions.context import Budget
from kestra_dagster.expressions.errors import ExpressionError, ExpressionLimitError
from kestra_dagster.expressions.java_time import Moment, as_moment, time_class_name, time_json
from kestra_dagster.expressions.text import java_text
from kestra_dagster.expressions.values import Entry, is_collection, is_map

_MAX_DEPTH = 100
_SYMBOL = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_KEYWORDS = {"null", "true", "false", "nan"}


def ion_text(value: Any, budget: Budget) -> str:
    """Return a value as Ion text on one line; null entries stay."""
    parts: list[str] = []
    _write(value, parts, budget, 0)
    return "".join(parts)


def _write(value: Any, parts: list[str], budget: Budget, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ExpressionLimitError(f"the value is nested more than {_MAX_DEPTH} levels deep")
    budget.spend()
    if isinstance(value, Entry):
        value = {value.key: value.value}
    if is_map(value):
        parts.append("{")
        for index, (key, item) in enumerate(value.items()):
            name = key if isinstance(key, str) else java_text(key)
            plain = _SYMBOL.fullmatch(name) and name not in _KEYWORDS
            quoted = encode_basestring(name)[1:-1].replace('\\"', '"').replace("'", "\\'")
            parts.append(("," if index else "") + (name if plain else f"'{quoted}'") + ":")
            _write(item, parts, budget, depth + 1)
        parts.append("}")
    elif is_collection(value):
        parts.append("[")
        for index, item in enumerate(value):
            parts.append("," if index else "")
            _write(item, parts, budget, depth + 1)
        parts.append("]")
    else:
        parts.append(_scalar_text(value))


def _scalar_text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = java_text(float(value))
        special = {"NaN": "nan", "Infinity": "+inf", "-Infinity": "-inf"}
        return special.get(text) or (text if "E" in text else text + "e0")
    if isinstance(value, Decimal):
        text = str(value)
        return text.replace("E", "d") if "E" in text else text if "." in text else text + "."
    if isinstance(value, int):
        return java_text(value)
    if isinstance(value, (bytes, bytearray)):
        return "{{" + b64encode(value).decode() + "}}"
    moment = as_moment(value)
    if moment is not None and moment.kind in ("instant", "date"):
        utc = moment.when.astimezone(timezone.utc)
        return f"{utc.year:04d}-{utc:%m-%dT%H:%M:%S}.{moment.nano // 1_000_000:03d}Z"
    if isinstance(value, date) and moment is None:
        return value.isoformat()
    written = time_json(value)
    name = time_class_name(value)
    if written is None or name is None:
        return encode_basestring(java_text(value))
    simple = name.rpartition(".")[2]
    if isinstance(value, timedelta):
        return f'{simple}::"{java_text(value)}"'
    if moment is not None and moment.kind == "zoned":
        written = f'"{_zoned(moment)}"'
    return f"{simple}::{written}"


def _zoned(moment: Moment) -> str:
    from kestra_dagster.expressions.java_time import fraction, offset_text, zone_id

    when = moment.when
    text = f"{when.year:04d}-{when:%m-%dT%H:%M:%S}{fraction(moment.nano)}{offset_text(when)}"
    key = zone_id(when.tzinfo, when)
    return text if key == offset_text(when) else f"{text}[{key}]"


def parse_ion(text: str, budget: Budget, first_only: bool) -> list[Any]:
    """Read the values of an Ion text (only the first one if asked for that)."""
    reader = _Reader(text, budget)
    values: list[Any] = []
    while reader.skip():
        values.append(reader.value(0))
        if first_only:
            break
    return values


_SPACE = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)+", re.DOTALL)
_TIMESTAMP = re.compile(
    r"\d{4}(?:T|-\d{2}(?:T|-\d{2}(?:T(?:\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?"
    r"(?:Z|[+-]\d{2}:\d{2}))?)?))"
)
_HEX = re.compile(r"-?0[xX][0-9a-fA-F_]+|-?0[bB][01_]+")
_NUMBER = re.compile(r"-?\d[\d_]*(?P<point>\.[\d_]*)?(?:(?P<mark>[eEdD])[+-]?\d+)?")
_LONG = re.compile(r"'''((?:[^\\]|\\.)*?)'''", re.DOTALL)
_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"', re.DOTALL)
_QUOTED = re.compile(r"'((?:[^'\\\n]|\\.)*)'", re.DOTALL)
_LOB = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(\r?\n)|(.))")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}
_MAX_DIGITS = 4000


def _unescape(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        code = found.group(1) or found.group(2) or found.group(3)
        if code:
            return chr(int(code, 16)) if int(code, 16) < 0x110000 else "\ufffd"
        return "" if found.group(4) else _ESCAPED.get(found.group(5), found.group(5))

    return _ESCAPE.sub(one, text) if "\\" in text else text


class _Reader:
    def __init__(self, text: str, budget: Budget) -> None:
        self.text = text
        self.budget = budget
        self.position = 0

    def fail(self, what: str) -> ExpressionError:
        line = self.text.count("\n", 0, self.position) + 1
        return ExpressionError(f"not valid Ion: {what} at line {line}")

    def skip(self) -> bool:
        """Skip blanks and comments; say whether something is left."""
        if space := _SPACE.match(self.text, self.position):
            self.position = space.end()
        return self.position < len(self.text)

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.position)
        if found:
            self.position = found.end()
        return found

    def eat(self, token: str) -> bool:
        self.skip()
        if self.text.startswith(token, self.position):
            self.position += len(token)
            return True
        return False

    def value(self, depth: int) -> Any:
        """Read one value; annotations are read over."""
        if depth > _MAX_DEPTH:
            raise ExpressionLimitError(f"the Ion is nested more than {_MAX_DEPTH} levels deep")
        self.budget.spend(4)
        if not self.skip():
            raise self.fail("unexpected end")
        char = self.text[self.position]
        if char == "[":
            self.position += 1
            return self.items("]", depth)
        if self.text.startswith("{{", self.position):
            return self.lob()
        if char == "{":
            self.position += 1
            return self.struct(depth)
        if char == '"':
            return self.string()
        if char in "-0123456789":
            return self.number()
        if char == "'":
            return self.quoted(depth)
        if char == "(":
            self.position += 1
            return self.items(")", depth)
        return self.symbol(depth)

    def items(self, end: str, depth: int) -> list[Any]:
        values: list[Any] = []
        while not self.eat(end):
            if values and end == "]" and not self.eat(","):
                raise self.fail("expected `,` or `]`")
            if self.eat(end):
                break
            values.append(self.value(depth + 1))
        return values

    def struct(self, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not self.eat("}"):
            if values and not self.eat(","):
                raise self.fail("expected `,` or `}`")
            if self.eat("}"):
                break
            name = self.take(_STRING) or self.take(_LONG) or self.take(_QUOTED)
            symbol = None if name else self.take(_SYMBOL)
            if not (name or symbol) or not self.eat(":"):
                raise self.fail("expected a name and `:`")
            key = _unescape(name.group(1)) if name else symbol.group() if symbol else ""
            values[key] = self.value(depth + 1)
        return values

    def lob(self) -> bytes:
        found = self.take(_LOB)
        if not found:
            raise self.fail("`{{` is not closed")
        inner = found.group(1).strip()
        if inner.startswith(('"', "'")):
            return _unescape(inner.strip("\"'")).encode("latin-1", "replace")
        try:
            return b64decode("".join(inner.split()), validate=True)
        except ValueError:
            raise self.fail("bad Base64") from None

    def string(self) -> str:
        found = self.take(_STRING)
        if not found:
            raise self.fail("the string is not closed")
        return _unescape(found.group(1))

    def quoted(self, depth: int) -> Any:
        if self.text.startswith("'''", self.position):
            parts: list[str] = []
            while found := self.take(_LONG):
                parts.append(_unescape(found.group(1)))
                self.skip()
            if parts:
                return "".join(parts)
        found = self.take(_QUOTED)
        if not found:
            raise self.fail("the symbol is not closed")
        return self.value(depth) if self.eat("::") else _unescape(found.group(1))

    def symbol(self, depth: int) -> Any:
        if self.take(re.compile(r"\+inf")):
            return float("inf")
        found = self.take(_SYMBOL)
        if not found:
            raise self.fail(f"unexpected `{self.text[self.position]}`")
        name = found.group()
        if name == "null":
            self.take(re.compile(r"\.[a-z]+"))
            return None
        if self.text.startswith("::", self.position):
            self.position += 2
            return self.value(depth + 1)
        constants = {"true": True, "false": False, "nan": float("nan")}
        return constants.get(name, name)

    def number(self) -> Any:
        if found := self.take(_TIMESTAMP):
            return self.timestamp(found.group())
        if self.take(re.compile(r"-inf")):
            return float("-inf")
        if found := self.take(_HEX):
            text = found.group().replace("_", "")
            return int(text[:_MAX_DIGITS], 16 if "x" in text.lower() else 2)
        found = self.take(_NUMBER)
        if not found or len(found.group()) > _MAX_DIGITS:
            raise self.fail("bad number")
        text = found.group().replace("_", "")
        mark = (found.group("mark") or "").lower()
        if mark == "e":
            return float(text)
        if mark == "d" or found.group("point") is not None:
            return Decimal(text.lower().replace("d", "e"))
        return int(text)

    def timestamp(self, text: str) -> Any:
        try:
            if "T" in text and len(text) > 11:
                whole, _, digits = text.partition(".")
                zone = re.search(r"(Z|[+-]\d{2}:\d{2})$", text)
                digits = re.match(r"\d*", digits).group() if digits else ""  # type: ignore[union-attr]
                clock = re.sub(r"(Z|[+-]\d{2}:\d{2})$", "", whole)
                nano = int((digits or "0").ljust(9, "0")[:9])
                offset = (zone.group() if zone else "Z").replace("Z", "+00:00")
                when = datetime.fromisoformat(clock + offset)
                return Moment(when.replace(microsecond=nano // 1000), nano % 1000, "instant")
            parts = [int(part) for part in text.strip("T").split("-")]
            return date(*[*parts, 1, 1][:3])
        except ValueError:
            raise self.fail("bad timestamp") from None

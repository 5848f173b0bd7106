"""Cases of `expressions.yaml`: read, made into values of the engine, and judged."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from kestra_dagster.expressions.java_time import Moment, parse_iso
from kestra_dagster.expressions.values import BigInteger, Float, Long

REPOSITORY = Path(__file__).parents[2]
DIFFERENCES = REPOSITORY / "docs" / "conformance-expressions.md"


def corpus_file() -> Path:
    """Return the file of cases: that of KESTRA_CONFORMANCE (a folder or the file itself)."""
    given = os.environ.get("KESTRA_CONFORMANCE")
    path = Path(given) if given else REPOSITORY.parent / "shared" / "conformance"
    return path if path.is_file() else path / "expressions.yaml"


def load_cases() -> list[dict[str, Any]]:
    """Return all cases, none where there is no file."""
    path = corpus_file()
    if not path.is_file():
        return []
    content = yaml.load(
        path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    )
    return content["expressions"]


def known_differences() -> dict[str, str]:
    """Return the cases that the documentation says to differ, with their reasons."""
    if not DIFFERENCES.is_file():
        return {}
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", DIFFERENCES.read_text(encoding="utf-8"), re.M)
    return dict(rows)


def _moment(text: str, kind: Any) -> Any:
    parsed = parse_iso(text)
    assert isinstance(parsed, Moment), text
    return Moment(parsed.when, parsed.rest, kind)


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?", text)
    assert found, text
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


_MAKERS = {
    "$array": lambda value: [plain(item) for item in value],
    "$bigdecimal": lambda value: Decimal(str(value)),
    "$biginteger": lambda value: BigInteger(value),
    "$date": lambda value: _moment(value, "date"),
    "$double": float,
    "$duration": _duration,
    "$float": lambda value: Float(value),
    "$instant": lambda value: _moment(value, "instant"),
    "$int": int,
    "$list": lambda value: [plain(item) for item in value],
    "$localdate": date.fromisoformat,
    "$localdatetime": lambda value: _moment(value, "local"),
    "$localtime": time.fromisoformat,
    "$long": lambda value: Long(value),
    "$set": lambda value: {plain(item): None for item in value}.keys(),
    "$string": str,
    "$uri": str,
    "$zoneddatetime": lambda value: _moment(value, "zoned"),
}


def plain(value: Any) -> Any:
    """Make a value of a case, where `{$float: 1.5}` and the like stand for Java's classes."""
    if isinstance(value, dict):
        if len(value) == 1:
            (tag, inner), *_ = value.items()
            if tag in _MAKERS:
                return _MAKERS[tag](inner)
            assert not str(tag).startswith("$"), f"nobody knows what `{tag}` is"
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def judge(case: Mapping[str, Any], text: str) -> None:
    """Compare a rendered text with everything that a case says of it."""
    if "expect" in case:
        assert text == case["expect"]
    if "expect_json" in case:
        assert json.loads(text) == case["expect_json"]
    if "expect_json_subset" in case:
        found = json.loads(text)
        assert {key: found[key] for key in case["expect_json_subset"]} == case["expect_json_subset"]
    if "expect_json_unordered" in case:
        assert _sorted(json.loads(text)) == _sorted(case["expect_json_unordered"])
    if "match" in case:
        assert re.search(case["match"], text), text
    if "startswith" in case:
        assert text.startswith(case["startswith"]), text
    if "contains" in case:
        wanted = case["contains"]
        for part in wanted if isinstance(wanted, list) else [wanted]:
            assert part in text
    known = {"expect", "expect_json", "expect_json_subset", "expect_json_unordered"}
    assert not {key for key in case if key.startswith("expect")} - known, "unknown expectation"


def _sorted(items: list[Any]) -> list[str]:
    return sorted(json.dumps(item, sort_keys=True) for item in items)

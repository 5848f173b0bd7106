"""Names of months, days and halves of the day; English here, other languages by babel (CLDR)."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from kestra_dagster.expressions.errors import ExpressionError

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_ENGLISH_STYLES = {
    "full": "EEEE, MMMM d, y 'at' h:mm:ss\u202fa zzzz",
    "long": "MMMM d, y 'at' h:mm:ss\u202fa z",
    "medium": "MMM d, y, h:mm:ss\u202fa",
    "short": "M/d/yy, h:mm\u202fa",
}


class Names(NamedTuple):
    """The words of a language. Widths are `wide`, `abbreviated`, `narrow`; days start on Monday."""

    language: str
    months: dict[str, tuple[str, ...]]
    standalone_months: dict[str, tuple[str, ...]]
    days: dict[str, tuple[str, ...]]
    standalone_days: dict[str, tuple[str, ...]]
    halves: tuple[str, str]
    eras: dict[str, tuple[str, str]]
    first_weekday: int
    min_week_days: int


def _english() -> Names:
    months = {
        "wide": tuple(_MONTHS),
        "abbreviated": tuple(name[:3] for name in _MONTHS),
        "narrow": tuple(name[0] for name in _MONTHS),
    }
    days = {
        "wide": tuple(_DAYS),
        "abbreviated": tuple(name[:3] for name in _DAYS),
        "narrow": tuple(name[0] for name in _DAYS),
    }
    eras = {
        "wide": ("Before Christ", "Anno Domini"),
        "abbreviated": ("BC", "AD"),
        "narrow": ("B", "A"),
    }
    return Names("en", months, months, days, days, ("AM", "PM"), eras, 6, 1)


ENGLISH = _english()


@lru_cache(64)
def names_of(locale: str) -> Names:
    """Return the words of a locale (`fr`, `pt_BR`); an unknown one raises."""
    if locale in ("", "en", "en_US"):
        return ENGLISH
    data = _babel(locale)
    widths = ("wide", "abbreviated", "narrow")

    def months(context: str) -> dict[str, tuple[str, ...]]:
        return {
            width: tuple(data.months[context][width][number] for number in range(1, 13))
            for width in widths
        }

    def days(context: str) -> dict[str, tuple[str, ...]]:
        return {
            width: tuple(data.days[context][width][number] for number in range(7))
            for width in widths
        }

    periods = data.day_periods["format"]["abbreviated"]
    return Names(
        locale,
        months("format"),
        months("stand-alone"),
        days("format"),
        days("stand-alone"),
        (periods.get("am", "AM"), periods.get("pm", "PM")),
        {width: (data.eras[width][0], data.eras[width][1]) for width in widths},
        *_week(locale),
    )


def _babel(locale: str) -> Any:
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(locale.replace("-", "_"))
    except (UnknownLocaleError, ValueError, TypeError):
        raise ExpressionError(
            f"`{locale[:40]}` is not a locale", hint="write for example 'fr' or 'pt_BR'"
        ) from None


def _week(locale: str) -> tuple[int, int]:
    from babel import Locale
    from babel.core import get_global

    data = _babel(locale)
    if not data.territory:
        likely = get_global("likely_subtags").get(data.language)
        data = Locale.parse(likely) if likely else data
    return data.first_week_day, data.min_week_days


@lru_cache(64)
def style_pattern(style: str, locale: str) -> str:
    """Return the pattern of a localized style: full, long, medium or short."""
    if names_of(locale) is ENGLISH:
        return _ENGLISH_STYLES[style]
    data = _babel(locale)
    date_part = data.date_formats[style].pattern
    time_part = data.time_formats[style].pattern
    return str(data.datetime_formats[style]).replace("{1}", date_part).replace("{0}", time_part)


def zone_name(when: datetime, wide: bool, locale: str) -> str:
    """Return the name of a zone: `CET`, or `Central European Standard Time`."""
    short = when.tzname() or ""
    if short.startswith("UTC") and getattr(when.tzinfo, "key", None) is None:
        from kestra_dagster.expressions.java_time import offset_text

        return offset_text(when)
    if not wide:
        return short
    from babel.dates import get_timezone_name

    return get_timezone_name(when, width="long", locale=locale or "en")

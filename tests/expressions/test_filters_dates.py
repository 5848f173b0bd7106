"""Dates: reading, moving and writing them as java.time does."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from case_host import ZonedBareHost
from hypothesis import given
from hypothesis import strategies as st

from kestra_dagster.expressions import ExpressionError, render
from kestra_dagster.expressions.java_time import Moment
from kestra_dagster.runtime.secrets import Masker

AT = "2024-01-05T13:05:09.123456789Z"


def written(expression, zone="UTC", **values):
    host = ZonedBareHost(Masker())
    host.zone = ZoneInfo(zone)
    return render("{{ " + expression + " }}", {"at": AT, **values}, host)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("yyyy-MM-dd'T'HH:mm:ss.SSSSSSSSSXXX", "2024-01-05T13:05:09.123456789Z"),
        ("yy yyyy y u uuuu", "24 2024 2024 2024 2024"),
        ("G GGGG", "AD Anno Domini"),
        ("M MM MMM MMMM MMMMM L LLL", "1 01 Jan January J 1 Jan"),
        ("d dd D DDD", "5 05 5 005"),
        ("E EEEE EEEEE e c", "Fri Friday F 6 6"),
        ("h hh H HH k K a", "1 01 13 13 13 1 PM"),
        ("m mm s ss", "5 05 9 09"),
        ("S SSS SSSSSS n", "1 123 123456 123456789"),
        ("A N", "47109123 47109123456789"),
        ("Q q QQQ QQQQ", "1 1 Q1 1st quarter"),
        ("YYYY ww W F", "2024 01 1 1"),
        ("X XX XXX x xx xxx Z ZZZZ ZZZZZ", "Z Z Z +00 +0000 +00:00 +0000 GMT Z"),
        ("VV z zzzz O OOOO", "UTC UTC Coordinated Universal Time GMT GMT"),
        ("'at' '' [yyyy]['x']", "at ' 2024x"),
        ("ppppd-pppM", "   5-  1"),
        ("", ""),
    ],
)
def test_letters_of_a_pattern(pattern, text):
    assert written("at | date(pattern)", pattern=pattern) == text


def test_letters_of_another_zone():
    pattern = "HH:mm X XX XXX x Z ZZZZ ZZZZZ O OOOO VV z zzzz"
    assert written("at | date(p, timeZone='Europe/Paris')", p=pattern) == (
        "14:05 +01 +0100 +01:00 +01 +0100 GMT+01:00 +01:00 GMT+1 GMT+01:00 Europe/Paris CET "
        "Central European Standard Time"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("iso", "2024-01-05T13:05:09.123456Z"),
        ("iso_sec", "2024-01-05T13:05:09Z"),
        ("sql", "2024-01-05 13:05:09.123456"),
        ("sql_seq", "2024-01-05 13:05:09"),
        ("iso_date_time", "2024-01-05T13:05:09.123456789Z[UTC]"),
        ("iso_date", "2024-01-05Z"),
        ("iso_time", "13:05:09.123456789Z"),
        ("iso_offset_time", "13:05:09.123456789Z"),
        ("iso_local_date", "2024-01-05"),
        ("iso_local_time", "13:05:09.123456789"),
        ("iso_local_date_time", "2024-01-05T13:05:09.123456789"),
        ("iso_instant", "2024-01-05T13:05:09.123456789Z"),
        ("iso_ordinal_date", "2024-005Z"),
        ("iso_week_date", "2024-W01-5Z"),
        ("iso_zoned_date_time", "2024-01-05T13:05:09.123456789Z[UTC]"),
        ("rfc_1123_date_time", "Fri, 5 Jan 2024 13:05:09 GMT"),
        ("full", "Friday, January 5, 2024 at 1:05:09\u202fPM Coordinated Universal Time"),
        ("long", "January 5, 2024 at 1:05:09\u202fPM UTC"),
        ("medium", "Jan 5, 2024, 1:05:09\u202fPM"),
        ("short", "1/5/24, 1:05\u202fPM"),
    ],
)
def test_named_formats(name, text):
    assert written("at | date(name)", name=name) == text


@pytest.mark.parametrize(
    ("locale", "pattern", "text"),
    [
        ("fr", "EEEE d MMMM yyyy", "vendredi 5 janvier 2024"),
        ("de", "EEE, d. MMM", "Fr., 5. Jan."),
        ("pt_BR", "MMMM", "janeiro"),
        ("es-ES", "EEEE", "viernes"),
        ("fr", "short", "05/01/2024 13:05"),
        ("fr", "e", "5"),
        ("en", "e", "6"),
    ],
)
def test_languages(locale, pattern, text):
    assert written("at | date(pattern, locale=l)", pattern=pattern, l=locale) == text


@pytest.mark.parametrize(
    ("text", "pattern", "iso"),
    [
        ("31/12/2023", "dd/MM/yyyy", "2023-12-31T00:00:00"),
        ("31/12/23", "dd/MM/yy", "2023-12-31T00:00:00"),
        ("2023-12-31 10:20:30", "yyyy-MM-dd HH:mm:ss", "2023-12-31T10:20:30"),
        ("July 24, 2001", "MMMM dd, yyyy", "2001-07-24T00:00:00"),
        ("24 juillet 2001", "d MMMM yyyy", "2001-07-24T00:00:00"),
        ("20240105130509", "yyyyMMddHHmmss", "2024-01-05T13:05:09"),
        ("20240105", "yyyyMMdd", "2024-01-05T00:00:00"),
        ("2024005", "yyyyDDD", "2024-01-05T00:00:00"),
        ("1:05 PM 2024-01-05", "h:mm a yyyy-MM-dd", "2024-01-05T13:05:00"),
        ("Fri Jan 5 2024", "EEE MMM d yyyy", "2024-01-05T00:00:00"),
        ("2024-02-31", "yyyy-MM-dd", "2024-02-29T00:00:00"),
        ("2024-01-05 24:00", "yyyy-MM-dd HH:mm", "2024-01-06T00:00:00"),
        ("2024-01-05", "yyyy-MM-dd[ HH:mm]", "2024-01-05T00:00:00"),
        ("2024-01-05 07:08", "yyyy-MM-dd[ HH:mm]", "2024-01-05T07:08:00"),
        ("2024-01-05 13:05+02:00", "yyyy-MM-dd HH:mmXXX", "2024-01-05T11:05:00"),
        ("2024-01-05 13:05 +0200", "yyyy-MM-dd HH:mm Z", "2024-01-05T11:05:00"),
        ("2024-01-05 13:05 Europe/Paris", "yyyy-MM-dd HH:mm VV", "2024-01-05T12:05:00"),
        ("Fri, 5 Jan 2024 13:05:09 GMT", "rfc_1123_date_time", "2024-01-05T13:05:09"),
        ("Fri, 5 Jan 2024 13:05:09 +0200", "rfc_1123_date_time", "2024-01-05T11:05:09"),
        ("2024-W05-3", "iso_week_date", "2024-01-31T00:00:00"),
        ("2024-035", "iso_ordinal_date", "2024-02-04T00:00:00"),
        ("2024-01-05 13:05:09", "sql_seq", "2024-01-05T13:05:09"),
    ],
)
def test_reading_by_a_pattern(text, pattern, iso):
    found = written(
        "t | date(\"yyyy-MM-dd'T'HH:mm:ss\", existingFormat=p, locale='fr')", t=text, p=pattern
    )
    assert found == iso


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2024-01-05", "2024-01-05T00:00:00.000000Z"),
        ("2024-01-05T13:05", "2024-01-05T13:05:00.000000Z"),
        ("2024-01-05T13:05:09.1234567", "2024-01-05T13:05:09.123456Z"),
        ("2024-01-05T13:05:09+02:00", "2024-01-05T11:05:09.000000Z"),
        ("2024-01-05T13:05:09+0200", "2024-01-05T11:05:09.000000Z"),
        ("2024-01-05T13:05:09-05", "2024-01-05T18:05:09.000000Z"),
        ("2024-01-05t13:05z", "2024-01-05T13:05:00.000000Z"),
        ("2024-07-05T13:05:09+02:00[Europe/Paris]", "2024-07-05T11:05:09.000000Z"),
    ],
)
def test_reading_iso_text(text, iso):
    assert written("t | date", t=text) == iso


UTC = timezone.utc


@pytest.mark.parametrize(
    ("value", "iso"),
    [
        (1704460000, "2024-01-05T13:06:40.000000Z"),
        (-1, "1969-12-31T23:59:59.000000Z"),
        (date(2024, 1, 5), "2024-01-05T12:00:00.000000Z"),
        (datetime(2024, 1, 5, 1, 2, 3), "2024-01-05T01:02:03.000000Z"),
        (datetime(2024, 1, 5, 1, tzinfo=ZoneInfo("Asia/Tokyo")), "2024-01-04T16:00:00.000000Z"),
        (Moment(datetime(2024, 1, 5, tzinfo=UTC), 7, "instant"), "2024-01-05T00:00:00.000000Z"),
    ],
)
def test_values_that_are_dates(value, iso):
    assert written("v | date", v=value) == iso


@pytest.mark.parametrize(
    "expression",
    [
        "'nope' | date",
        "'2024-1-5' | date",
        "'2024-02-30' | date",
        "'2023-12-31 10:20:30' | date",
        "'31/12/2023' | date(existingFormat='yyyy')",
        "'12/31' | date(existingFormat='MM/dd')",
        "'31 Foo 2023' | date(existingFormat='dd MMM yyyy')",
        "'2023-13-01' | date(existingFormat='yyyy-MM-dd')",
        "at | date(timeZone='Nope/Zone')",
        "at | date(timeZone='../etc/passwd')",
        "at | date('bbb')",
        "at | date('yyyy]')",
        'at | date("yyyy\'")',
        "at | date('SSSSSSSSSS')",
        "at | date(locale='zz_nope')",
        "at | date(1)",
        "[1] | date",
        "1.5 | date",
        "1704460000000 | date",
        "at | dateAdd(1)",
        "at | dateAdd(1, 'days')",
        "at | dateAdd(1, 'ERAS')",
        "at | dateAdd(1.5, 'DAYS')",
        "at | dateAdd('1', 'DAYS')",
        "at | dateAdd(99999999, 'YEARS')",
        "at | dateAdd(9223372036854775807, 'HOURS')",
    ],
)
def test_what_dates_refuse(expression):
    with pytest.raises(ExpressionError):
        written(expression)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("'2024-01-31' | dateAdd(1, 'MONTHS', 'iso_local_date')", "2024-02-29"),
        ("'2024-02-29' | dateAdd(-1, 'YEARS', 'iso_local_date')", "2023-02-28"),
        ("'2024-02-29' | dateAdd(1, 'DECADES', 'iso_local_date')", "2034-02-28"),
        ("'2024-12-15' | dateAdd(1, 'MONTHS', 'iso_local_date')", "2025-01-15"),
        ("'2024-01-15' | dateAdd(-13, 'MONTHS', 'iso_local_date')", "2022-12-15"),
        ("at | dateAdd(1, 'HALF_DAYS', 'iso_local_time')", "01:05:09.123456789"),
        ("at | dateAdd(1, 'NANOS', 'n')", "123456790"),
        ("at | dateAdd(-1, 'WEEKS', 'iso_local_date')", "2023-12-29"),
    ],
)
def test_adding(expression, text):
    assert written(expression) == text


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("'2024-03-10T02:30:00' | date", "2024-03-10T03:30:00.000000-04:00"),
        ("'2024-11-03T01:30:00' | date", "2024-11-03T01:30:00.000000-04:00"),
        ("'2024-03-09T02:30:00' | dateAdd(1, 'DAYS')", "2024-03-10T03:30:00.000000-04:00"),
        ("'2024-11-02T01:30:00' | dateAdd(1, 'DAYS')", "2024-11-03T01:30:00.000000-04:00"),
        ("'2024-11-04T01:30:00-05:00' | dateAdd(-1, 'DAYS')", "2024-11-03T01:30:00.000000-05:00"),
        ("'2024-11-02T12:00:00' | dateAdd(24, 'HOURS')", "2024-11-03T11:00:00.000000-05:00"),
        ("'2024-07-01T12:00:00' | date", "2024-07-01T12:00:00.000000-04:00"),
    ],
)
def test_changes_of_the_clocks(expression, text):
    expression = expression.replace("-05:00' | dateAdd", "-05:00[America/New_York]' | dateAdd")
    assert written(expression, "America/New_York") == text


def test_timestamps():
    assert written("at | timestamp") == "1704459909"
    assert written("at | timestampMilli") == "1704459909123"
    assert written("at | timestampMicro") == "1704459909000123456"
    assert written("at | timestampNano") == "1704459909123456789"
    assert written("'2024-01-05' | timestamp(timeZone='Europe/Paris')") == "1704409200"
    assert written("(at | timestamp) > (at | dateAdd(-1, 'DAYS') | timestamp)") == "true"


def test_now_is_a_date_of_today():
    before = datetime.now(UTC)
    found = datetime.fromisoformat(written("now()").replace("Z", "+00:00"))
    assert before <= found <= datetime.now(UTC)
    assert written("now('yyyy', timeZone='Asia/Tokyo')").isdigit()
    assert written("now() | date('iso_local_date') == now('iso_local_date')") in ("true", "false")


@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)))
def test_dates_there_and_back(when):
    iso = written("w | date('iso')", w=when)
    assert datetime.fromisoformat(iso.replace("Z", "+00:00")) == when.replace(tzinfo=UTC)
    pattern = "dd MMMM yyyy hh:mm:ss.SSSSSS a"
    text = written("w | date(p)", w=when, p=pattern)
    assert written("t | date(existingFormat=p)", t=text, p=pattern) == iso


@given(
    st.datetimes(datetime(1950, 1, 1), datetime(2050, 1, 1)),
    st.integers(-5000, 5000),
    st.sampled_from(["SECONDS", "HOURS", "DAYS", "WEEKS"]),
)
def test_adding_and_taking_away_is_nothing(when, amount, unit):
    there = written("w | dateAdd(a, u)", w=when, a=amount, u=unit)
    assert written("t | dateAdd(a, u)", t=there, a=-amount, u=unit) == written("w | date", w=when)


@given(st.timedeltas(timedelta(0), timedelta(days=40)))
def test_durations_print_as_java_does(span):
    text = render("{{ span }}", {"span": span})
    assert text.startswith("PT")
    micros = render("{{ span.toNanos() / 1000 }}", {"span": span})
    assert int(micros) == span // timedelta(microseconds=1)

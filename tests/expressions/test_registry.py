"""The table of filters and functions: complete, documented, and true to its functions."""

from __future__ import annotations

import inspect
import re

import pytest
from expression_cases import REPOSITORY

from kestra_dagster.expressions.registry import FILTERS, FUNCTIONS, TESTS, resolve
from kestra_dagster.expressions.tests import TEST_FUNCTIONS

PAGE = (REPOSITORY / "docs" / "expressions.md").read_text(encoding="utf-8")

# kestra-language.md 5.3 and 5.4: what a flow of any dialect may use.
WANTED_FILTERS = """
abbreviate abs base64encode base64decode capitalize title lower upper trim chunk className date
dateAdd default distinct escapeChar first last flatten format indent nindent join jq json
toJson keys values length md5 sha1 sha256 sha512 merge number numberFormat nl2br regexMatch
regexReplace regexExtract replace reverse sort rsort slice slugify split startsWith endsWith
string substringBefore substringAfter substringBeforeLast substringAfterLast timestamp
timestampMilli timestampMicro timestampNano toIon urlencode urldecode yaml
"""
WANTED_FUNCTIONS = """
now secret kv read fileURI fileSize fileExists isFileEmpty render renderOnce fromJson json
fromIon yaml encrypt decrypt currentEachOutput parentOutput iterationOutput loopOutputs
errorLogs tasksWithState env printContext fetchContext http subflow uuid id ksuid nanoId
randomInt randomPort max min range isWeekend isPublicHoliday isDayWeekInMonth isLastWorkingDay
dayOfWeek dayOfMonth monthOfYear hourOfDay isDateBefore isDateAfter appLink credential
"""


def test_nothing_is_missing():
    assert set(WANTED_FILTERS.split()) <= FILTERS.keys()
    assert set(WANTED_FUNCTIONS.split()) <= FUNCTIONS.keys()
    assert set(TESTS) == {*TEST_FUNCTIONS, "defined"}


@pytest.mark.parametrize("name", [*FILTERS, *FUNCTIONS, *TESTS])
def test_everything_is_documented(name):
    assert re.search(rf"`{name}\b", PAGE), f"`{name}` is not in docs/expressions.md"


@pytest.mark.parametrize("callee", [*FILTERS.values(), *FUNCTIONS.values()], ids=str)
def test_parameters_are_those_of_the_function(callee):
    function = resolve(callee)
    names = list(inspect.signature(function).parameters)
    assert names[0] == "context"
    if callee.parameters is None:
        kind = inspect.signature(function).parameters[names[-1]].kind
        assert kind is inspect.Parameter.VAR_POSITIONAL
        return
    given = names[2:] if callee in FILTERS.values() else names[1:]
    assert len(given) == len(callee.parameters)
    assert function.__doc__


def test_no_other_names_are_documented():
    known = {*FILTERS, *FUNCTIONS}
    tables = [line for line in PAGE.splitlines() if line.startswith("| ") and "`" in line]
    named = {name for line in tables[6:] for name in re.findall(r"`(\w+)[(`]", line)}
    assert named <= known, named - known

"""Functions that need no host."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestra_dagster.expressions import ExpressionError, render, render_typed

KEY = base64.b64encode(b"0123456789abcdef").decode()


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("fromJson('[1, 2.5, \"x\", null, true]')", '[1,2.5,"x",null,true]'),
        ("fromJson(' {\"a\": 1.0} trailing')", '{"a":1.0}'),
        ("json('{}')", "{}"),
        ("fromJson(nothing) ?? 'none'", "none"),
        ("fromJson('12345678901234567890')", "12345678901234567890"),
        ("yaml('a: 1').a", "1"),
        ("max(1, 2.5)", "2.5"),
        ("min(3, 2, 4)", "2"),
        ("max() ?? 'none'", "none"),
        ("max(nothing, 1)", "1"),
        ("range(1, 3)", "[1,2,3]"),
        ("range(5, 1, -2)", "[5,3,1]"),
        ("range('a', 'e', 2)", '["a","c","e"]'),
        ("range(start=1, end=2)", "[1,2]"),
        ("uuid() | length", "36"),
        ("id() != id()", "true"),
        ("nanoId(5, 'a')", "aaaaa"),
        ("nanoId() | length", "21"),
        ("randomInt(5, 6)", "5"),
        ("randomInt(lower=3, upper=3)", "3"),
        ("randomPort() > 0", "true"),
        ("env('nosuch', 'd')", "d"),
        ("env('HOME_DIR')", "/home"),
        ("printContext().s", "Hello World"),
        ("fetchContext() | keys | length > 5", "true"),
        ("render('{{ i }}')", "7"),
        ("render({'a': '{{ i }}', '{{ s }}': ['{{ zero }}']})", '{"a":"7","Hello World":["0"]}'),
        ("render(\"{{ '{{ i }}' }}\")", "7"),
        ("renderOnce(\"{{ '{{ i }}' }}\")", "{{ i }}"),
        ("render(\"{{ '{{ i }}' }}\", recursive=false)", "{{ i }}"),
        ("render(5) + 1", "6"),
        ("render('a {% raw %}{{ i }}{% endraw %}')", "a {{ i }}"),
    ],
)
def test_functions(show, expression, text):
    assert show("{{ " + expression + " }}", envs={"home_dir": "/home"}) == text


@pytest.mark.parametrize(
    "expression",
    [
        "fromJson('')",
        "fromJson('NaN')",
        "fromJson('{a: 1}')",
        "fromJson(5)",
        "fromJson()",
        "fromJson('[' ~ ('[' ~ s))",
        "yaml(5)",
        "fromIon(5)",
        "fromIon('1', allRows='yes')",
        "max('a', 1)",
        "range(1)",
        "range(1, 3, 0)",
        "range('ab', 'c')",
        "range(1, 'c')",
        "randomInt(1)",
        "randomInt(5, 1)",
        "randomInt('1', '2')",
        "randomInt(1.5, 2)",
        "nanoId(5000)",
        "nanoId(3, '')",
        "render()",
        "render(s, recursive='no')",
        "render('{{ open')",
        "encrypt('x', 'y')",
        "encrypt('x')",
        "decrypt(key, 'AAAA')",
        "decrypt(key, '***')",
        "nosuch()",
        "appLink('x')",
        "credential('x')",
        "kv('x')",
        "secret('x')",
        "read('x')",
        "http('x')",
        "errorLogs()",
        "uuid(1)",
        "range(begin=1)",
    ],
)
def test_what_functions_refuse(show, expression):
    with pytest.raises(ExpressionError):
        show("{{ " + expression + " }}", key=KEY)


def test_identifiers_have_their_form(show):
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", show("{{ uuid() }}"))
    assert re.fullmatch(r"[0-9A-Za-z]{20,22}", show("{{ id() }}"))
    assert re.fullmatch(r"[0-9A-Za-z]{27}", show("{{ ksuid() }}"))
    assert re.fullmatch(r"[0-9A-Za-z_-]{21}", show("{{ nanoId() }}"))
    assert {show("{{ randomInt(-2, 1) }}") for _ in range(200)} == {"-2", "-1", "0"}


def test_ksuids_sort_by_time(show, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1_700_000_000)
    early = show("{{ ksuid() }}")
    monkeypatch.setattr("time.time", lambda: 1_700_000_001)
    assert early < show("{{ ksuid() }}")


@given(st.text(), st.sampled_from([16, 24, 32]))
def test_encrypted_text_is_decrypted_with_its_key_alone(text, size):
    values = {"text": text, "key": base64.b64encode(bytes(range(size))).decode()}
    sealed = render("{{ encrypt(key, text) }}", values)
    assert render("{{ decrypt(key, sealed) }}", {**values, "sealed": sealed}) == text
    assert sealed != render("{{ encrypt(key, text) }}", values)
    other = base64.b64encode(bytes(size)).decode()
    with pytest.raises(ExpressionError, match="another key"):
        render("{{ decrypt(other, sealed) }}", {"other": other, "sealed": sealed})


def test_what_kestra_encrypted_is_read(show):
    """AES/GCM/NoPadding with a nonce of 12 bytes in front and a tag of 16 behind."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = b"n" * 12
    sealed = base64.b64encode(nonce + AESGCM(b"0123456789abcdef").encrypt(nonce, b"hi", None))
    assert show("{{ decrypt(key, sealed) }}", key=KEY, sealed=sealed.decode()) == "hi"


LOOP = {
    "outputs": {
        "t": {"a": {"value": "va"}, "b": {"value": "vb"}},
        "deep": {"p": {"q": {"r": {"value": "deep"}}}},
        "flat": {"value": "flat"},
    },
    "tasks": {
        "t": {"a": {"state": "FAILED"}, "b": {"state": "SUCCESS"}},
        "flat": {"state": "FAILED"},
    },
}
PARENTS = [{"taskrun": {"value": "q"}}, {"taskrun": {"value": "p"}}, {"outputs": {}}]


@pytest.mark.parametrize(
    ("expression", "more", "value"),
    [
        ("currentEachOutput(outputs.t).value", {"taskrun": {"value": "b"}}, "vb"),
        ("currentEachOutput(outputs.t)", {"taskrun": {"id": "x"}}, None),
        (
            "currentEachOutput(outputs.deep).value",
            {"taskrun": {"value": "r"}, "parents": PARENTS},
            "deep",
        ),
        (
            "parentOutput().value",
            {"parent": {"task": {"id": "t"}, "taskrun": {"value": "a"}}},
            "va",
        ),
        ("parentOutput().value", {"parent": {"task": {"id": "flat"}}}, "flat"),
        ("parentOutput()", {"parent": {"outputs": {"x": 1}}}, {"x": 1}),
        (
            "parentOutput(0).value",
            {"parents": [{"task": {"id": "t"}}, {"task": {"id": "flat"}}]},
            "flat",
        ),
        ("iterationOutput()", {"taskrun": {"iteration": 1}, "task": {"id": "t"}}, "va"),
        ("iterationOutput('t', 1)", {"taskrun": {"iteration": 1}}, "vb"),
        ("iterationOutput('nosuch')", {"taskrun": {"iteration": 1}}, None),
        ("tasksWithState('failed')", {}, [
            {"taskId": "t", "state": "FAILED", "value": "a"},
            {"taskId": "flat", "state": "FAILED"},
        ]),
        ("loopOutputs(list, 'v')", {"list": [{"outputs": {"v": 1}}, {"outputs": {}}, 3]}, [
            1, None, None,
        ]),
    ],
)  # fmt: skip
def test_outputs_of_loops(expression, more, value):
    assert render_typed("{{ " + expression + " }}", {**LOOP, **more}) == value


@pytest.mark.parametrize(
    ("expression", "more"),
    [
        ("currentEachOutput('x')", {"taskrun": {"value": "a"}}),
        ("currentEachOutput()", {"taskrun": {"value": "a"}}),
        ("currentEachOutput(outputs.t)", {}),
        ("currentEachOutput(outputs.t)", {"taskrun": {}, "parents": PARENTS}),
        ("parentOutput()", {}),
        ("parentOutput(3)", {"parents": PARENTS}),
        ("iterationOutput()", {"taskrun": {}}),
        ("iterationOutput()", {"taskrun": {"iteration": 0}, "task": {"id": "t"}}),
        ("iterationOutput('t', 7)", {"taskrun": {"iteration": 1}}),
        ("iterationOutput('t', 'x')", {"taskrun": {"iteration": 1}}),
        ("loopOutputs(outputs, 'v')", {}),
        ("loopOutputs([])", {}),
        ("tasksWithState()", {}),
    ],
)
def test_what_functions_of_loops_refuse(expression, more):
    with pytest.raises(ExpressionError):
        render("{{ " + expression + " }}", {**LOOP, **more})


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("dayOfWeek('2025-01-06T00:30:00+02:00')", "MONDAY"),
        ("dayOfMonth('2025-01-06')", "6"),
        ("monthOfYear('2025-12-01')", "12"),
        ("hourOfDay('2025-01-06T14:30:00+02:00')", "14"),
        ("isWeekend('2025-01-04') ~ isWeekend('2025-01-06')", "truefalse"),
        ("isDateAfter('2025-01-02', '2025-01-01T23:00:00-05:00')", "false"),
        ("isDateBefore('2025-01-01', reference='2025-01-02')", "true"),
        ("isDateBetween('2025-01-02', '2025-01-01', '2025-01-03T00:00:00Z')", "true"),
        ("isDayWeekInMonth('2025-01-06', 'MONDAY', 'FIRST')", "true"),
        ("isDayWeekInMonth('2025-01-13', 'monday', 'second')", "true"),
        ("isDayWeekInMonth('2025-01-27', 'MONDAY', 'LAST')", "true"),
        ("isDayWeekInMonth('2025-01-20', 'MONDAY', 'LAST')", "false"),
        ("isDayWeekInMonth('2025-01-07', 'MONDAY', 'FIRST')", "false"),
        ("isLastWorkingDay('2025-01-31') ~ isLastWorkingDay('2025-08-29')", "truetrue"),
        ("isLastWorkingDay('2025-01-30')", "false"),
        ("isLastWorkingDay('2025-01-28', 'MONDAY,TUESDAY')", "true"),
        ("isPublicHoliday('2025-07-14', 'FR')", "true"),
        ("isPublicHoliday('2025-07-15T00:00:00Z', 'fr')", "false"),
        (
            "isPublicHoliday('2025-01-06', 'DE') ~ isPublicHoliday('2025-01-06', 'DE', 'BY')",
            "falsetrue",
        ),
    ],
)
def test_questions_on_dates(show, expression, text):
    assert show("{{ " + expression + " }}") == text


@pytest.mark.parametrize(
    "expression",
    [
        "dayOfWeek()",
        "dayOfWeek('x')",
        "dayOfWeek(5)",
        "hourOfDay('2025-01-06')",
        "isDateAfter('2025-01-06')",
        "isDayWeekInMonth('2025-01-06', 'NODAY', 'FIRST')",
        "isDayWeekInMonth('2025-01-06', 'MONDAY', 'FIFTH')",
        "isLastWorkingDay('2025-01-06', 'NODAY')",
        "isPublicHoliday('2025-07-14', 'XX')",
        "isPublicHoliday('2025-07-14', 'DE', 'ZZ')",
        "isPublicHoliday('2025-07-14')",
    ],
)
def test_what_questions_on_dates_refuse(show, expression):
    with pytest.raises(ExpressionError):
        show("{{ " + expression + " }}")

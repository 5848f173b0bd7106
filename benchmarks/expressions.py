"""Expressions against Jinja2's SandboxedEnvironment, in one process, both parsed once and cached.

    python benchmarks/expressions.py

Each line is a template as flows write it and its nearest kin in Jinja2, which gives the same text.
The number is the median over several rounds of the time for one rendering; the engines take turns,
so that a busy machine slows both.
"""

from __future__ import annotations

import gc
import statistics
import sys
from collections.abc import Callable
from time import perf_counter

from kestra_dagster import expressions
from kestra_dagster.expressions import Template

ROUNDS = 15
RENDERINGS = 2000
VARIABLES = {
    "flow": {"id": "extract", "namespace": "company.team"},
    "execution": {"id": "2xZ9", "startDate": "2024-05-01T10:00:00.000Z"},
    "taskrun": {"value": "2024-05-01", "attemptsCount": 1},
    "inputs": {"name": "world", "limit": 10, "dates": ["2024-05-01", "2024-05-02"]},
    "outputs": {"extract": {"uri": "kestra:///a/b/c.ion", "rows": 3, "missing": None}},
    "vars": {"bucket": "data-lake"},
}
CASES = [
    ("one variable", "{{ inputs.name }}", "{{ inputs.name }}"),
    ("text and one variable", "Hello {{ inputs.name }}!", "Hello {{ inputs.name }}!"),
    ("variable and filter", "{{ inputs.name | upper }}", "{{ inputs.name | upper }}"),
    (
        "two variables",
        "{{ vars.bucket }}/{{ outputs.extract.uri }}",
        "{{ vars.bucket }}/{{ outputs.extract.uri }}",
    ),
    (
        "two variables and a filter",
        "s3://{{ vars.bucket }}/{{ flow.namespace | replace({'.': '/'}) }}/x.json",
        "s3://{{ vars.bucket }}/{{ flow.namespace | replace('.', '/') }}/x.json",
    ),
    (
        "absent with a default",
        "{{ outputs.extract.missing ?? 'none' }}",
        "{{ outputs.extract.missing or 'none' }}",
    ),
    ("sum", "{{ outputs.extract.rows + 1 }}", "{{ outputs.extract.rows + 1 }}"),
    (
        "comparison",
        "{{ outputs.extract.rows > 2 and inputs.limit == 10 ? 'many' : 'few' }}",
        "{{ 'many' if outputs.extract.rows > 2 and inputs.limit == 10 else 'few' }}",
    ),
    (
        "concatenation",
        "{{ flow.id ~ '-' ~ execution.id | lower }}",
        "{{ (flow.id ~ '-' ~ execution.id) | lower }}",
    ),
    (
        "loop",
        "{% for d in inputs.dates %}{{ d }},{% endfor %}",
        "{% for d in inputs.dates %}{{ d }},{% endfor %}",
    ),
    ("list as JSON", "{{ inputs.dates | toJson }}", "{{ inputs.dates | tojson }}"),
]


def seconds(work: Callable[[], object], times: int) -> float:
    """Return the time of doing something once."""
    started = perf_counter()
    for _ in range(times):
        work()
    return (perf_counter() - started) / times


def compare(
    ours: Callable[[], object], theirs: Callable[[], object], renderings: int = RENDERINGS
) -> tuple[float, float]:
    """Return the median time of both, measured in turns."""
    rounds = [(seconds(ours, renderings), seconds(theirs, renderings)) for _ in range(ROUNDS)]
    return (
        statistics.median(mine for mine, _ in rounds),
        statistics.median(other for _, other in rounds),
    )


def main() -> int:
    """Print the table; the exit code says whether every typical template is at least as fast."""
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment()
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    slower = 0
    gc.disable()
    print(f"{'template':<28}{'this':>10}{'Jinja2':>10}{'ratio':>8}")
    for name, pebble, jinja in CASES:
        template = environment.from_string(jinja)
        assert expressions.render(pebble, VARIABLES) == template.render(VARIABLES), name
        ours, theirs = compare(
            lambda pebble=pebble: expressions.render(pebble, VARIABLES),
            lambda template=template: template.render(VARIABLES),
        )
        slower += ours > theirs
        print(f"{name:<28}{ours * 1e6:>7.2f} us{theirs * 1e6:>7.2f} us{theirs / ours:>7.1f}x")
    text = "select * from orders where day = '2024-05-01'" * 20
    plain, nothing = compare(lambda: expressions.render(text, VARIABLES), lambda: None)
    print(
        f"{'no template at all':<28}{plain * 1e6:>7.2f} us{nothing * 1e6:>7.2f} us (an empty call)"
    )
    _, pebble, jinja = CASES[4]
    ours, theirs = compare(
        lambda: Template(pebble), lambda: environment.from_string(jinja), renderings=50
    )
    print(f"{'parsing':<28}{ours * 1e6:>7.0f} us{theirs * 1e6:>7.0f} us{theirs / ours:>7.1f}x")
    return slower


if __name__ == "__main__":
    sys.exit(main())

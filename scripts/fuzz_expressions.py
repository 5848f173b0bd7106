"""Fuzz the expressions along the branches they take: python scripts/fuzz_expressions.py -runs=20000

Arguments are libFuzzer's. The inputs are those of `tests/expressions/test_fuzz.py`, led by the
coverage that atheris measures; the first byte chooses the test. Ends with an error at the first
input that gives anything but a value or an error of this package, or that takes too long.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path

import atheris

TESTS = Path(__file__).parents[1] / "tests" / "expressions" / "test_fuzz.py"
EXPRESSIONS = Path(__file__).parents[1] / "kestra_dagster" / "expressions"
NAMES = (
    "test_any_text",
    "test_any_tokens",
    "test_any_template",
    "test_any_expression_keeping_its_type",
    "test_templates_with_something_changed",
)


def main() -> None:
    with atheris.instrument_imports(include=["kestra_dagster.expressions"]):
        for module in pkgutil.iter_modules([str(EXPRESSIONS)], "kestra_dagster.expressions."):
            if not module.name.endswith("_worker"):  # a program of its own
                importlib.import_module(module.name)
    spec = importlib.util.spec_from_file_location("fuzz_tests", TESTS)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tests = [getattr(module, name).hypothesis.fuzz_one_input for name in NAMES]

    def one(data: bytes) -> None:
        if data:
            tests[data[0] % len(tests)](data[1:])

    # The budget of one input is processor time; its watch-dog is the tests' own.
    atheris.Setup([sys.argv[0], "-max_len=4096", "-len_control=0", *sys.argv[1:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""What importing and a simple rendering load: nothing heavy."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("babel", "cryptography", "dagster", "holidays", "httpx", "jq", "pydantic", "regex", "yaml")
PROGRAM = """
import sys
import kestra_dagster.expressions
after_import = [name for name in sys.modules if name.startswith("kestra_dagster.expressions.")]
from kestra_dagster.expressions import render
assert render("{{ a.b | upper }} {{ [1] | toJson }} {{ m ?? 'd' }}", {"a": {"b": "x"}})
print(len(after_import), [name for name in sys.argv[1:] if name in sys.modules])
"""


def test_importing_is_light():
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, *HEAVY],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert found.stdout.strip() == "0 []", found.stdout + found.stderr

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

VARIABLES = {
    "i": 7,
    "zero": 0,
    "half": 1.5,
    "s": "Hello World",
    "empty": "",
    "nothing": None,
    "yes": True,
    "no": False,
    "l": [3, 1, 2],
    "words": ["b", "a"],
    "m": {"a": 1, "b": {"c": "x"}},
    "day": "2024-02-29",
}


@pytest.fixture
def show():
    """Render a template with the usual variables, and others by name."""
    from kestra_dagster.expressions import render

    return lambda template, host=None, **more: render(template, {**VARIABLES, **more}, host)


@pytest.fixture
def typed():
    """Render a template, keeping the type of a lone value."""
    from kestra_dagster.expressions import render_typed

    return lambda template, **more: render_typed(template, {**VARIABLES, **more})

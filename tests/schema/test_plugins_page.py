"""docs/plugins.md is what the table of task types says."""

from pathlib import Path

from kestra_dagster.schema.plugins_page import plugins_page


def test_the_page_is_up_to_date() -> None:
    written = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    assert written == plugins_page(), "the table of task types changed: run `make docs`"

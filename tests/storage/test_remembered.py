"""What storages need to ask the database once only."""

from __future__ import annotations

import pytest
from sqlalchemy import event

from kestra_dagster.storage.remembered import remembers


@remembers("has", "has_on")
class Asked:
    def __init__(self) -> None:
        self.asked = 0
        self.answer = False

    def has(self, name: str = "") -> bool:
        self.asked += 1
        return self.answer

    def has_on(self, connection: object, name: str) -> bool:
        return self.has(name)


def test_a_yes_is_remembered_and_a_no_is_asked_for_again() -> None:
    one, other = Asked(), Asked()
    assert not one.has("a")
    one.answer = True
    assert one.has("a")
    one.answer = False
    assert one.has("a")
    assert one.asked == 2
    assert not one.has("b")
    assert not other.has("a")


def test_the_connection_is_no_part_of_the_question() -> None:
    one = Asked()
    one.answer = True
    assert one.has_on(object(), "a")
    assert one.has_on(object(), "a")
    assert one.asked == 1


@pytest.mark.dagster
@pytest.mark.whole
def test_reading_runs_does_not_read_the_catalog_each_time(home) -> None:
    with home.instance() as instance:
        statements: list[str] = []
        instance.get_runs()
        event.listen(
            instance.run_storage._engine,
            "before_cursor_execute",
            lambda connection, cursor, statement, *_: statements.append(statement),
        )
        instance.get_runs()
        instance.get_run_by_id("none")
    assert len(statements) == 2
    assert not any("pg_catalog" in statement for statement in statements)

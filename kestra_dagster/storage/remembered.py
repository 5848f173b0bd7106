"""What a database was found to have is not asked for again: migrations take nothing away."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import getattr_static
from typing import Any, TypeVar

C = TypeVar("C", bound=type)


def remembers(*names: str) -> Callable[[C], C]:
    """Have these methods of a storage answer yes from memory once they did so.

    Dagster reads the catalog of the database each time it wants to know whether a column is there:
    with every run that it reads, and every change of one. A no is asked for again, since the tables
    may be migrated meanwhile.
    """

    def change(cls: C) -> C:
        for name in names:
            setattr(cls, name, _remembered(name, getattr_static(cls, name)))
        return cls

    return change


def _remembered(name: str, method: Callable[..., bool]) -> Callable[..., bool]:
    @wraps(method)
    def call(self: Any, *args: Any) -> bool:
        known: set[tuple[Any, ...]] = self.__dict__.setdefault("_remembered", set())
        question = (name, *(given for given in args if isinstance(given, str)))  # no connections
        if question in known:
            return True
        answer = method(self, *args)
        if answer:
            known.add(question)
        return answer

    return call

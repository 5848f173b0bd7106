"""What an evaluation carries along: variables, scopes, the host, and the budget it may use up."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from time import thread_time
from typing import TYPE_CHECKING, Any

from kestra_dagster.expressions.errors import ExpressionLimitError

if TYPE_CHECKING:
    from kestra_dagster.expressions.host import Host

SECONDS = 0.8
"""CPU time of one rendering; time in the host (reading files, HTTP) does not count."""
MAX_STEPS = 5_000_000
"""Iterations, elements written and calls of one rendering."""
MAX_TEXT = 32_000_000
"""Characters of one text, built or rendered."""
MAX_ITEMS = 1_000_000
"""Elements of one list built by an expression."""
MAX_RENDERINGS = 100
"""Passes of one `render()` (Kestra's limit), and how many of them nest."""
MAX_CALLS = 16
"""How deep macros and `render()` may call themselves."""
_CHECK_EVERY = 128


class Budget:
    """Time and steps left for one rendering, however many templates take part in it."""

    __slots__ = ("_check_at", "_deadline", "steps")

    def __init__(self) -> None:
        self.steps = 0
        self._check_at = _CHECK_EVERY
        self._deadline = thread_time() + SECONDS

    def spend(self, steps: int = 1) -> None:
        """Count steps and, now and then, look at the clock."""
        self.steps += steps
        if self.steps >= self._check_at:
            self.check()

    def check(self) -> None:
        """Raise ExpressionLimitError when the budget is used up."""
        self._check_at = self.steps + _CHECK_EVERY
        if self.steps > MAX_STEPS:
            raise ExpressionLimitError(
                f"the expression takes more than {MAX_STEPS} steps",
                hint="do the work in a task, not in a template",
            )
        if thread_time() > self._deadline:
            raise ExpressionLimitError(
                f"the expression takes more than {SECONDS} seconds",
                hint="do the work in a task, not in a template",
            )

    def left(self) -> float:
        """Return the seconds left, at least a little."""
        return max(0.01, self._deadline - thread_time())

    def text(self, length: int) -> None:
        """Refuse a text of so many characters before it is built."""
        if length > MAX_TEXT:
            raise ExpressionLimitError(
                f"the text grows to {length} characters, the limit is {MAX_TEXT}",
                hint="write large texts to a file in a task",
            )
        if length > 10_000:
            self.spend(length >> 8)
            self.check()

    def watched(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yield elements of a list that may be long, with an eye on the clock."""
        for number, item in enumerate(items):
            if not number & 1023:
                self.check()
            yield item

    def items(self, count: int) -> None:
        """Refuse a list of so many elements before it is built."""
        if count > MAX_ITEMS:
            raise ExpressionLimitError(
                f"the list grows to {count} elements, the limit is {MAX_ITEMS}"
            )
        self.spend(count >> 4)


class Context:
    """One template being evaluated.

    `scopes` are the names bound by tags, innermost last; `variables` are what the caller gave.
    """

    __slots__ = ("_budget", "calls", "host", "recursive", "scopes", "template", "variables")

    def __init__(
        self,
        variables: Mapping[str, Any],
        host: Host | None,
        template: Any,
        budget: Budget | None = None,
        calls: int = 0,
        recursive: bool = False,
    ) -> None:
        self.variables = variables
        self.host = host
        self.template = template
        self.scopes: list[dict[str, Any]] = []
        self.calls = calls
        self.recursive = recursive
        self._budget = budget

    @property
    def budget(self) -> Budget:
        """The budget of the whole rendering, started on first use."""
        if self._budget is None:
            self._budget = Budget()
        return self._budget

    def visible(self) -> Mapping[str, Any]:
        """Return every variable an expression sees here, bound ones first."""
        if not self.scopes:
            return self.variables
        return ChainMap(*reversed(self.scopes), self.variables)  # type: ignore[arg-type]

    def value(self, name: str, default: Any = None) -> Any:
        """Return a variable by name, for functions that read their surroundings."""
        return self.visible().get(name, default)

    def call(self, variables: Mapping[str, Any], template: Any) -> Context:
        """Return the context of a macro or of a nested rendering."""
        self.budget.spend(16)
        if self.calls >= MAX_CALLS:
            raise ExpressionLimitError(
                f"macros or `render()` call themselves more than {MAX_CALLS} levels deep"
            )
        return Context(variables, self.host, template, self.budget, self.calls + 1, self.recursive)

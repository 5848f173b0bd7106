"""The regular expression by which tasks choose files."""

from __future__ import annotations

import re

from kestra_dagster.errors import TaskMisconfigured


def path_pattern(text: str | None, name: str = "regExp") -> re.Pattern[str]:
    """Return the pattern that paths have to match as a whole, any if none is given.

    Raise TaskMisconfigured, which names the property, if it is not one.
    """
    try:
        return re.compile(text or ".*", re.DOTALL)
    except re.error as error:
        raise TaskMisconfigured(f"`{name}` is not valid: {error}") from error

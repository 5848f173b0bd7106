"""The cases that are known to differ; docs/conformance.md says why, and what is done instead."""

from __future__ import annotations

from typing import Any

KNOWN: dict[str, str] = {
    "inputs-create-execution": "the case gives `bool` a value and expects none",
    "inputs-secret-without-encryption": "secrets need no key, since they are not kept without one",
}
"""Case id, with the engine in front where it is but one (`dagster:id`) -> the reason in short."""


def known(engine: str, case_id: str) -> list[Any]:
    """Return the mark of a case that is known to differ; it fails when the case passes."""
    import pytest

    reason = KNOWN.get(f"{engine}:{case_id}") or KNOWN.get(case_id)
    return [pytest.mark.xfail(strict=True, reason=reason)] if reason else []

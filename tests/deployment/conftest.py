"""What the checks of a deployment share; they run with `make deploy-check`, not with the tests."""

from __future__ import annotations

import os

import pytest

from tests.deployment.pod import missing


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the checks unless they are asked for; skip them where they cannot run."""
    if "deploy" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("deploy")]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]
        return
    reason = missing()
    if reason and not os.environ.get("CI"):
        for item in items:
            if item.get_closest_marker("deploy"):
                item.add_marker(pytest.mark.skip(reason))

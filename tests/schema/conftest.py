"""Where Kestra's own flows are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def conformance() -> Path:
    """The folder of Kestra's own cases, which is not part of the repository."""
    near = Path(__file__).parents[3] / "shared" / "conformance"
    folder = Path(os.environ.get("KESTRA_CONFORMANCE", near))
    if not folder.is_dir():
        pytest.skip("the conformance cases are not here")
    return folder

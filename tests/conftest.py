import os
import shutil
import tempfile

import pytest

# Before anything of Dagster is imported, here and in the processes that tests start.
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"

pytest_plugins = ["tests.servers"]

_TEMPORARY = "PYTEST_DEBUG_TEMPROOT"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make conformance` run what `make test` leaves out to stay within its time."""
    parser.addoption("--thorough", action="store_true", help="our own cases on Dagster as well")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no worker is left alone with it in the end."""
    items.sort(key=lambda item: item.get_closest_marker("whole") is None)


def pytest_configure(config: pytest.Config) -> None:
    """Give this run a temporary root of its own, and its workers the same.

    Pytest closes the one that runs share whenever another run begins, and the PostgreSQL servers of
    the run that is under way, which are another user's when tests run as root, lose their folders.
    """
    if _TEMPORARY not in os.environ:
        # Short, since the path of a socket is below it.
        os.environ[_TEMPORARY] = config.kestra_temporary = tempfile.mkdtemp(prefix="kd-")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remove it, unless there are failures to look at."""
    folder = getattr(session.config, "kestra_temporary", None)
    if folder and exitstatus == pytest.ExitCode.OK:
        session.config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))

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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, on all workers, so that none is left alone with it in the end.

    Xdist gives each worker as many items as the others, in the order of the list. A room's long
    ones stay together: they share servers.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if item.get_closest_marker("whole")]
    short = [item for item in items if not item.get_closest_marker("whole")]
    rooms = sorted({_room(item) for item in long})
    each = len(items) // workers
    ordered: list[pytest.Item] = []
    for number in range(workers):
        own = rooms[number::workers]
        ordered += [item for item in long if _room(item) in own]
        missing = max(0, each * (number + 1) - len(ordered))
        ordered += short[:missing]
        del short[:missing]
    items[:] = ordered + short


def _room(item: pytest.Item) -> str:
    return item.nodeid.split("/")[1]


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

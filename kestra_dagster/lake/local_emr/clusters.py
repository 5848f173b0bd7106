"""Clusters that live in this process: one thread each takes its steps in order."""

from __future__ import annotations

import gzip
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from kestra_dagster.lake.local_emr import guard, spark
from kestra_dagster.lake.local_emr.protocol import OVER, Cluster, ServiceError, Step

_TERMINATE_ON = frozenset({"TERMINATE_JOB_FLOW", "TERMINATE_CLUSTER"})


class LiveCluster:
    """A cluster at work: waits for steps, runs them, ends when told, idle or done."""

    def __init__(self, cluster: Cluster, machine: spark.Machine, work: Path) -> None:
        self.cluster = cluster
        self._machine = machine
        self._work = work / cluster.id
        self._changed = threading.Condition()
        self._ending: tuple[str, str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._live, name=cluster.id, daemon=True)

    @property
    def lock(self) -> threading.Condition:
        return self._changed

    def start(self) -> None:
        self._thread.start()

    def add(self, steps: list[Step]) -> None:
        """Queue steps; refuse when the cluster is on its way out."""
        with self._changed:
            if self._ending or self.cluster.state in OVER:
                raise ServiceError(
                    "InvalidRequestException",
                    "A job flow that is shutting down or finished may not be modified: "
                    f"{self.cluster.id}",
                )
            self.cluster.steps.extend(steps)
            self._changed.notify_all()

    def cancel(self, step_ids: list[str]) -> dict[str, str]:
        """Cancel pending steps, interrupt running ones; return what became of each."""
        answers: dict[str, str] = {}
        with self._changed:
            for step in self.cluster.steps:
                if step.id not in step_ids:
                    continue
                if step.state == "PENDING":
                    step.state, step.ended = "CANCELLED", time.time()
                elif step.state == "RUNNING":
                    step.state = "INTERRUPTED"
                    self._kill_step()
                else:
                    answers[step.id] = "FAILED"
                    continue
                answers[step.id] = "SUBMITTED"
            self._changed.notify_all()
        return answers

    def terminate(
        self, code: str = "USER_REQUEST", message: str = "Terminated by user request"
    ) -> None:
        """Ask the cluster to end: running Spark processes are killed, pending steps cancelled."""
        with self._changed:
            if self.cluster.state in OVER or self._ending:
                return
            self._ending = (code, message)
            self.cluster.state = "TERMINATING"
            self._kill_step()
            self._changed.notify_all()

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def _live(self) -> None:
        self._work.mkdir(parents=True)
        try:
            with self._changed:
                if not self._ending:
                    self.cluster.state, self.cluster.ready = "RUNNING", time.time()
            while (step := self._next_step()) is not None:
                self._run(step)
        except Exception as error:
            self._ending = ("INTERNAL_ERROR", f"{type(error).__name__}: {error}")
            raise
        finally:
            shutil.rmtree(self._work, ignore_errors=True)
            self._finish()

    def _next_step(self) -> Step | None:
        """Wait for a step; None when the cluster is to end."""
        cluster = self.cluster
        with self._changed:
            cluster.idle_since = time.monotonic()
            while not self._ending:
                pending = next((step for step in cluster.steps if step.state == "PENDING"), None)
                if pending:
                    cluster.state = "RUNNING"
                    pending.state, pending.started = "RUNNING", time.time()
                    return pending
                if not cluster.keep_alive:
                    self._ending = ("ALL_STEPS_COMPLETED", "Steps completed")
                    break
                cluster.state = "WAITING"
                if cluster.idle_timeout is None:
                    self._changed.wait()
                    continue
                left = cluster.idle_since + cluster.idle_timeout - time.monotonic()
                if left <= 0:
                    self._ending = ("AUTO_TERMINATION", "Terminated by its auto-termination policy")
                else:
                    self._changed.wait(left)
            return None

    def _run(self, step: Step) -> None:
        folder = self._work / step.id
        folder.mkdir()
        stdout, stderr = folder / "stdout", folder / "stderr"
        failure = ""
        try:
            code = self._execute(step, folder, stdout, stderr)
        except (OSError, ServiceError) as error:
            code, failure = None, f"spark-submit could not be started: {error}"
            stderr.write_text(failure, encoding="utf-8")
        logs = self._keep_logs(step, stdout, stderr)
        shutil.rmtree(folder, ignore_errors=True)
        with self._changed:
            step.ended = time.time()
            if step.state == "INTERRUPTED" or self._ending:
                step.state = "CANCELLED"
            elif code == 0:
                step.state = "COMPLETED"
            else:
                step.state = "FAILED"
                step.failure = {
                    "Reason": "Unknown Error.",
                    "Message": failure or f"spark-submit ended with exit code {code}",
                    "LogFile": logs or "",
                }
                self._after_failure(step)
            self._changed.notify_all()

    def _execute(self, step: Step, folder: Path, stdout: Path, stderr: Path) -> int | None:
        """Run spark-submit under its guard; return its exit code, or None if it was killed."""
        defaults = spark.spark_defaults(self.cluster.request.get("Configurations", []))
        command = spark.command(self._machine, step.arguments, defaults)
        classes = spark.kept_classes(self._machine, folder)
        line = [sys.executable, "-I", "-S", guard.__file__, str(stdout), str(stderr), *command]
        process = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env=spark.environment(self._machine, folder, classes),
            start_new_session=True,
        )
        with self._changed:
            self._process = process
            if self._ending or step.state == "INTERRUPTED":
                self._kill_step()
        try:
            answer = _stream(process.stdout).readline().strip()
            if answer == b"0" and classes:
                classes.keep()
            return int(answer) if answer else None
        finally:
            with self._changed:
                self._kill_step()
                self._process = None
            process.wait()
            _stream(process.stdout).close()

    def _kill_step(self) -> None:
        """Make the guard end its process group, at once if it does not listen (lock held)."""
        process = self._process
        if process is None or process.stdin is None or process.stdin.closed:
            return
        process.stdin.close()
        timer = threading.Timer(guard.GRACE + 1, _kill_group, (process,))
        timer.daemon = True
        timer.start()

    def _after_failure(self, step: Step) -> None:
        if step.action_on_failure == "CONTINUE":
            return
        for other in self.cluster.steps:
            if other.state == "PENDING":
                other.state, other.ended = "CANCELLED", time.time()
        if step.action_on_failure in _TERMINATE_ON and not self._ending:
            self._ending = ("STEP_FAILURE", f"Shut down as step failed: {step.id}")
            self.cluster.state = "TERMINATING"

    def _keep_logs(self, step: Step, stdout: Path, stderr: Path) -> str | None:
        """Store the step's logs under LogUri, as EMR does; return the URI of its stderr."""
        log_uri = self.cluster.log_uri
        if not log_uri:
            return None
        base = f"{log_uri.rstrip('/')}/{self.cluster.id}/steps/{step.id}"
        target = spark.local_path(self._machine.lake_root, base)
        target.mkdir(parents=True, exist_ok=True)
        for source in (stdout, stderr):
            partial = target / f".{source.name}.part"
            with gzip.open(partial, "wb") as out:
                if source.exists():
                    with source.open("rb") as text:
                        shutil.copyfileobj(text, out)
            os.replace(partial, target / f"{source.name}.gz")
        return f"{base}/stderr.gz"

    def _finish(self) -> None:
        with self._changed:
            code, message = self._ending or ("INTERNAL_ERROR", "the cluster's thread ended")
            failed = code in {"STEP_FAILURE", "INTERNAL_ERROR"}
            for step in self.cluster.steps:
                if step.state in {"PENDING", "RUNNING"}:
                    step.state, step.ended = "CANCELLED", time.time()
            self.cluster.reason = {"Code": code, "Message": message}
            self.cluster.state = "TERMINATED_WITH_ERRORS" if failed else "TERMINATED"
            self.cluster.ended = time.time()
            self._changed.notify_all()


def new_id(prefix: str) -> str:
    """Return an identifier as EMR makes them: `j-` or `s-` and 13 capitals and digits."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return prefix + "".join(secrets.choice(alphabet) for _ in range(13))


def _kill_group(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream

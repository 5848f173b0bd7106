"""The `jq` filter. Harmless programs run here; any other in a process that can be stopped.

A jq program is a program: it may loop for ever, fill the memory, read the environment. The worker
process has neither environment nor much memory, and is killed when it takes too long.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any

from kestra_dagster.expressions.context import MAX_ITEMS, Budget
from kestra_dagster.expressions.errors import ExpressionError, ExpressionLimitError
from kestra_dagster.expressions.jq_paths import walk, walk_of
from kestra_dagster.expressions.text import json_text, json_tree

_MAX_PROGRAM = 10_000
_MAX_INPUT = 4_000_000
_SIMPLE = re.compile(
    r"\s*(?:(?:\.(?:[A-Za-z_]\w*|\"[^\"\\]*\")?|\[\s*(?:\"[^\"\\]*\"|-?\d{1,6})?\s*\]|\||,"
    r"|keys|length|first|last|add|sort|unique|reverse|type|not|tostring|tonumber|values)\s*)+"
)
_IMPORTS = re.compile(r"\b(import|include|modulemeta|get_search_list|input_filename)\b")
_START_SECONDS = 20.0
_ANSWER_SECONDS = 10.0
"""The worker limits its own processor time; this is for a machine that is too busy."""


def run_jq(program: str, value: Any, budget: Budget) -> list[Any]:
    """Run a program on a value (a string is JSON text) and return the list of its results."""
    if len(program) > _MAX_PROGRAM:
        raise ExpressionLimitError(f"the jq program is longer than {_MAX_PROGRAM} characters")
    if (stages := walk_of(program)) is not None:
        try:
            is_text = isinstance(value, str)
            tree = json.loads(value or "null") if is_text else json_tree(value, budget)
            return walk(stages, tree, budget)
        except RecursionError:
            raise ExpressionLimitError("the JSON is nested too deep") from None
        except ValueError as error:
            raise _failure(program, str(error)) from None
    text = value if isinstance(value, str) else json_text(value, budget)
    if len(text) > _MAX_INPUT:
        raise ExpressionLimitError(
            f"the input of jq is longer than {_MAX_INPUT} characters", hint="use jq in a task"
        )
    if _IMPORTS.search(program):
        raise ExpressionError("a jq program in an expression cannot import modules")
    simple = _SIMPLE.fullmatch(program) and program.count("[") < 4 and program.count(",") < 6
    if simple:
        import jq

        try:
            compiled = jq.compile(program)
            results = compiled.input_text(text or "null").all()
        except (ValueError, RecursionError) as error:
            raise _failure(program, str(error)) from None
    else:
        answer = _worker().ask({"program": program, "input": text or "null"})
        if "error" in answer:
            raise _failure(program, answer["error"])
        results = answer["results"]
    if len(results) > MAX_ITEMS:
        raise ExpressionLimitError(f"the jq program gives more than {MAX_ITEMS} results")
    return results


def _failure(program: str, reason: str) -> ExpressionError:
    shown = program if len(program) <= 80 else program[:80] + "…"
    return ExpressionError(
        f"jq `{shown}`: {reason.strip().splitlines()[0] if reason else 'failed'}"
    )


class _Worker:
    """One process that answers one request at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.answers: SimpleQueue[bytes] = SimpleQueue()

    def ask(self, request: dict[str, str]) -> dict[str, Any]:
        """Send a request and wait for its answer; a process that does not answer is replaced."""
        with self.lock:
            process = self._running()
            try:
                assert process.stdin
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                line = self.answers.get(timeout=_ANSWER_SECONDS)
            except (Empty, OSError):
                line = b""
            if line:
                return json.loads(line)
            self._stop()
        raise ExpressionLimitError(
            "the jq program takes too much time or memory", hint="do the work in a task"
        )

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process and self.process.poll() is None:
            return self.process
        self._stop()
        import jq

        place = Path(str(jq.__file__)).parent
        if (place / "__init__.py").exists():
            place = place.parent
        worker = Path(__file__).with_name("jq_worker.py")
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(worker), str(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
        )
        self.answers = SimpleQueue()
        assert self.process.stdout
        reader = threading.Thread(
            target=_read, args=(self.process.stdout, self.answers), daemon=True
        )
        reader.start()
        try:
            ready = self.answers.get(timeout=_START_SECONDS)
        except Empty:
            ready = b""
        if not ready:
            self._stop()
            raise ExpressionError("the jq process does not start")
        return self.process

    def _stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout):
                try:
                    if stream:
                        stream.close()
                except OSError:
                    pass
            self.process = None


def _read(stream: IO[bytes], answers: SimpleQueue[bytes]) -> None:
    try:
        while line := stream.readline():
            answers.put(line)
    except (OSError, ValueError):
        pass
    answers.put(b"")


_workers: dict[int, _Worker] = {}
_workers_lock = threading.Lock()


def _worker() -> _Worker:
    """Return the worker of this process (a fork must not share its parent's)."""
    import os

    with _workers_lock:
        return _workers.setdefault(os.getpid(), _Worker())

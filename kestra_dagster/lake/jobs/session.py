"""How a job begins and ends with Spark, and runs several queries at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pyspark.sql import SparkSession

_TASKS = "Executor task"
"""How Spark names the threads of tasks; on a cluster the driver has none."""


@contextlib.contextmanager
def session(name: str) -> Iterator[SparkSession]:
    """Provide Spark for a job of this name.

    `SparkSession.stop` would wait for a server of pyspark, which listens once in half a second and
    ends with the process anyway.
    """
    spark = SparkSession.builder.appName(name).getOrCreate()
    java: Any = spark
    yield spark
    # After a failure the JVM stops by itself: if that is broken, its error would hide the first.
    java._jsc.stop()


class Threads:
    """Runs several works of a session at once: one is planned in the pauses of another.

    Spark 4.3 remembers a compiled query for the class loader of the thread that needs it. In local
    mode the tasks have another than the queries, and each query would be compiled twice: so the
    threads of queries take that of the tasks, which finds the same classes and more.
    """

    def __init__(self, spark: SparkSession) -> None:
        java: Any = spark
        self._jvm = java._jvm
        java._jsc.parallelize(self._jvm.java.util.ArrayList(), 1).count()
        threads = self._jvm.java.lang.Thread.getAllStackTraces().keySet()
        tasks = [thread for thread in threads if thread.getName().startswith(_TASKS)]
        self._loader = tasks[0].getContextClassLoader() if tasks else None
        self._prepare()

    def together(self, *works: Callable[[], Any], at_once: int | None = None) -> list[Any]:
        """Run works, as many `at_once`, and return their results."""
        with ThreadPoolExecutor(at_once or len(works), initializer=self._prepare) as pool:
            return [future.result() for future in [pool.submit(work) for work in works]]

    def _prepare(self) -> None:
        if self._loader is not None:
            self._jvm.java.lang.Thread.currentThread().setContextClassLoader(self._loader)

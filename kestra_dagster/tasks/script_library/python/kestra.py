"""Stand in for Kestra's package `kestra` where it is not installed.

Has what scripts use to speak to the engine that runs them: outputs, metrics, a logger. An installed
package comes first: this module makes way for it.
"""

import json
import logging
import os
import sys
import time


def _installed():
    from importlib import util
    from importlib.machinery import PathFinder

    here = os.path.dirname(os.path.abspath(__file__))
    elsewhere = [path for path in sys.path if os.path.abspath(path or ".") != here]
    spec = PathFinder.find_spec("kestra", elsewhere)
    if spec is None or spec.loader is None:
        return None
    module = util.module_from_spec(spec)
    sys.modules["kestra"] = module
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        # older releases need packages that may be missing; what is here needs none
        sys.stderr.write(f"the installed package `kestra` is not usable: {error}\n")
        sys.modules["kestra"] = sys.modules.get(__name__, module)
        return None
    return module


class Kestra:
    """Write outputs, metrics and log messages as lines that the engine reads."""

    _logger = None

    @staticmethod
    def format(map_):
        return "::" + json.dumps(map_) + "::"

    @staticmethod
    def _send(map_):
        print(Kestra.format(map_), flush=True)

    @staticmethod
    def _metrics(name, type_, value, tags=None):
        metric = {"name": name, "type": type_, "value": value, "tags": tags or {}}
        Kestra._send({"metrics": [metric]})

    @staticmethod
    def outputs(map_):
        Kestra._send({"outputs": map_})

    @staticmethod
    def assets(map_):
        Kestra._send({"assets": map_})

    @staticmethod
    def counter(name, value, tags=None):
        Kestra._metrics(name, "counter", value, tags)

    @staticmethod
    def gauge(name, value, tags=None):
        Kestra._metrics(name, "gauge", value, tags)

    @staticmethod
    def timer(name, duration, tags=None):
        if callable(duration):
            start = time.perf_counter()
            duration()
            duration = time.perf_counter() - start
        Kestra._metrics(name, "timer", duration, tags)

    @staticmethod
    def logger():
        if Kestra._logger is None:
            logger = logging.getLogger("Kestra")
            logger.setLevel(logging.DEBUG)
            handler = logging.StreamHandler(sys.stdout)
            handler.setFormatter(_JsonFormatter())
            logger.addHandler(handler)
            logger.propagate = False
            Kestra._logger = logger
        return Kestra._logger


_LEVELS = {"WARNING": "WARN", "CRITICAL": "ERROR"}


class _JsonFormatter(logging.Formatter):
    def format(self, record):
        level = _LEVELS.get(record.levelname, record.levelname)
        return Kestra.format({"logs": [{"level": level, "message": super().format(record)}]})


_found = _installed()
if _found is not None:
    globals().update(vars(_found))

"""A process that runs jq programs, one JSON request a line. Started by `jq.py`, never imported."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys

_CPU_SECONDS = 0.8
_MEMORY = 1 << 30
_MAX_RESULTS = 1_000_000


def main() -> None:
    """Answer requests until the input ends; a program over its time ends the process."""
    sys.path.append(sys.argv[1])
    import jq

    os.environ.clear()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    answer({"ready": True})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, _CPU_SECONDS)
        try:
            results = []
            for result in jq.compile(request["program"]).input_text(request["input"]):
                results.append(result)
                if len(results) > _MAX_RESULTS:
                    break
            text = json.dumps({"results": results})
        except (ValueError, RecursionError, MemoryError) as error:
            text = json.dumps({"error": str(error) or type(error).__name__})
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def answer(value: dict[str, object]) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

"""`dagster dev` as `kestra-dagster dev` runs it; run with `-m`, its own arguments follow.

Two notices that mislead here are left out, the daemon looks at its sensors more often, and this
process, which has nothing else to do, takes the requests for webhooks too.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Any

# The home folder's dagster.yaml is the project's (local/home.py), so it is used.
UNUSED_YAML = "Found a dagster instance configuration value"
WEBHOOKS_VARIABLE = "KESTRA_DAGSTER_WEBHOOKS_AT"
"""Where to listen for webhooks: `host:port`; not set, nothing listens."""
STOCK_DAEMON = ("-m", "dagster._daemon")
OWN_DAEMON = ("-m", "kestra_dagster.local.dagster_daemon")


def main() -> None:
    """Run `dagster dev`."""
    from dagster._cli import main as dagster

    dev: Any = importlib.import_module("dagster._cli.dev")

    logging.getLogger("dagster").addFilter(lambda record: UNUSED_YAML not in record.getMessage())
    warnings.filterwarnings("ignore", message="Function `dev_command` is superseded")
    start = dev.open_ipc_subprocess

    def start_with_own_daemon(command: Sequence[str], **options: Any) -> Any:
        own = list(command)
        if tuple(own[1:3]) == STOCK_DAEMON:
            own[1:3] = OWN_DAEMON
        return start(own, **options)

    dev.open_ipc_subprocess = start_with_own_daemon
    address = os.environ.get(WEBHOOKS_VARIABLE)
    if address:
        host, _, port = address.rpartition(":")
        threading.Thread(target=_take_webhooks, args=(host, int(port)), daemon=True).start()
    sys.argv[:] = ["dagster", "dev", *sys.argv[1:]]
    dagster()


def _take_webhooks(host: str, port: int) -> None:
    """Serve the webhook app until the process ends."""
    from kestra_dagster.errors import KestraDagsterError
    from kestra_dagster.webhooks.serve import serve

    try:
        serve(host, port)
    except KestraDagsterError as error:
        logging.getLogger("dagster").warning("no webhooks: %s", error)
    except BaseException:  # a thread's error would be shown and forgotten
        logging.getLogger("dagster").exception("the webhook app ended")


if __name__ == "__main__":
    main()

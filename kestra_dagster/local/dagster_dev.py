"""`dagster dev` without two notices that mislead here; run with `-m`, its own arguments follow."""

from __future__ import annotations

import logging
import sys
import warnings

# The home folder's dagster.yaml is the project's (local/home.py), so it is used.
UNUSED_YAML = "Found a dagster instance configuration value"


def main() -> None:
    """Run `dagster dev`."""
    from dagster._cli import main as dagster

    logging.getLogger("dagster").addFilter(lambda record: UNUSED_YAML not in record.getMessage())
    warnings.filterwarnings("ignore", message="Function `dev_command` is superseded")
    sys.argv[:] = ["dagster", "dev", *sys.argv[1:]]
    dagster()


if __name__ == "__main__":
    main()

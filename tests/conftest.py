import os

# Before anything of Dagster is imported, here and in the processes that tests start.
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"

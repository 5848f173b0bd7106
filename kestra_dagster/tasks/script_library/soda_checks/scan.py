"""Run checks of Soda 3: what is asked is in a JSON file, what came of it goes to another."""

import json
import sys

from soda.common.logs import configure_logging  # pyright: ignore[reportMissingImports]
from soda.scan import Scan  # pyright: ignore[reportMissingImports]

try:
    from soda.cloud.soda_cloud import SodaCloud  # pyright: ignore[reportMissingImports]
except ImportError:
    from soda.soda_cloud.soda_cloud import SodaCloud  # pyright: ignore[reportMissingImports]

with open(sys.argv[1], encoding="utf-8") as file:
    asked = json.load(file)
configure_logging()
scan = Scan()
scan.set_data_source_name("kestra")
# JSON is YAML too.
scan.add_configuration_yaml_str(json.dumps(asked["configuration"]))
scan.add_sodacl_yaml_str(json.dumps(asked["checks"]))
if asked["verbose"]:
    scan.set_verbose()
if asked["variables"]:
    scan.add_variables(asked["variables"])
code = scan.execute()
result = SodaCloud.build_scan_results(scan)
for name in ("logs", "queries", "sourceOwner"):
    result.pop(name, None)
with open(sys.argv[2], "w", encoding="utf-8") as file:
    json.dump({**result, "exitCode": code}, file, default=str)

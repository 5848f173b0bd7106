"""Verify contracts of Soda 4: what is asked is in a JSON file, what came of it goes to another."""

import json
import logging
import sys

from soda_core.common.yaml import ContractYamlSource, DataSourceYamlSource  # pyright: ignore[reportMissingImports]
from soda_core.contracts.contract_verification import ContractVerificationSession  # pyright: ignore[reportMissingImports]

with open(sys.argv[1], encoding="utf-8") as file:
    asked = json.load(file)
logging.basicConfig(level=logging.DEBUG if asked["verbose"] else logging.INFO)


def told_check(found):
    check = found.check
    return {
        "name": check.name,
        "type": check.type,
        "column": check.column_name,
        "definition": check.definition,
        "outcome": found.outcome.value.lower(),
    }


def told_contract(found):
    return {
        "dataSource": found.check_collection.data_source_name,
        "dataset": found.check_collection.dataset_name,
        "checks": [told_check(each) for each in found.check_results],
        "hasFailures": found.is_failed,
        "hasWarnings": found.is_warned,
        "hasErrors": found.has_errors,
    }


more = {"variables": asked["variables"]} if asked["variables"] else {}
session = ContractVerificationSession.execute(
    # JSON is YAML too.
    contract_yaml_sources=[
        ContractYamlSource.from_str(json.dumps(contract)) for contract in asked["contracts"]
    ],
    data_source_yaml_sources=[DataSourceYamlSource.from_str(json.dumps(asked["dataSource"]))],
    **more,
)
code = 3 if session.has_errors else 1 if session.is_failed else 2 if session.is_warned else 0
result = {
    "contractResults": [told_contract(each) for each in session.contract_verification_results],
    "hasFailures": session.is_failed,
    "hasWarnings": session.is_warned,
    "hasErrors": session.has_errors,
    "exitCode": code,
}
with open(sys.argv[2], "w", encoding="utf-8") as file:
    json.dump(result, file, default=str)

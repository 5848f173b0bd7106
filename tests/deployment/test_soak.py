"""Mixed flows on two workers, counted; `python -m tests.deployment.soak` does it with thousands."""

import pytest

from tests.deployment.pod import Pod
from tests.deployment.soak import soak
from tests.deployment.team import Team

EXECUTIONS = 40

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(600)]


def test_every_execution_ends_as_its_flow_says(pod: Pod, team: Team) -> None:
    report = soak(pod, team, EXECUTIONS)
    print("\n".join(report.lines()))
    assert not report.wrong, report.lines()
    assert sum(report.ended.values()) == EXECUTIONS

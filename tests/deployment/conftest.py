"""What the checks of a deployment share; they run with `make deploy-check`, not with the tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.deployment.compose import PROXY
from tests.deployment.pod import Pod, missing
from tests.deployment.readable import unreadable
from tests.deployment.soak import FLOWS
from tests.deployment.team import Team


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the checks unless they are asked for; skip them where they cannot run."""
    if "deploy" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("deploy")]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]
        return
    reason = missing()
    if reason and not os.environ.get("CI"):
        for item in items:
            if item.get_closest_marker("deploy"):
                item.add_marker(pytest.mark.skip(reason))


class ByPod(LoadScopeScheduling):
    """Gives the checks of a pod to one process, so that each pod is started once."""

    def _split_scope(self, nodeid: str) -> str:
        return "workers" if nodeid.partition("::")[0].endswith(WITH_WORKERS) else "no workers"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByPod | None:
    """Have what needs different pods run side by side: most of it waits."""
    return ByPod(config, log) if "deploy" in config.option.markexpr else None


WITH_WORKERS = ("test_proxy.py", "test_services.py", "test_services_broken.py", "test_soak.py")
SOONER = {
    "poll_interval_seconds: 15": "poll_interval_seconds: 3",
    "start_timeout_seconds: 180": "start_timeout_seconds: 40",
    "free_slots_after_run_end_seconds: 60": "free_slots_after_run_end_seconds: 1",
}
"""The daemon looks more often, so that the checks need not wait as long as a team would."""


@pytest.fixture(scope="session")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A deployment with two workers, its services all healthy."""
    variables = {
        "COMPOSE_PROFILES": "celery",
        "KESTRA_DAGSTER_LAKE": "off",
        "KESTRA_DAGSTER_WORKERS": "2",
        "KESTRA_DAGSTER_WORKER_RUNS": "2",
        "KESTRA_DAGSTER_MAX_RUNS": "4",
    }
    with Pod(
        tmp_path_factory.mktemp("pod"),
        variables,
        flows=FLOWS,
        more_files=(PROXY,),
        replaced=SOONER,
        small={"storage": "64m"},
        clocks=True,
    ) as pod:
        pod.secrets.update(_of_the_proxy(tmp_path_factory.mktemp("tls"), pod.secrets["passwords"]))
        pod.up()
        yield pod


@pytest.fixture
def nothing_is_lost(pod: Pod, team: Team) -> Iterator[None]:
    """Hold a test to this, whatever it breaks.

    Every execution that was accepted has ended, and what its finished tasks returned can be read.
    """
    before = team.run_ids()
    yield
    assert unreadable(pod, team, team.settled(before)) == {}


PASSWORD = "open sesame"


def _of_the_proxy(folder: Path, salt: str) -> dict[str, str]:
    """Make the files that deploy/reverse-proxy/compose.yml asks for, as docs/security.md does."""
    pair = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    made = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=localhost"]
    subprocess.run([*made, *pair], check=True, capture_output=True)
    hashed = ["openssl", "passwd", "-apr1", "-salt", salt[:8], PASSWORD]
    password = subprocess.run(hashed, check=True, capture_output=True, text=True).stdout.strip()
    return {
        "tls_certificate": (folder / "tls.crt").read_text(),
        "tls_key": (folder / "tls.key").read_text(),
        "passwords": f"ada:{password}\n",
    }


@pytest.fixture(scope="session")
def team(pod: Pod) -> Team:
    """Somebody who uses the deployment."""
    return Team(pod, pod.folder / "home")

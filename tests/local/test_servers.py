"""The embedded servers end with the last process that needs them, however that one ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from kestra_dagster.errors import TerminalError
from kestra_dagster.local.lease import is_locked
from kestra_dagster.local.postgres import is_installed
from kestra_dagster.local.s3 import LocalS3, local_s3
from kestra_dagster.local.services import services

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(not is_installed(), reason="the extra `local` is not installed"),
]

OWNER = """
import json, sys
from pathlib import Path
from kestra_dagster.local.services import services
with services(Path(sys.argv[1]), s3=True) as running:
    print(json.dumps(dict(running.environment)), flush=True)
    sys.stdin.read()
"""


@contextmanager
def owner(project: Path) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(project)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert child.stdout
        child.environment = json.loads(child.stdout.readline())  # type: ignore[attr-defined]
        yield child
    finally:
        child.kill()
        child.communicate()
        wait_until_gone(project)


def servers(project: Path) -> list[psutil.Process]:
    """Find the processes that work for `project` by their command lines."""
    home = str(project / ".dagster_home")
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        if any(home in argument for argument in process.info["cmdline"] or ()):
            found.append(process)
    return found


def wait_until_gone(project: Path, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while left := servers(project):
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.05)


def s3_client(s3: LocalS3, key: str | None = None):
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name="eu-west-1",
        aws_access_key_id=s3.access_key_id,
        aws_secret_access_key=key or s3.secret_access_key,
    )


@pytest.fixture(autouse=True)
def _no_servers_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DAGSTER_HOME", "KESTRA_DAGSTER_POSTGRES_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_its_owner(tmp_path: Path, how: signal.Signals) -> None:
    with owner(tmp_path) as process:
        names = {server.name() for server in servers(tmp_path)}
        assert {"postgres", "rclone"} <= names
        os.killpg(process.pid, how)
        process.wait(20)
        wait_until_gone(tmp_path)


def test_servers_are_shared_and_end_with_the_last_user(tmp_path: Path) -> None:
    with owner(tmp_path) as first, services(tmp_path, s3=True) as second:
        assert first.environment == dict(second.environment)  # type: ignore[attr-defined]
        before = {server.pid for server in servers(tmp_path)}
        first.kill()
        first.wait()
        time.sleep(0.5)
        kept = {server.pid for server in servers(tmp_path)}
        assert kept == before - {first.pid}
        assert second.s3
        s3_client(second.s3).list_buckets()
    assert not servers(tmp_path), "the last user waits until they have ended"


def test_a_killed_guardian_does_not_stand_in_the_way(tmp_path: Path) -> None:
    with services(tmp_path, s3=True):
        for name in ("postgres", "s3"):
            details = json.loads((tmp_path / ".dagster_home" / f"{name}.json").read_text())
            os.kill(int(details["guardian"]), signal.SIGKILL)
    with services(tmp_path, s3=True) as again:
        assert again.s3
        s3_client(again.s3).list_buckets()
    wait_until_gone(tmp_path)


def test_postgres_keeps_its_data_and_takes_the_url_from_the_environment(tmp_path: Path) -> None:
    import sqlalchemy

    with services(tmp_path, s3=False) as first:
        engine = sqlalchemy.create_engine(first.environment["KESTRA_DAGSTER_POSTGRES_URL"])
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("create table kept as select 42 as answer"))
        engine.dispose()
        assert first.s3 is None
    with services(tmp_path, s3=False) as second:
        engine = sqlalchemy.create_engine(second.environment["KESTRA_DAGSTER_POSTGRES_URL"])
        with engine.connect() as connection:
            assert connection.execute(sqlalchemy.text("select answer from kept")).scalar() == 42
        engine.dispose()


def test_a_given_postgres_is_used_and_none_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KESTRA_DAGSTER_POSTGRES_URL", "postgresql+psycopg2://db/somewhere")
    with services(tmp_path, s3=False) as running:
        assert "KESTRA_DAGSTER_POSTGRES_URL" not in running.environment
        assert "postgres_url" in (running.home / "dagster.yaml").read_text()
        assert not servers(tmp_path)


def test_s3_keeps_objects_and_checks_signatures(tmp_path: Path) -> None:
    from botocore.exceptions import ClientError

    with local_s3(tmp_path, ("pail",)) as s3:
        s3_client(s3).put_object(Bucket="pail", Key="a/b", Body=b"bytes")
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            s3_client(s3, key="wrong").list_buckets()
        assert (tmp_path / "s3.json").stat().st_mode & 0o077 == 0
    with local_s3(tmp_path) as again:
        body = s3_client(again).get_object(Bucket="pail", Key="a/b")["Body"].read()
    assert body == b"bytes"


def test_a_server_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s3").write_text("a file where the folder should be")
    with pytest.raises(TerminalError, match="FileExistsError"), local_s3(tmp_path):
        pass
    assert not is_locked(tmp_path / "s3.guard")

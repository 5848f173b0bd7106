"""All that a command on a laptop needs around it, started together and described by environment."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kestra_dagster.local.home import HOME, POSTGRES_URL, prepare_home
from kestra_dagster.local.postgres import is_installed, local_postgres, root_notice
from kestra_dagster.local.s3 import LocalS3, local_s3

SAMPLE_BUCKET = "kestra-io-bucket"

# Any of these says that the person has an S3 of their own.
OWN_S3 = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "SECRET_AWS_ACCESS_KEY_ID",
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
)


@dataclass(frozen=True)
class Services:
    """What was started; `environment` is what processes that use it need to know."""

    home: Path
    environment: Mapping[str, str]
    s3: LocalS3 | None = None
    notices: tuple[str, ...] = ()


def has_own_s3() -> bool:
    """Say whether the environment already says where S3 is."""
    return any(os.environ.get(name) for name in OWN_S3)


def lake_bucket() -> str:
    """Return the bucket of the data platform."""
    return os.environ.get("LAKE_BUCKET") or "builditall"


@contextmanager
def services(project: Path, *, database: bool = True, s3: bool = False) -> Iterator[Services]:
    """Hold an instance home for `project`, its Postgres where installed, and a local S3 if asked.

    `DAGSTER_HOME` and `KESTRA_DAGSTER_POSTGRES_URL` are taken from the environment where set. The
    buckets of samples and data platform are there before S3 starts: it sees new ones a second late.
    """
    own_home = os.environ.get("DAGSTER_HOME")
    home = Path(own_home).absolute() if own_home else (project / HOME).absolute()
    embedded = database and not own_home and not os.environ.get(POSTGRES_URL) and is_installed()
    if not own_home:
        prepare_home(home, project, postgres=embedded or POSTGRES_URL in os.environ)
    home.mkdir(parents=True, exist_ok=True)
    notice = root_notice(home) if embedded else None
    environment = {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes"}
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(2))
        url = pool.submit(stack.enter_context, local_postgres(home)) if embedded else None
        store = (
            pool.submit(stack.enter_context, local_s3(home, (SAMPLE_BUCKET, lake_bucket())))
            if s3
            else None
        )
        if url:
            environment[POSTGRES_URL] = url.result()
        if store:
            environment |= s3_environment(store.result())
        yield Services(
            home, environment, store.result() if store else None, (notice,) if notice else ()
        )


def s3_environment(s3: LocalS3) -> dict[str, str]:
    """Return what points boto3 and the flows' `secret()` at the local S3."""
    return {
        "AWS_ENDPOINT_URL_S3": s3.endpoint,
        "SECRET_AWS_ACCESS_KEY_ID": b64encode(s3.access_key_id.encode()).decode(),
        "SECRET_AWS_SECRET_ACCESS_KEY": b64encode(s3.secret_access_key.encode()).decode(),
    }


@contextmanager
def environment_set(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the block, in this process and those it starts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

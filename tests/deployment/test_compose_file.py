"""docker-compose.yml: it is what Compose takes, and what a team can leave running."""

import re
import subprocess
import sys

import pytest
import yaml

from tests.deployment.compose import FILE, PROXY, REPOSITORY, Compose, interpolated, read

DOCKERFILE = REPOSITORY / "deploy" / "Dockerfile"
NGINX = PROXY.with_name("nginx.conf")
PINNED = re.compile(r":\w*\d+\.\d+[\w.-]*$")
OWN = ("migrate", "code", "daemon", "webserver", "webhooks", "worker")


@pytest.fixture(scope="module")
def compose() -> Compose:
    return read({})


def test_the_files_are_as_the_compose_specification_says() -> None:
    schema = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    found = subprocess.run([*schema, str(FILE), str(PROXY)], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_proxy_is_kept_as_the_other_services_are(compose: Compose) -> None:
    proxy = yaml.safe_load(PROXY.read_text())
    (service,) = proxy["services"].values()
    assert PINNED.search(service["image"])
    assert service["user"] not in ("root", "0:0")
    assert service["cap_drop"] == ["ALL"]
    assert set(service["secrets"]) == set(proxy["secrets"])
    assert set(service["depends_on"]) <= set(compose.services)
    served = re.findall(r"proxy_pass http://(\w+):", NGINX.read_text())
    assert set(served) == {"webserver", "webhooks"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}-${B}", "1-"),
        ("${B:-${A}}", "1"),
        ("${EMPTY:-x}${EMPTY-y}", "x"),
        ("${A:+on}${EMPTY:+on}", "on"),
        ("$${A} $$(cat x)", "${A} $(cat x)"),
    ],
)
def test_variables_are_put_in(text: str, expected: str) -> None:
    assert interpolated(text, {"A": "1", "EMPTY": ""}) == expected


def test_what_a_service_names_is_there(compose: Compose) -> None:
    raw = compose.raw
    for service in compose.services.values():
        assert set(service.depends_on) <= set(compose.services)
        assert set(service.secrets) <= set(compose.secrets)
        assert set(service.raw.get("networks", ())) <= set(raw["networks"])
        for volume in service.raw.get("volumes", ()):
            source = volume.split(":")[0]
            assert source.startswith("./") or source in raw["volumes"]


def test_who_waits_for_a_healthy_service_waits_for_one_with_a_check(compose: Compose) -> None:
    for service in compose.services.values():
        for other, condition in service.depends_on.items():
            assert condition != "service_started"
            if condition == "service_healthy":
                assert compose.services[other].health, f"{service.name} waits for {other}"


def test_every_service_but_the_one_that_ends_has_a_check_and_comes_back(compose: Compose) -> None:
    for service in compose.services.values():
        if service.name == "migrate":
            assert service.raw["restart"].startswith("on-failure")
        else:
            assert service.health
            assert service.raw["restart"] == "unless-stopped"


def test_nothing_runs_as_root_or_may_become_it(compose: Compose) -> None:
    for service in compose.services.values():
        assert service.user not in ("", "root", "0", "0:0"), service.name
        assert service.raw["cap_drop"] == ["ALL"]
        assert service.raw["security_opt"] == ["no-new-privileges:true"]


def test_ports_are_open_to_this_machine_only(compose: Compose) -> None:
    ports = {s.name: p for s in compose.services.values() for p in s.raw.get("ports", ())}
    assert ports == {"webserver": "127.0.0.1:8080:8080", "webhooks": "127.0.0.1:8081:8081"}


def test_images_are_pinned(compose: Compose) -> None:
    for service in compose.services.values():
        if "build" not in service.raw:
            assert PINNED.search(service.raw["image"]), service.raw["image"]
    text = DOCKERFILE.read_text()
    versions = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
    for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        assert PINNED.search(interpolated(image, versions)), image


def test_no_secret_is_in_the_file_or_on_a_command_line(compose: Compose) -> None:
    for name in compose.secrets.values():
        assert f"{name}}}" not in FILE.read_text(), f"{name} is put into the file"
    for service in compose.services.values():
        for key, value in service.environment.items():
            if re.search(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY", key):
                assert key.endswith("_FILE")
                assert value.removeprefix("/run/secrets/") in service.secrets


def test_secrets_of_flows_are_given_to_those_who_run_flows(compose: Compose) -> None:
    given = {name for name, each in compose.services.items() if "env_file" in each.raw}
    assert given == {"code", "worker", "webhooks"}


def test_the_broker_is_used_with_the_profile_only() -> None:
    assert read({}).services["daemon"].environment["KESTRA_DAGSTER_BROKER"] == ""
    celery = read({"COMPOSE_PROFILES": "celery"}).services
    assert celery["daemon"].environment["KESTRA_DAGSTER_BROKER"] == "redis://redis:6379/0"
    assert {name for name, each in celery.items() if each.profiles} == {"redis", "worker"}
    for name in ("daemon", "worker"):
        assert celery[name].raw["networks"] == ["default", "broker"]
    assert celery["redis"].raw["networks"] == ["broker"]


OF_ONE = ("KESTRA_DAGSTER_TOKEN_FILE", "KESTRA_DAGSTER_WORKER_RUNS", "KESTRA_DAGSTER_WARM_RUNS")
"""What one service alone is told."""


def test_all_of_dagsters_processes_see_the_same_instance(compose: Compose) -> None:
    environments = [dict(compose.services[name].environment) for name in OWN]
    for environment in environments:
        for own in OF_ONE:
            environment.pop(own, None)
    assert all(each == environments[0] for each in environments)
    assert environments[0]["KESTRA_DAGSTER_STORAGE"] == "s3://builditall/kestra"


def test_the_entrypoint_reads_secrets_from_files(tmp_path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('it\'s $HOME `x` "y"\n')
    entrypoint = str(REPOSITORY / "deploy" / "entrypoint.sh")
    command = ["sh", entrypoint, "sh", "-c", 'echo "$SECRET_A${SECRET_A_FILE-}$SSL_CERT_FILE"']

    def run(file: str) -> subprocess.CompletedProcess[str]:
        environment = {"SECRET_A_FILE": file, "SSL_CERT_FILE": "!"}
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    assert run(str(secret)).stdout == secret.read_text().rstrip("\n") + "!\n"
    lost = run("/no/file")
    assert lost.returncode == 78
    assert "SECRET_A_FILE names /no/file, which cannot be read" in lost.stderr


def test_requirements_of_the_image_are_those_of_the_project() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        pytest.skip("needs Python 3.11 to read pyproject.toml")
    text = (REPOSITORY / "deploy" / "requirements.txt").read_text()
    pins = [Requirement(line) for line in text.splitlines()]
    versions = {canonicalize_name(each.name): str(each.specifier)[2:] for each in pins}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["celery"]]
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        if name != "pyspark":  # EMR has it
            assert name in versions, f"{name}: run scripts/requirements.sh"
            assert requirement.specifier.contains(versions[name]), name


def test_the_workspace_names_the_code_location_of_the_file(compose: Compose) -> None:
    workspace = yaml.safe_load((REPOSITORY / "deploy" / "workspace.yaml").read_text())
    server = workspace["load_from"][0]["grpc_server"]
    assert server["host"] in compose.services
    assert f"--port {server['port']}" in " ".join(compose.services["code"].command)

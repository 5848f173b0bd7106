"""`kestra-dagster dev` ends all that it started, whichever way it goes, and says what is wrong."""

import os
import signal
import socket

import psutil
import pytest

pytestmark = [pytest.mark.whole, pytest.mark.timeout(240)]


def living_groups() -> set[int]:
    groups = set()
    for process in psutil.process_iter(["status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE:
            try:
                groups.add(os.getpgid(process.pid))
            except ProcessLookupError:
                continue
    return groups


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_dev_ends_everything_it_started(place, free_port: int, how: signal.Signals) -> None:
    dev = place.start_dev(free_port)
    started = place.processes()
    assert {"postgres", "rclone"} <= {process.name() for process in started}
    assert any("dagster_webserver" in process.cmdline() for process in started)
    assert any("kestra_dagster.local.dagster_daemon" in each.cmdline() for each in started)
    groups = {os.getpgid(process.pid) for process in started}
    os.killpg(dev.pid, how)
    dev.wait(30)
    place.wait_until_empty()
    assert not groups & living_groups()
    assert not list((place.folder / ".dagster_home").glob("dev-*"))


def test_a_busy_port_is_one_clear_message(place, free_port: int) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", free_port))
        busy.listen()
        result = place.run("dev", "--port", str(free_port))
    assert result.returncode == 2
    assert f"cannot listen on port {free_port}" in result.stderr
    assert f"--port {free_port + 1}" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (place.folder / ".dagster_home").exists(), "nothing was started"

"""A person in front of the Dagster UI: launch a flow with an input, and look at its Gantt chart."""

import json
import os
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = [pytest.mark.whole, pytest.mark.timeout(300)]

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
STEPS = ("parallel.task1", "parallel.task2", "parallel.task3")
CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1500,1000",
)
STATS = """
query Steps($run: ID!) {
  runOrError(runId: $run) {
    ... on Run { status runConfigYaml tags { key value } stepStats { stepKey startTime endTime } }
  }
}
"""


def which(*names: str) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    chromium = which("chromium", "chromium-browser", "google-chrome")
    driver = which("chromedriver")
    if not chromium or not driver:
        reason = f"no Chromium with ChromeDriver on this {platform.system()} machine"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    options = Options()
    options.binary_location = chromium
    for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    browser = Chrome(options=options, service=Service(driver))
    try:
        yield browser
    finally:
        browser.quit()


def test_launch_from_the_launchpad_and_see_the_gantt(place, free_port: int, browser) -> None:
    place.start_dev(free_port)
    url = f"http://127.0.0.1:{free_port}"
    query(url, "mutation { setNuxSeen }")  # no welcome dialog in the way
    wait = WebDriverWait(browser, 60)

    browser.get(f"{url}/locations/kestra_dagster.definitions/jobs/sample_parallel_task/playground")
    editor = wait.until(lambda page: page.find_element(By.CSS_SELECTOR, ".CodeMirror"))
    wait.until(lambda page: "note?" in page.find_element(By.TAG_NAME, "body").text)
    editor.click()
    keys = ActionChains(browser).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL)
    keys.send_keys("note: from the launchpad").perform()
    launch = wait.until(lambda page: enabled(page, "Launch Run"))
    keep_screenshot(browser, "launchpad")
    launch.click()

    wait.until(lambda page: "/runs/" in page.current_url)
    run_id = browser.current_url.split("/runs/")[1].split("?")[0]
    run = wait_for_end(url, run_id)
    assert run["status"] == "SUCCESS"
    assert run["runConfigYaml"].strip() == "note: from the launchpad"
    assert {"key": "kestra/state", "value": "SUCCESS"} in run["tags"]

    spans = {step["stepKey"]: (step["startTime"], step["endTime"]) for step in run["stepStats"]}
    assert max(spans[key][0] for key in STEPS) < min(spans[key][1] for key in STEPS)

    browser.refresh()
    wait.until(lambda page: all(bar(page, key) for key in STEPS))
    time.sleep(1)  # the chart slides into its final scale
    keep_screenshot(browser, "gantt")
    bars = [bar(browser, key) for key in STEPS]
    assert max(left for left, _ in bars) < min(right for _, right in bars)
    assert "from the launchpad" in browser.find_element(By.TAG_NAME, "body").text


def enabled(browser: Chrome, label: str) -> WebElement | None:
    """Return a button once it can be pressed."""
    button = browser.find_element(By.XPATH, f"//button[.='{label}']")
    return button if button.is_enabled() else None


def bar(browser: Chrome, step: str) -> tuple[float, float] | None:
    """Return the left and right edge of a step's bar in the Gantt chart, in pixels."""
    for box in browser.find_elements(By.CSS_SELECTOR, f".chart-element.box[data-tooltip='{step}']"):
        rectangle = box.rect
        return rectangle["x"], rectangle["x"] + rectangle["width"]
    return None


def keep_screenshot(browser: Chrome, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    browser.save_screenshot(str(ARTIFACTS / f"{name}.png"))


def wait_for_end(url: str, run_id: str, seconds: float = 90) -> dict:
    deadline = time.monotonic() + seconds
    while True:
        run = query(url, STATS, run=run_id)["runOrError"]
        if run["status"] in ("SUCCESS", "FAILURE", "CANCELED"):
            return run
        assert time.monotonic() < deadline, f"the run is still {run['status']}"
        time.sleep(0.2)


def query(url: str, text: str, **variables: str) -> dict:
    body = json.dumps({"query": text, "variables": variables}).encode()
    request = Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    with urlopen(request) as answer:
        return json.load(answer)["data"]

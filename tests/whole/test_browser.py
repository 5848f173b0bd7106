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
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = [pytest.mark.whole, pytest.mark.timeout(300)]

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
STEPS = ("parallel.task1", "parallel.task2", "parallel.task3")
CONFIG = "note: from the launchpad"
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
    "--window-size=1500,1300",
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


@pytest.fixture
def wait(browser: Chrome) -> WebDriverWait[Chrome]:
    """Wait for a condition that finds its elements itself: the page redraws at any moment."""
    passing = (
        ElementClickInterceptedException,
        ElementNotInteractableException,
        NoSuchElementException,
        StaleElementReferenceException,
    )
    return WebDriverWait(browser, 90, poll_frequency=0.3, ignored_exceptions=passing)


def test_launch_from_the_launchpad_and_see_the_gantt(place, free_port, browser, wait) -> None:
    place.start_dev(free_port)
    url = f"http://127.0.0.1:{free_port}"
    query(url, "mutation { setNuxSeen }")  # no welcome dialog in the way

    # Steps of milliseconds overlap unless the machine stalls in between: that is no reason to fail.
    for _ in range(3):
        run = launched(browser, wait, url)
        assert run["status"] == "SUCCESS"
        assert run["runConfigYaml"].strip() == CONFIG
        assert {"key": "kestra/state", "value": "SUCCESS"} in run["tags"]
        spans = {step["stepKey"]: (step["startTime"], step["endTime"]) for step in run["stepStats"]}
        if max(spans[key][0] for key in STEPS) < min(spans[key][1] for key in STEPS):
            break

    browser.refresh()
    seen: list[list[tuple[float, float]]] = []

    def still(page: Chrome) -> bool:
        """Look until the chart, which slides into its final scale, has stopped."""
        seen.append([bar(page, key) for key in STEPS])
        return len(seen) > 2 and seen[-1] == seen[-2] == seen[-3]

    wait.until(still)
    wait.until(lambda page: "from the launchpad" in body(page))
    keep_screenshot(browser, "gantt")
    assert max(left for left, _ in seen[-1]) < min(right for _, right in seen[-1])


def launched(browser: Chrome, wait: WebDriverWait[Chrome], url: str) -> dict:
    """Fill in the launchpad, launch, and return the run when it is over."""
    browser.get(f"{url}/locations/kestra_dagster.definitions/jobs/sample_parallel_task/playground")
    wait.until(lambda page: "note?" in body(page))
    wait.until(lambda page: written(page, CONFIG))
    wait.until(lambda page: "No errors" in body(page))
    keep_screenshot(browser, "launchpad")
    wait.until(lambda page: pressed(page, "Launch Run"))
    wait.until(lambda page: "/runs/" in page.current_url)
    return wait_for_end(url, browser.current_url.split("/runs/")[1].split("?")[0])


def body(page: Chrome) -> str:
    """Return the text of the page."""
    return page.find_element(By.TAG_NAME, "body").text


def written(page: Chrome, text: str) -> bool:
    """Write the run config over what is in the editor, unless it is there already."""

    def shown() -> str:
        return page.find_element(By.CSS_SELECTOR, ".CodeMirror-code").text.split("\n", 1)[-1]

    if shown() == text:
        return True
    page.find_element(By.CSS_SELECTOR, ".CodeMirror").click()
    keys = ActionChains(page).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL)
    keys.send_keys(text).perform()
    return shown() == text


def pressed(page: Chrome, label: str) -> bool:
    """Press a button once it can be pressed."""
    button = page.find_element(By.XPATH, f"//button[.='{label}']")
    if button.is_enabled():
        button.click()
        return True
    return False


def bar(page: Chrome, step: str) -> tuple[float, float]:
    """Return the left and right edge of a step's bar in the Gantt chart, in pixels."""
    selector = f".chart-element.box[data-tooltip='{step}']"
    rectangle = page.find_element(By.CSS_SELECTOR, selector).rect
    return rectangle["x"], rectangle["x"] + rectangle["width"]


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

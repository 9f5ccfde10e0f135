"""The report in a real browser, opened from the disk; `make test-browser` runs it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from stages import report
from tests.helpers.places import inside

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="chromium or chromedriver is not installed: scripts/install-chromium",
    ),
]

OPTIONS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1280,900",
]  # fmt: skip
SECONDS = 20


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    browser.set_script_timeout(120)
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def address(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of the fixture experiment, in a folder whose name is no plain word."""
    target = tmp_path_factory.mktemp("a folder, ümlaut") / "report"
    with inside(experiment):
        report.report(target)
    return (target / "index.html").as_uri()


@pytest.fixture
def page(driver: webdriver.Chrome, address: str) -> webdriver.Chrome:
    """The page, opened anew at 1280 pixels, in light mode."""
    emulate(driver, 1280, "light")
    driver.get("about:blank")
    driver.get(address)
    return driver


def emulate(driver: webdriver.Chrome, width: int, scheme: str) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def logs(driver: webdriver.Chrome) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What the page asked for and what the console said since the last call."""
    events, said = (driver.get_log(kind) for kind in ("performance", "browser"))  # type: ignore[no-untyped-call]
    return [json.loads(entry["message"])["message"] for entry in events], said


def shown(driver: webdriver.Chrome, selector: str) -> list[WebElement]:
    return [one for one in driver.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()]


def first_table(driver: webdriver.Chrome) -> WebElement:
    return shown(driver, "table.means")[0]


def column(table: WebElement, number: int) -> list[float]:
    cells = table.find_elements(By.CSS_SELECTOR, f"tbody tr > :nth-child({number})")
    return [float(cell.get_attribute("data-value") or "nan") for cell in cells]


def heading(table: WebElement, number: int) -> WebElement:
    return table.find_element(By.CSS_SELECTOR, f"thead tr:last-child > :nth-child({number})")


def test_nothing_is_asked_of_the_network_and_nothing_is_complained_about(
    page: webdriver.Chrome,
) -> None:
    logs(page)
    page.refresh()
    page.execute_script("scrollTo(0, document.body.scrollHeight)")
    WebDriverWait(page, SECONDS).until(
        lambda d: d.execute_script("return document.readyState") == "complete"
    )
    events, complaints = logs(page)
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert any(url.endswith(".png") for url in asked)
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    failed = [event for event in events if event["method"] == "Network.loadingFailed"]
    assert [event["params"]["errorText"] for event in failed] == []
    assert complaints == []
    shown_at_all = page.execute_script(
        "return Promise.all([...document.querySelectorAll('image')].map(async (one) => {"
        " const copy = new Image(); copy.src = one.href.baseVal; await copy.decode();"
        " return copy.naturalWidth }))"
    )
    assert len(shown_at_all) > 30
    assert min(shown_at_all) > 10


def test_every_player_loads_and_plays(page: webdriver.Chrome) -> None:
    page.find_element(By.TAG_NAME, "h1").click()  # no sound before the reader did something
    lengths = page.execute_async_script(
        """
        const done = arguments[0];
        const once = (one, name) => new Promise((resolve, reject) => {
          one.addEventListener(name, resolve, {once: true});
          one.addEventListener("error", () => reject(one.src), {once: true});
        });
        (async () => {
          const lengths = [];
          for (const one of document.querySelectorAll("audio")) {
            one.muted = true;
            const ready = once(one, "loadedmetadata");
            one.load(); one.preload = "metadata";
            await ready;
            await one.play();
            while (one.currentTime < 0.05) await once(one, "timeupdate");
            one.pause();
            lengths.push(one.duration);
          }
          done(lengths);
        })().catch((reason) => done(String(reason)));
        """
    )
    assert isinstance(lengths, list), lengths
    assert len(lengths) == len(page.find_elements(By.TAG_NAME, "audio")) > 30
    assert all(3 < seconds < 10.5 for seconds in lengths)  # the fixture's tracks are some 5 s long


def test_one_player_at_a_time(page: webdriver.Chrome) -> None:
    page.find_element(By.TAG_NAME, "h1").click()
    states: Any = page.execute_async_script(
        """
        const done = arguments[0];
        const [a, b] = document.querySelectorAll("article audio");
        a.muted = b.muted = true;
        (async () => {
          await a.play();
          while (a.currentTime < 0.3) await new Promise((r) => setTimeout(r, 20));
          await b.play();
          await new Promise((r) => setTimeout(r, 100));
          done([a.paused, b.paused, b.currentTime]);
        })().catch((reason) => done(String(reason)));
        """
    )
    assert states[:2] == [True, False], states
    assert states[2] > 0.25  # it goes on where the other one was


@pytest.mark.parametrize("how", ["mouse", "keyboard"])
def test_columns_sort(page: webdriver.Chrome, how: str) -> None:
    table, number = first_table(page), 4
    before = column(table, number)

    def press() -> None:
        button = heading(table, number).find_element(By.TAG_NAME, "button")
        if how == "mouse":
            button.click()
        else:
            button.send_keys(Keys.ENTER)

    assert heading(table, number).get_attribute("aria-sort") is None
    press()
    assert column(table, number) == sorted(before, reverse=True)
    assert heading(table, number).get_attribute("aria-sort") == "descending"
    press()
    assert column(table, number) == sorted(before)
    assert heading(table, number).get_attribute("aria-sort") == "ascending"
    heading(table, 1).find_element(By.TAG_NAME, "button").send_keys(Keys.SPACE)
    names = [one.text for one in table.find_elements(By.CSS_SELECTOR, "tbody th")]
    assert names == sorted(names, key=str.lower)
    assert heading(table, number).get_attribute("aria-sort") is None


def test_tracks_without_scores_are_sorted_to_the_end(page: webdriver.Chrome) -> None:
    table = shown(page, "table.tracks")[0]
    for _ in range(2):
        heading(table, 4).find_element(By.TAG_NAME, "button").click()
        empty = [value != value for value in column(table, 4)]
        assert any(empty)
        assert empty == sorted(empty)


def test_the_keyboard_reaches_a_sort_button_and_shows_where_it_is(page: webdriver.Chrome) -> None:
    body = page.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert page.switch_to.active_element.text == "Skip to the results"
    for _ in range(20):
        page.switch_to.active_element.send_keys(Keys.TAB)
        here = page.switch_to.active_element
        if here.tag_name == "button":
            break
    assert here.tag_name == "button"
    assert here.value_of_css_property("outline-style") == "solid"


def test_the_metric_is_chosen(page: webdriver.Chrome) -> None:
    sources = len(page.find_elements(By.CSS_SELECTOR, "[data-metric=SDR]"))
    for metric in ("SDR", "NSDR", "SIR"):
        page.find_element(By.CSS_SELECTOR, f"input[value={metric}]").click()
        boxes = shown(page, "[data-metric]")
        assert [box.get_attribute("data-metric") for box in boxes] == [metric] * sources


def test_without_the_script_everything_is_there(page: webdriver.Chrome, address: str) -> None:
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.get(address)
        tables = shown(page, "[data-metric]")
        assert len(tables) == len(page.find_elements(By.CSS_SELECTOR, "[data-metric]"))
        assert shown(page, "#metric") == []
        assert page.find_elements(By.TAG_NAME, "button") == []
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_phone_never_scrolls_sideways(page: webdriver.Chrome) -> None:
    emulate(page, 360, "light")
    page.execute_script("document.querySelector('details').open = true")
    width = page.execute_script("return document.documentElement.scrollWidth")
    assert width == 360
    boxes = shown(page, ".scroll")
    assert any(int(box.get_property("scrollWidth")) > 360 for box in boxes)  # type: ignore[arg-type]


def test_dark_mode_is_dark(page: webdriver.Chrome) -> None:
    def brightness(name: str) -> float:
        colour = page.find_element(By.TAG_NAME, "body").value_of_css_property(name)
        return sum(float(part) for part in colour.split("(")[1].rstrip(")").split(",")[:3]) / 765

    assert brightness("background-color") > 0.9 > 0.3 > brightness("color")
    emulate(page, 1280, "dark")
    assert brightness("background-color") < 0.2 < 0.7 < brightness("color")


@pytest.mark.parametrize("how", ["mouse", "keyboard"])
def test_an_outlier_leads_to_its_row(page: webdriver.Chrome, how: str) -> None:
    outlier = page.find_elements(By.CSS_SELECTOR, "a.outlier")[3]
    goal = str(outlier.get_dom_attribute("href")).split("#")[1]
    said = str(outlier.get_attribute("aria-label"))
    if how == "mouse":
        page.execute_script("arguments[0].scrollIntoView({block: 'center'})", outlier)
        outlier.find_element(By.CSS_SELECTOR, "path, use").click()
    else:
        page.execute_script("arguments[0].focus()", outlier)
        page.switch_to.active_element.send_keys(Keys.ENTER)
    WebDriverWait(page, SECONDS).until(lambda d: d.current_url.endswith(f"#{goal}"))
    row = page.find_element(By.CSS_SELECTOR, "tr:target")
    assert row.get_attribute("id") == goal
    track, model_and_score = said.rsplit(": ", 1)
    assert row.find_element(By.TAG_NAME, "th").text == track
    assert model_and_score.split()[1] in row.text

    def in_view(driver: webdriver.Chrome) -> bool:
        place = driver.execute_script("return arguments[0].getBoundingClientRect().top", row)
        return 0 <= float(place) < 800

    WebDriverWait(page, SECONDS).until(in_view)


def test_a_chosen_track_leads_to_its_excerpt_and_back(page: webdriver.Chrome) -> None:
    link = page.find_element(By.CSS_SELECTOR, "table.tracks tbody a")
    track = link.find_element(By.XPATH, "./ancestor::tr/th").text
    link.send_keys(Keys.ENTER)
    title = page.find_element(By.CSS_SELECTOR, "h3:target")
    assert title.text.endswith(f": {track}")
    title.find_element(By.XPATH, "./following::a[1]").send_keys(Keys.ENTER)
    assert page.find_element(By.CSS_SELECTOR, "tr:target th").text == track

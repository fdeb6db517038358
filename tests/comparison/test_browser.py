"""The report in Debian's Chromium. Not run by default: python -m pytest -m browser"""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def report(request):
    """A comparison's folder and JSON: the one that the gate's other tests kept, or a new one."""
    if "KEEP_COMPARISON" not in os.environ:
        return request.getfixturevalue("comparison")[1:]
    folder = Path(os.environ["KEEP_COMPARISON"], "new", "folder")
    return folder, json.loads((folder / "comparison.json").read_text())


@pytest.fixture(scope="module")
def browser(report, tmp_path_factory):
    """Chromium with the report open."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get((report[0] / "report.html").as_uri())
        yield driver
    finally:
        driver.quit()


def test_the_console_is_empty_and_nothing_was_fetched(browser):
    assert browser.get_log("browser") == []
    names = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in names if not name.startswith("data:")] == []


def test_every_picture_is_loaded(browser):
    pictures = browser.execute_script(
        "return [...document.images].map(image => image.complete && image.naturalWidth > 400 && image.width > 100)"
    )
    assert pictures == [True] * 3


def test_the_tables_are_complete(browser, report):
    found = report[1]
    rows = browser.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('table')].map(t => [t.id, t.tBodies[0].rows.length]))"
    )
    expected = {
        "rules": len(found["rules"]),
        "table-limits": len(found["limits"]),
        "table-controls": len(found["controls"]["ports"]),
        "table-losses": len(found["steps"]),
        "table-accuracies": len(found["steps"]),
        "witnesses": len(found["steps"]),
        "original-1-rules": 2,
        "original-1-steps": 1,
        "original-1-changes": 2,
        "table-seeds": 4,
        "equivalence": 2,
        "printed": len(found["seeds"]["printed"]["valid"]),
        "rows": 6,
        "splits": 4,
        "seen": 2,
        "pages": len(found["page"]["step"]),
        "versions": len(found["made"]["versions"]) + 1,
    }
    expected |= {f"code-{number}": len(pairs) for number, pairs in enumerate(found["code"]["parts"].values(), 1)}
    expected |= {f"graph-{part.replace(' ', '-')}": len(rows) for part, rows in found["graph"].items()}
    assert rows == expected
    # Every row of a table has as many cells as its head.
    ragged = browser.execute_script(
        "const width = row => [...row.cells].reduce((sum, cell) => sum + cell.colSpan, 0);"
        "return [...document.querySelectorAll('table')].filter(t =>"
        "  new Set([...t.rows].map(width)).size > 1).map(t => t.id)"
    )
    assert ragged == []
    # Quoted code and what is said of it may have these words.
    words = browser.execute_script(
        "const page = document.body.cloneNode(true);"
        "page.querySelectorAll('pre, .why').forEach(part => part.remove());"
        "return page.textContent.match(/undefined|None|NaN|{{|}}/)"
    )
    assert words is None


@pytest.mark.parametrize("width", [390, 1100, 1280])
def test_the_page_is_as_wide_as_the_screen_and_its_tables_scroll_inside(browser, width):
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    outside = browser.execute_script(
        "return [...document.querySelectorAll('p, h1, h2, img, .table')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth).map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == []


def test_what_scrolls_can_be_scrolled_from_the_keyboard_and_every_header_says_what_it_heads(browser):
    metrics = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scrolling = browser.execute_script(
        "return [...document.querySelectorAll('.table')].filter(e => e.scrollWidth > e.clientWidth)"
        ".map(e => [e.tabIndex, e.getAttribute('aria-label')])"
    )
    assert scrolling and all(index == 0 and label for index, label in scrolling)
    assert browser.execute_script("return document.querySelectorAll('th:not([scope])').length") == 0
    rows = "return [...document.querySelectorAll('tbody tr')].filter(row => !row.querySelector('th')).length"
    assert browser.execute_script(rows) == 0


def test_the_port_and_the_recording_are_beside_each_other_on_a_phone(browser):
    metrics = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    for table in ("table-losses", "table-accuracies"):
        head = f"document.querySelectorAll('#{table} thead th')"
        titles = browser.execute_script(f"return [...{head}].map(th => th.textContent)")
        assert titles[:5] == ["step", "the port", "recorded", "apart", "allowed"]
        assert browser.execute_script(f"return {head}[4].getBoundingClientRect().right") <= 390


def test_in_a_dark_browser_the_page_is_dark_and_its_text_light(browser):
    media = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    colours = browser.execute_script(
        "const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]"
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    back, text = ([int(part) for part in re.findall(r"\d+", colour)] for colour in colours)
    assert max(back) < 60 and min(text) > 200


def test_in_print_no_table_is_cut_off(browser):
    # A4 upright between margins of 1.2 cm is 186 mm, 703 CSS pixels.
    metrics = {"width": 703, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    wide = browser.execute_script(
        "return [...document.querySelectorAll('table')].filter(t => t.getBoundingClientRect().right > 703)"
        ".map(t => t.id + ' ' + t.getBoundingClientRect().right)"
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert wide == []
    assert len(browser.print_page()) > 10000

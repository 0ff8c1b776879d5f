"""Pages as a browser shows them: folded, stacked on a telephone, opened by links, printed whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from test_report import COMMAND, bivariate, conditional, stored, unfitted

from comparisons.report.pages import write as _report

SCREEN = 900
"""CSS pixels."""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look with")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("browser") / "out"
    _report.write(
        [stored(one, out) for one in (bivariate(), conditional(), unfitted())], out, COMMAND
    )
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def opened(browser: Browser, path: Path, width: int = 1280, anchor: str = "") -> Page:
    page = browser.new_page(viewport={"width": width, "height": SCREEN})
    page.goto(path.as_uri() + anchor)
    return page


def height(page: Page) -> int:
    return page.evaluate("document.documentElement.scrollHeight")


@pytest.mark.parametrize("name", ["gaussian-simulated", "random-effects", "unfitted"])
def test_a_case_is_at_most_six_screens_with_everything_shut(
    written: Path, browser: Browser, name: str
) -> None:
    page = opened(browser, written / f"{name}.html")
    assert page.locator("details[open]").count() == 0
    assert height(page) <= 6 * SCREEN
    assert (written / f"{name}.html").stat().st_size < 2e6
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert name == "unfitted" or height(page) > 6 * SCREEN  # the folds are what makes it short


@pytest.mark.parametrize("name", ["index", "gaussian-simulated", "random-effects"])
def test_nothing_is_wider_than_a_telephone_and_panels_stand_under_one_another(
    written: Path, browser: Browser, name: str
) -> None:
    page = opened(browser, written / f"{name}.html", 360)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for figure in page.locator("figure").all():
        frame = figure.bounding_box()
        assert frame is not None
        assert frame["x"] + frame["width"] <= 360
        boxes = [one.bounding_box() for one in figure.locator("img").all()]
        for box, image in zip(boxes, figure.locator("img").all(), strict=True):
            assert box is not None
            assert box["width"] == float(image.get_attribute("width") or 0)  # not shrunk
        for above, below in pairwise(box for box in boxes if box):
            assert below["y"] >= above["y"] + above["height"]


def test_a_link_into_a_folded_question_opens_it(written: Path, browser: Browser) -> None:
    page = opened(browser, written / "gaussian-simulated.html", anchor="#agreement")
    shown = page.locator("details.question[open]")
    assert shown.count() == 1
    assert page.locator("#forest").is_visible()
    title = page.locator("#agreement-title").bounding_box()
    assert title is not None
    assert 0 <= title["y"] < SCREEN
    page.get_by_role("link", name="Which order?").click()
    assert shown.count() == 2
    page = opened(browser, written / "gaussian-simulated.html", anchor="#densities")
    assert page.locator("#densities").is_visible()  # a fold within a fold


def test_what_is_folded_is_printed(written: Path, browser: Browser) -> None:
    page = opened(browser, written / "gaussian-simulated.html")
    shut = height(page)
    page.emulate_media(media="print")
    assert height(page) > 3 * shut


def test_figures_are_dark_in_dark_mode(written: Path, browser: Browser) -> None:
    dark = browser.new_page(color_scheme="dark")
    light = browser.new_page(color_scheme="light")
    for page, turned in ((dark, True), (light, False)):
        page.goto((written / "gaussian-simulated.html").as_uri() + "#agreement")
        look = page.locator("#forest img").first.evaluate("one => getComputedStyle(one).filter")
        assert ("invert" in look) is turned

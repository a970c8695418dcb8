"""The browser that tests drive: a page is shown, nothing of one test reaches the next, and nothing keeps running."""

from __future__ import annotations

from pathlib import Path

import browser as support
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

PAGE = "data:text/html,<style>@media (prefers-color-scheme: dark) {{p {{color: red}}}}</style><p>text</p>{}"
COLOUR_AND_WIDTH = "return [getComputedStyle(document.querySelector('p')).color, innerWidth]"


@pytest.mark.browser
def test_a_page_is_shown_wide_or_narrow_light_or_dark(browser: webdriver.Chrome) -> None:
    browser.get(PAGE.format("<meta name=viewport content='width=device-width'>"))
    assert browser.find_element(By.TAG_NAME, "p").text == "text"
    assert browser.execute_script(COLOUR_AND_WIDTH) == ["rgb(0, 0, 0)", support.WIDE[0]]
    support.show_as(browser, support.PHONE, dark=True)
    assert browser.execute_script(COLOUR_AND_WIDTH) == ["rgb(255, 0, 0)", support.PHONE[0]]
    assert support.console_errors(browser) == []


@pytest.mark.browser
def test_errors_of_the_page_are_found(browser: webdriver.Chrome) -> None:
    browser.get(PAGE.format("<script>throw new Error('broken')</script>"))
    (error,) = support.console_errors(browser)
    assert "broken" in error


@pytest.mark.browser
def test_the_browser_ends_where_a_test_fails(tmp_path: Path) -> None:
    if (found := support.find_browser()) is None:
        pytest.skip(support.MISSING)
    with pytest.raises(ZeroDivisionError), support.open_browser(*found, tmp_path) as chrome:
        process = chrome.service.process
        raise ZeroDivisionError
    assert process.poll() is not None


def test_without_a_browser_none_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RANET_EDU_CHROMIUM", raising=False)
    assert support.find_browser() is None
    monkeypatch.setenv("RANET_EDU_CHROMIUM", "/a/browser")
    monkeypatch.setenv("RANET_EDU_CHROMEDRIVER", "/a/driver")
    assert support.find_browser() == ("/a/browser", "/a/driver")

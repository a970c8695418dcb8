"""A headless Chromium for tests that use a page as a person does; the fixture `browser` (conftest.py) opens it.

Debian, Ubuntu: apt install chromium chromium-driver. RANET_EDU_CHROMIUM and RANET_EDU_CHROMEDRIVER name others.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
DRIVERS = ("chromedriver", "chromium.chromedriver")
MISSING = "needs a browser and its driver: apt install chromium chromium-driver (or Chrome and chromedriver on PATH)"
WIDE, PHONE = (1280, 900), (390, 844)
QUIET = (
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)


def find_browser() -> tuple[str, str] | None:
    """Paths of the browser and of its driver, or None where one of them is missing."""
    browser = os.environ.get("RANET_EDU_CHROMIUM") or _on_path(BROWSERS)
    driver = os.environ.get("RANET_EDU_CHROMEDRIVER") or _on_path(DRIVERS)
    return (browser, driver) if browser and driver else None


@contextmanager
def open_browser(browser: str, driver: str, profile: Path) -> Iterator[webdriver.Chrome]:
    """A selenium driver on a new profile in the empty folder `profile`; it quits however the block ends."""
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (*QUIET, f"--user-data-dir={profile}", "--window-size={},{}".format(*WIDE)):
        options.add_argument(argument)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium's sandbox refuses to run as root, as in most containers
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options, Service(driver))
    try:
        show_as(chrome)
        yield chrome
    finally:
        chrome.quit()


def show_as(chrome: webdriver.Chrome, size: tuple[int, int] = WIDE, *, dark: bool = False) -> None:
    """Give pages a window of `size` (width, height), light or dark, as if the machine were set so; loaded ones too."""
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 600}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def console_errors(chrome: webdriver.Chrome) -> list[str]:
    """What the browser's console has reported as an error since the last call."""
    return [entry["message"] for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"]


def _on_path(names: tuple[str, ...]) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)

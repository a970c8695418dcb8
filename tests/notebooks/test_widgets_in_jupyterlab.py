"""The explorers as a reader meets them: in JupyterLab, by browser, a slider moved with the keyboard, a click."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from selenium.common.exceptions import (
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

pytestmark = pytest.mark.browser

IMAGE, SLIDER = ".jp-OutputArea img[alt]", ".jp-OutputArea .noUi-handle"
PATIENCE = 120  # seconds that a page or a kernel may take on a busy machine
SOURCE = """
import numpy as np
from ranet_edu.show.widgets import similarity_explorer

frames = {number: np.full((90, 160, 3), 40 * number, np.uint8) for number in (1, 2)}
identity = np.einsum("ik,jl->ijkl", np.eye(5), np.eye(8))  # each template pixel looks like its own place alone
similarity_explorer(frames[1], frames, dict.fromkeys(frames, identity), (1, 2))
"""


@pytest.fixture
def lab(tmp_path: Path, repository: Path) -> Iterator[str]:
    """The address of a small notebook in a JupyterLab of its own; its server and kernels end with the test."""
    cell = new_code_cell(SOURCE.strip())
    notebook = new_notebook(cells=[cell], metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "explorer.ipynb")
    token = secrets.token_hex(16)
    with serve(tmp_path, repository, token) as address:
        yield f"{address}/lab/tree/explorer.ipynb?token={token}"


@contextmanager
def serve(folder: Path, repository: Path, token: str) -> Iterator[str]:
    """A JupyterLab on `folder`/notebooks that reads no settings of the user's and is gone after the block."""
    port = free_port()
    settings = {
        name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    settings |= {"PYTHONPATH": str(repository), "JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_NO_CONFIG": "1"}
    arguments = ["--no-browser", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    arguments += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder / 'notebooks'}", "--allow-root"]
    with (folder / "server.log").open("wb") as log:
        command = [sys.executable, "-m", "jupyterlab", *arguments]
        server = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until_served(f"http://127.0.0.1:{port}/api", server, folder / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            end(server)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_served(address: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"JupyterLab does not answer:\n{log.read_text()[-2000:]}")


def end(server: subprocess.Popen) -> None:
    """SIGTERM lets the server end its kernels; what it leaves after half a minute goes with its process group."""
    server.terminate()
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def insist(browser: Chrome, act: Callable[[Chrome], object], otherwise: str) -> object:
    """Try until it gives something true: JupyterLab builds its page in several goes, and replaces what was there."""
    passing = (NoSuchElementException, StaleElementReferenceException, ElementNotInteractableException)
    return WebDriverWait(browser, PATIENCE, ignored_exceptions=passing).until(act, otherwise)


def do(browser: Chrome, selector: str, act: Callable[[WebElement], object], position: int = 0) -> None:
    """Do something with the element at a position among those that a CSS selector finds, once it is there and seen."""

    def attempt(page: Chrome) -> bool:
        elements = page.find_elements(By.CSS_SELECTOR, selector)
        seen = len(elements) > position and elements[position].is_displayed()
        return seen and (act(elements[position]), True)[1]

    insist(browser, attempt, f"no {selector!r} on the page")


def run_first_cell(browser: Chrome) -> None:
    """Shift+Enter in the cell, again where JupyterLab was not yet listening, until the explorer is there."""

    def attempt(page: Chrome) -> bool:
        if page.find_element(By.CSS_SELECTOR, ".jp-CodeCell .jp-InputPrompt").text == "[ ]:":
            page.find_element(By.CSS_SELECTOR, ".jp-CodeCell .cm-content").click()
            ActionChains(page).key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(Keys.SHIFT).perform()
            time.sleep(1)  # until its prompt says that it runs
        return bool(page.find_elements(By.CSS_SELECTOR, IMAGE))

    insist(browser, attempt, "the cell shows no explorer")


def picture(browser: Chrome) -> bytes:
    return insist(browser, lambda page: page.find_element(By.CSS_SELECTOR, IMAGE).screenshot_as_png, "no picture")


def see_change(browser: Chrome, selector: str, act: Callable[[WebElement], object], position: int = 0) -> None:
    """Do something with an element and wait until the explorer shows another picture."""
    before = picture(browser)
    do(browser, selector, act, position)
    insist(browser, lambda page: picture(page) != before, f"the picture did not change: {selector!r}")


def readouts(browser: Chrome) -> list[str]:
    """The numbers beside the sliders."""
    return [element.text for element in browser.find_elements(By.CSS_SELECTOR, ".jp-OutputArea .widget-readout")]


def test_an_explorer_answers_to_keyboard_and_click(browser: Chrome, lab: str) -> None:
    browser.get(lab)
    run_first_cell(browser)
    assert readouts(browser) == ["1", "2", "1"]

    for position, key in enumerate((Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.ARROW_RIGHT)):
        see_change(browser, SLIDER, lambda slider, key=key: slider.send_keys(key), position)
    assert readouts(browser) == ["2", "1", "2"]

    def click_at_the_template_s_right(image: WebElement) -> None:
        across = round(-0.1 * image.size["width"])  # counted from the picture's middle
        ActionChains(browser).move_to_element_with_offset(image, across, 0).click().perform()

    see_change(browser, IMAGE, click_at_the_template_s_right)
    assert readouts(browser) == ["2", "6", "2"]

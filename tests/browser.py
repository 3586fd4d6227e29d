"""An HTML page of ours in a real browser without a network."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_FLAGS = [
    "--no-sandbox",  # continuous integration runs as root
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def look_at(page: Path, look: Callable[[Any], Any], profile: Path) -> Any:
    """Opens a page and checks what holds for each of ours.

    Every picture is decoded or drawn, nothing is asked for elsewhere, the browser complains of
    nothing, and nothing sticks out.

    Args:
        page: The file.
        look: Gets playwright's page; what it returns is returned.
        profile: An empty folder for the browser.
    """
    sync_api = pytest.importorskip("playwright.sync_api")
    browser_path = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if browser_path is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    requests: list[str] = []
    complaints: list[str] = []
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=browser_path,
            args=_FLAGS,
            headless=True,
            offline=True,
            viewport={"width": 1240, "height": 900},
        )
        tab = context.new_page()
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(page.as_uri())
        widths = tab.evaluate("[...document.images].map(i => i.complete ? i.naturalWidth : 0)")
        widths += tab.evaluate("[...document.querySelectorAll('svg')].map(s => s.clientWidth)")
        overflow = tab.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        seen = look(tab)
        context.close()
    assert widths
    assert min(widths) > 0
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert overflow <= 0
    return seen

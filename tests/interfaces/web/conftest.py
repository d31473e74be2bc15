"""One server with a live flow, and one browser, for all tests of the page."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect, sync_playwright

from penstock.control import is_there, opened_ledger, project_for
from tests.interfaces.user import started, typed
from tests.interfaces.web.shop import FLOW, Customers, make_shop

AXE = Path(__file__).parents[3] / "web" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE_MS = 90_000
DESKTOP, PHONE = ViewportSize(width=1440, height=900), ViewportSize(width=390, height=844)


@dataclass
class Served:
    """A server: its folder, address, token, and the link that it printed."""

    folder: Path
    url: str
    token: str
    link: str


@dataclass
class Visit:
    """Somebody at the page. `faults`: what the console said, and requests that left the origin."""

    page: Page
    served: Served
    faults: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Go to an address, and wait for what it shows."""
        self.page.goto(self.served.url + path)
        self.page.locator("main h1, .door h1").first.wait_for()
        return self.page

    def log_in(self, token: str | None = None) -> None:
        """Type the token in."""
        self.open("/")
        self.page.get_by_label("Token").fill(token or self.served.token)
        self.page.get_by_label("Your name").fill("ann")
        self.page.get_by_role("button", name="Open").click()
        self.page.get_by_role("navigation", name="Views").wait_for()

    def axe(self) -> list[str]:
        """Serious faults that axe finds on the page as it is now."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found: list[dict[str, Any]] = self.page.evaluate("axe.run().then(result => result.violations)")
        return [
            f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]} ({len(one['nodes'])})"
            for one in found
            if one["impact"] in ("serious", "critical")
        ]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`penstock up` with the flow running and orders coming in."""
    folder = tmp_path_factory.mktemp("shop")
    make_shop(folder)
    with serving(folder) as found:
        assert typed(folder, "start", FLOW).code == 0
        customers = Customers(folder)
        try:
            yield found
        finally:
            customers.close()
            _end_flows(folder)


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """`penstock up` in a project."""
    with started(folder, "up", "--port", "0", "--spares", "0", terminal=True) as running:
        said = running.wait_for_text("this server leads")
        token = re.search(r"token \(shown once, only its hash is kept\): (pt_\w+)", said)
        link = re.search(r"(http://[\d.:]+)/#token=(pl_\w+)", said)
        assert token is not None
        assert link is not None
        yield Served(folder, link[1], token[1], link[0])


def _end_flows(folder: Path) -> None:
    with opened_ledger(project_for(folder).environment("dev")) as ledger:
        for member in ledger.members():
            if is_there(member):
                os.kill(member.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium."""
    program = shutil.which("chromium")
    assert program is not None, "the tests of the page drive chromium: tests/servers.sh installs it"
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=FLAGS, headless=True)
        try:
            yield found
        finally:
            found.close()


def visit(browser: Browser, served: Served, *, phone: bool = False, dark: bool = False) -> tuple[BrowserContext, Visit]:
    """A browser window of its own, whose faults are collected."""
    size = PHONE if phone else DESKTOP
    context = browser.new_context(viewport=size, color_scheme="dark" if dark else "light", has_touch=phone)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    found = Visit(page, served)
    page.on("console", lambda said: found.faults.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.faults.append(str(error)))

    def look(url: str) -> None:
        if urlsplit(url).scheme in ("http", "https", "ws", "wss") and not url.startswith(served.url):
            found.faults.append(f"left the origin: {url}")

    page.on("request", lambda request: look(request.url))
    return context, found


@pytest.fixture
def ann(browser: Browser, served: Served) -> Iterator[Visit]:
    """An operator at a desktop, logged in."""
    context, found = visit(browser, served)
    found.log_in()
    yield found
    context.close()

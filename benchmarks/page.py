"""The page: how soon it paints and has its data, in chromium, on a large flow with a long past and many log lines.

The server is the real one. Its ledger is filled beforehand, with the time and rows of every step in every epoch, as the
engine notes them; the lines come as those of `benchmarks.logs`. Each visit is of a browser with an empty cache.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any

from playwright.sync_api import Browser, StorageState, sync_playwright

from benchmarks.logs import DAY_US, FLOW, log_lines
from benchmarks.places import say, work_folder
from benchmarks.running import CLOCK, server, server_url
from penstock.control import Environment, bare_project, opened_ledger
from penstock.ledger import EpochPlan, EpochRecord, VersionFacts

__all__ = ["page"]

VERSION = "v1"
TOKEN = "page" * 8
EPOCH_US = 1_000_000
WIDE = 10
PATIENCE_MS = 120_000
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
VIEWS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "overview": ("/", f"document.querySelector('main a[href=\"/flows/{FLOW}\"]')"),
        "flow": (
            f"/flows/{FLOW}",
            "document.querySelectorAll('.graph .box').length >= {steps} && document.querySelector('main canvas')",
        ),
        "ledger": (f"/ledger/{FLOW}", "document.querySelector('.virtual li')"),
        "logs": ("/logs", "document.querySelector('.virtual li') && document.querySelector('.histogram rect')"),
        "logs_24h": (
            "/logs?range=24h",
            "document.querySelector('.virtual li') && document.querySelector('.histogram rect')",
        ),
    }
)
"""View -> its address, and what is there when its data is."""
PAINTED = "() => performance.getEntriesByName('first-contentful-paint').map(one => one.startTime)[0]"


def page(*, steps: int, epochs: int, log_lines: int, times: int) -> dict[str, Any]:
    """Visit each view `times` times. `first_paint_ms`: the first paint with something on it, of the slowest view;
    `shown_ms`: the same until its data is there. Medians.
    """
    with work_folder("page") as folder:
        (folder / "penstock.toml").write_text('[project]\nname = "bench"\n')
        kept = _fill(bare_project(folder).environment("dev"), steps, epochs, log_lines)
        with server(folder, TOKEN), _chromium() as browser:
            state = _logged_in(browser, _listening(folder))
            views = {name: _visited(browser, state, folder, name, steps, times) for name in VIEWS}
    return {
        "first_paint_ms": max(view["first_paint_ms"] for view in views.values()),
        "shown_ms": max(view["shown_ms"] for view in views.values()),
        "steps": steps,
        "epochs": epochs,
        "log_lines": kept,
        "views": views,
    }


def _fill(environment: Environment, steps: int, epochs: int, lines: int) -> int:
    """Write the past; gives how many lines are kept."""
    kept: int = log_lines(environment, lines, CLOCK.now_us() - DAY_US)["lines"]
    names = [f"step_{number}" for number in range(steps)]
    say(f"{epochs:,} epochs of {steps} steps")
    with opened_ledger(environment, CLOCK) as ledger:
        ledger.operations.add_version(VersionFacts(FLOW, VERSION, _manifest(names), CLOCK.now_us()))
        generation = ledger.claim(FLOW, version=VERSION, holder="bench").generation
        start_us = CLOCK.now_us() - epochs * EPOCH_US
        plan = EpochPlan(1, {}, start_us, 1)
        ledger.plan(FLOW, generation, plan)
        for epoch in range(1, epochs + 1):
            record = EpochRecord(
                epoch,
                generation,
                VERSION,
                plan,
                rows_in={names[0]: 1_000},
                rows_out={names[-1]: 900 + epoch % 90},
                timings_ms={"read": 3.1, "run": 40.2, "write": 12.5, "state": 2.2, "commit": 1.9},
                committed_us=start_us + epoch * EPOCH_US,
                steps={name: {"ms": 0.1 + epoch % 7, "in": 1_000, "out": 1_000} for name in names},
            )
            plan = EpochPlan(epoch + 1, {}, record.committed_us, 1)
            ledger.commit(FLOW, record, next_plan=plan)
    return kept


def _manifest(names: list[str]) -> dict[str, Any]:
    """A flow in layers of `WIDE` steps, each of which reads two of the layer above."""
    steps = [
        {
            "name": name,
            "kind": "read" if at < WIDE else "filter",
            "text": name,
            "source": f'{name} = above.filter(pl.col("n") > {at})',
            "location": f"bench.py:{at + 1}",
            "columns": {"n": "Int64"},
            "inputs": [] if at < WIDE else [names[at - WIDE], names[at - at % WIDE - WIDE + (at + 1) % WIDE]],
        }
        for at, name in enumerate(names)
    ]
    return {"id": VERSION, "owner": "bench", "made_us": CLOCK.now_us(), "steps": steps, "ends": []}


@contextmanager
def _chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    assert program is not None, "the benchmark of the page drives chromium: tests/servers.sh installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS, headless=True)
        try:
            yield browser
        finally:
            browser.close()


def _listening(folder: Path) -> str:
    until_s = CLOCK.stopwatch_s() + PATIENCE_MS / 1_000
    while CLOCK.stopwatch_s() < until_s:
        url = server_url(folder)
        if url is not None:
            return url
        CLOCK.sleep(0.05)
    raise TimeoutError("the server did not come")


def _logged_in(browser: Browser, url: str) -> StorageState:
    """The cookies of somebody who typed the token in."""
    context = browser.new_context()
    here = context.new_page()
    here.goto(url)
    here.get_by_label("Token").fill(TOKEN)
    here.get_by_label("Your name").fill("bench")
    here.get_by_role("button", name="Open").click()
    here.get_by_role("navigation", name="Views").wait_for()
    state = context.storage_state()
    context.close()
    return state


def _visited(
    browser: Browser, state: StorageState, folder: Path, name: str, steps: int, times: int
) -> dict[str, float]:
    address, shown = VIEWS[name]
    paints, shows = [], []
    for _ in range(times):
        context = browser.new_context(storage_state=state, viewport={"width": 1440, "height": 900})
        here = context.new_page()
        here.goto(f"{_listening(folder)}{address}", wait_until="commit")
        condition = f"() => ({shown.replace('{steps}', str(steps))}) && performance.now()"
        shows.append(here.wait_for_function(condition, timeout=PATIENCE_MS).json_value())
        paints.append(here.wait_for_function(PAINTED, timeout=PATIENCE_MS).json_value())
        context.close()
    say(f"{name}: painted in {median(paints):,.0f} ms, shown in {median(shows):,.0f} ms (at most {max(shows):,.0f})")
    return {
        "first_paint_ms": round(median(paints), 1),
        "shown_ms": round(median(shows), 1),
        "shown_most_ms": round(max(shows), 1),
    }

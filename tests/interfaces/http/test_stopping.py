"""A server that stops does not wait for pages that are open."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from penstock.clock import ManualClock
from penstock.control import bare_project, opened_ledger
from penstock.interfaces.http import Listener, kept_token, make_app

_FIRST = {"/v1/stream": "event: flows", "/v1/logs/tail": "event: ready"}


def _until(lines: Iterator[str], wanted: str) -> None:
    for line in lines:
        if line == wanted:
            return
    pytest.fail(f"it ended without {wanted!r}")


def test_open_streams_end_with_the_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each tells so in its last event and ends as HTTP wants it; uvicorn had to cancel none, and no task is left."""
    environment = bare_project(tmp_path).environment("dev")
    token, made = kept_token(environment.folder)
    clock = ManualClock()
    with ExitStack() as stack, caplog.at_level(logging.INFO, "uvicorn"):
        ledger = stack.enter_context(opened_ledger(environment, clock))
        listener = Listener(make_app(environment, ledger, clock, token), port=0)
        stack.callback(listener.stop)
        listener.start()
        headers = {"Authorization": f"Bearer {made}"}
        client = stack.enter_context(httpx.Client(base_url=listener.url, headers=headers, trust_env=False))
        streams = {path: stack.enter_context(client.stream("GET", path)).iter_lines() for path in _FIRST}
        for path, lines in streams.items():
            _until(lines, _FIRST[path])
        listener.stop()
        rests = {path: list(lines) for path, lines in streams.items()}

    for path, rest in rests.items():
        assert rest[-3:] == ["event: stopping", "data: {}", ""], path
    said = [record.getMessage() for record in caplog.records if record.name.startswith("uvicorn")]
    assert [line for line in said if "Cancel" in line or "timeout" in line] == []
    assert any("Finished server process" in line for line in said)

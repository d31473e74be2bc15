"""Projects to type commands in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.interfaces.user import ENDLESS_FLOW, HELD_FLOW, typed


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A fresh project, as `penstock init` makes it."""
    answer = typed(tmp_path, "init", "shop")
    assert answer.code == 0, answer.err
    return tmp_path / "shop"


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """A folder with a flow over 30 rows whose epochs wait for the file `go`."""
    (tmp_path / "held.py").write_text(HELD_FLOW)
    (tmp_path / "numbers.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(30)))
    return tmp_path


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A folder with a flow that never ends by itself."""
    (tmp_path / "endless.py").write_text(ENDLESS_FLOW)
    return tmp_path

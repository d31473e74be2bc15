"""The documents are true: generated pages are up to date, links lead somewhere. `make docs` writes the pages again."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import errors
from penstock.observe import alerts_page, metrics_page

ROOT = Path(__file__).resolve().parent.parent
UPDATES = os.environ.get("PENSTOCK_UPDATE") == "1"


def error_classes() -> Iterator[type[errors.PenstockError]]:
    """The tree of errors, base first, children after their parent."""
    waiting = [errors.PenstockError]
    while waiting:
        kind = waiting.pop()
        yield kind
        waiting += sorted(kind.__subclasses__(), key=lambda child: child.__name__, reverse=True)


def errors_page() -> str:
    """`docs/errors.md`, from the classes of `penstock.errors`."""
    rows = [
        f"| `{kind.code}` | `{kind.__name__}` | {'yes' if kind.heals else 'no'} | {_first_sentence(kind)} |"
        for kind in error_classes()
        if kind.__module__ == errors.__name__
    ]
    head = """# Errors

Every error that Penstock raises on purpose is one of these. It says what happened, to which flow, step and epoch,
what is on disk now, and what to do next; `--json` gives the same as values. *Heals* says whether trying again can
succeed without a change. This page is written by `make docs` from the classes.

| code | class | heals | what it means |
|---|---|---|---|
"""
    return head + "\n".join(rows) + "\n"


def _first_sentence(kind: type) -> str:
    text = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    return text.replace("|", "\\|")


GENERATED = {"docs/errors.md": errors_page, "docs/metrics.md": metrics_page, "docs/alerts.md": alerts_page}


@pytest.mark.parametrize("page", GENERATED)
def test_generated_page_is_up_to_date(page: str) -> None:
    """A page that is written from the code says what the code says; `make docs` writes it again."""
    path, expected = ROOT / page, GENERATED[page]()
    if UPDATES:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(expected)

    assert path.read_text() == expected


def test_every_error_has_a_code_of_its_own() -> None:
    """A code means one class."""
    codes = [kind.code for kind in error_classes() if kind.__module__ == errors.__name__]

    assert sorted(codes) == sorted(set(codes))


def dead_links(document: Path) -> list[str]:
    """Targets of relative links in a document that are not there."""
    targets = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", document.read_text())
    relative = [target.split("#")[0] for target in targets if "://" not in target and not target.startswith("#")]
    return [target for target in relative if not (document.parent / target).exists()]


def test_links_lead_somewhere() -> None:
    """Every relative link of every document leads to a file."""
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]

    assert {document.name: dead for document in documents if (dead := dead_links(document))} == {}


def test_every_decision_is_in_the_map() -> None:
    """Each page of decisions is linked from ARCHITECTURE.md, numbered without gaps, and has the four parts."""
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    architecture = (ROOT / "ARCHITECTURE.md").read_text()

    assert [page.name[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    for page in pages:
        assert f"](docs/decisions/{page.name})" in architecture
        text = page.read_text()
        for part in ("Context", "Decision", "Rejected", "Consequences"):
            assert f"\n## {part}\n" in text, f"{page.name} lacks {part}"

"""`docs/cli.md` and `docs/remedies.md` name everything there is, and `penstock --help` the same verbs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from penstock import errors
from penstock.interfaces.cli.main import EXIT_CODES, VERBS
from tests.interfaces.user import typed

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_is_described(verb: str, tmp_path: Path) -> None:
    """Each long and short option that the help of a verb shows is on the page, which has a section for the verb."""
    page = (DOCS / "cli.md").read_text()
    shown = typed(tmp_path, verb, "--help").out

    assert f"## `penstock {verb}" in page
    options = set(re.findall(r"^  (?:(-\w), )?(--[a-z-]+)", shown, re.MULTILINE)) - {("-h", "--help")}
    words = {word for pair in options for word in pair if word}
    assert [word for word in sorted(words) if f"`{word}" not in page and f"{word} " not in page] == []


def test_exit_codes_are_described() -> None:
    """The page has each exit code with the words of the table."""
    page = (DOCS / "cli.md").read_text()

    assert [code for code, meaning in EXIT_CODES.items() if f"| {code} | {meaning} |" not in page] == []


def test_every_error_has_a_remedy() -> None:
    """Each code of `penstock.errors` has a row with causes and what to do."""
    page = (DOCS / "remedies.md").read_text()
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PenstockError)
    ]

    assert len(kinds) > 10
    assert [kind.code for kind in kinds if f"\n| `{kind.code}` |" not in page] == []

"""The front door: what `import penstock as ps` gives, sorted, documented, and what it says of a name it has not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import penstock as ps
from penstock import testing

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "authors.md").read_text()


def test_public_names_are_sorted() -> None:
    """Constants, classes, functions: the order of ruff, in which a name is found at a glance."""
    kinds = [0 if name.isupper() else 1 if name[0].isupper() else 2 for name in ps.__all__]

    assert list(zip(kinds, ps.__all__, strict=True)) == sorted(set(zip(kinds, ps.__all__, strict=True)))


@pytest.mark.parametrize("name", ps.__all__)
def test_public_names_are_on_the_page_for_authors(name: str) -> None:
    """docs/authors.md shows every name of the front door."""
    assert hasattr(ps, name)
    assert re.search(rf"\bps\.{name}\b", PAGE)


@pytest.mark.parametrize("name", testing.__all__)
def test_names_for_tests_are_on_the_page_for_authors(name: str) -> None:
    """docs/authors.md shows every name of `penstock.testing`."""
    assert re.search(rf"\b{name}\b", PAGE)


def test_a_name_that_is_not_there_is_told_with_the_closest() -> None:
    """A typo after `ps.` is an AttributeError that says what was likely meant."""
    misspelt = "tabel"
    with pytest.raises(AttributeError, match=r"^penstock has no 'tabel'\. Did you mean 'table'\?$"):
        getattr(ps, misspelt)
    assert not hasattr(ps, "zzz")

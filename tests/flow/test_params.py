"""Parameters: a default in the code, another value from the command line or the environment."""

from __future__ import annotations

import pytest

import penstock as ps
from penstock.errors import ConfigError
from penstock.flow import giving


def test_a_default_stands_where_nothing_is_set() -> None:
    """Outside of a run a parameter is its default."""
    assert (ps.param("rate", 10), ps.param("name", "x"), ps.param("fast", default=False)) == (10, "x", False)


@pytest.mark.parametrize(
    ("default", "text", "expected"),
    [(10, "12", 12), (0.5, "2", 2.0), ("x", "y", "y"), (False, "Yes", True), (True, "off", False)],
)
def test_the_type_of_the_default_decides(default: str | float, text: str, expected: object) -> None:
    """What is set is read as a value of the default's type."""
    with giving({"p": text}) as scope:
        found = ps.param("p", default, help="what it is")

    assert found == expected
    assert type(found) is type(expected)
    assert (scope.asked["p"].default, scope.asked["p"].value, scope.asked["p"].help) == (
        default,
        expected,
        "what it is",
    )


def test_the_command_line_is_before_the_environment() -> None:
    """`--set` wins over the environment's value, and that over the default."""
    with giving({"a": "1"}, {"a": 2, "b": 3}):
        assert (ps.param("a", 0), ps.param("b", 0), ps.param("c", 0)) == (1, 3, 0)


def test_without_a_default_it_has_to_be_set() -> None:
    """A parameter without a default is text, and is asked for."""
    with giving({"day": "monday"}):
        assert ps.param("day") == "monday"
    with pytest.raises(ConfigError) as caught:
        ps.param("day")

    assert str(caught.value) == "the parameter 'day' has no default and is not set\n  next:  add --set day=..."


@pytest.mark.parametrize(("default", "words"), [(1, "a whole number"), (1.0, "a number"), (True, "true or false")])
def test_what_does_not_fit_is_told(default: float, words: str) -> None:
    """A text that is no value of the type is an error which says what it should be."""
    with giving({"p": "many"}), pytest.raises(ConfigError) as caught:
        ps.param("p", default)

    assert (
        str(caught.value) == f"the parameter 'p' is 'many', which is not {words}\n  next:  write --set p=... as {words}"
    )


def test_a_default_is_a_plain_value() -> None:
    """A list can't be given on a command line."""
    with pytest.raises(ConfigError, match="the default of parameter 'p' is a list"):
        ps.param("p", [1])  # type: ignore[call-overload]


def test_what_nobody_asks_for_is_told() -> None:
    """A typo after `--set` is an error that names what there is; the environment's values may go unused."""
    with giving({"rate": "2", "rat": "1"}, {"other": 1}) as scope:
        ps.param("rate", 1)
    with pytest.raises(ConfigError) as caught:
        scope.check("f")
    with giving({"x": "1"}) as empty, pytest.raises(ConfigError, match=r"it has none; an author adds ps.param"):
        empty.check()

    assert str(caught.value) == (
        "flow f: --set rat=...: the flow has no parameter 'rat'. Did you mean 'rate'?\n  next:  it has: rate"
    )
    with giving({}, {"other": 1}) as scope:
        scope.check()

"""Windows as authors write them."""

from __future__ import annotations

import pytest

from penstock.errors import DefinitionError
from penstock.flow import Session, Sliding, Tumbling, session, sliding, tumbling


def test_windows_are_values_in_microseconds() -> None:
    """The three kinds hold their lengths as microseconds and say what they are."""
    assert tumbling("1m", offset="5s") == Tumbling(60_000_000, 5_000_000)
    assert sliding("1m", "10s", offset="1s") == Sliding(60_000_000, 10_000_000, 1_000_000)
    assert session("30s") == Session(30_000_000)
    assert [str(tumbling("1m")), str(sliding("1m", "10s")), str(session("30s"))] == [
        "tumbling 1m",
        "sliding 1m every 10s",
        "session gap 30s",
    ]


@pytest.mark.parametrize("size", ["0s", "-1m"])
def test_a_window_has_a_length(size: str) -> None:
    """Zero and negative lengths are refused, with the name of the argument."""
    with pytest.raises(DefinitionError, match=f"window size '{size}' is not positive"):
        tumbling(size)
    with pytest.raises(DefinitionError, match=f"window step '{size}' is not positive"):
        sliding("1m", size)
    with pytest.raises(DefinitionError, match=f"session gap '{size}' is not positive"):
        session(size)


def test_a_sliding_window_is_a_whole_number_of_steps() -> None:
    """A size that is no multiple of the step is refused: its panes would not fit."""
    with pytest.raises(DefinitionError) as caught:
        sliding("1m", "7s")

    assert str(caught.value) == (
        "a sliding window of '1m' can't begin every '7s': not a whole number of steps\n"
        "  next:  make the size a multiple of the step"
    )

"""What connectors say when something went wrong: whose it is, and what can't be had any more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from penstock.connect.contract import Context
from penstock.errors import ConnectorError

__all__ = ["forgotten", "naming"]


def forgotten(message: str, *, since: str, hint: str = "") -> ConnectorError:
    """The error for a range that the system behind has let go of: it does not heal.

    `since`: the oldest place that is still there, in words. `hint`: how to keep more the next time.
    """
    error = ConnectorError(
        message,
        state_left="nothing was read; what is gone is gone",
        hint=f"undo and replay can only go back to {since}{f'; {hint}' if hint else ''}",
    )
    error.heals = False
    return error


@contextmanager
def naming(context: Context, epoch: int | None = None) -> Iterator[None]:
    """Give errors from inside a connector the flow and step that they belong to."""
    try:
        yield
    except ConnectorError as error:
        error.flow, error.step = context.flow, context.step
        error.epoch = epoch if error.epoch is None else error.epoch
        raise

"""Dead letters by bisection: a batch that raises is halved until only the rows that raise are left alone.

k poison rows in a batch of n cost about 2k * log2(n) further calls on ever smaller parts; no other row is lost. Where
most rows of a large batch raise, it is the step that is wrong, and it stops.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from penstock.errors import StepFailed
from penstock.flow import Tries

__all__ = ["Refused", "hold_share", "isolate"]

Refused = list[tuple[int, BaseException]]
"""Positions of rows in a batch, with what was wrong with each."""

_SHARE_ROWS = 1_000


def isolate(
    function: Callable[[pl.DataFrame], pl.DataFrame], frame: pl.DataFrame, empty: pl.DataFrame, step: str
) -> tuple[pl.DataFrame, Refused]:
    """`function(frame)` without the rows that make it raise, and those rows. `empty`: what it gives where none is left.

    Raises StepFailed where more than half of a large batch is refused.
    """
    refused: Refused = []
    tries = Tries()

    def attempt(part: pl.DataFrame, first: int) -> list[pl.DataFrame]:
        try:
            tries.begin()
            return [function(part)]
        except (StepFailed, MemoryError):
            # The function itself is not what was said of it, or the machine is full: no row is to blame.
            raise
        except Exception as error:  # the epoch loop's boundary to the author's code: anything may come
            tries.undo()
            if part.height == 1:
                refused.append((first, error))
                hold_share(step, refused, frame.height)
                return []
        half = part.height // 2
        return attempt(part.slice(0, half), first) + attempt(part.slice(half), first + half)

    parts = attempt(frame, 0) if frame.height else []
    return (pl.concat(parts) if parts else empty), refused


def hold_share(step: str, refused: Refused, rows: int) -> None:
    """Raise StepFailed where more than half of a large batch was refused."""
    if len(refused) > _SHARE_ROWS and 2 * len(refused) > rows:
        error = refused[-1][1]
        raise StepFailed(
            f"more than half of {rows} rows fail, the last with {type(error).__name__}: {str(error)[:300]}",
            step=step,
            hint="it is the step that is wrong, not the rows: mend it and run again; no row is lost",
        )

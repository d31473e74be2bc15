"""Sizes as people write them: `512MB`, `4 GB`."""

from __future__ import annotations

__all__ = ["bytes_of"]

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def bytes_of(text: str) -> int | None:
    """`512MB`, `4 GB` -> bytes; None where it is no size."""
    squeezed = text.strip().upper().replace(" ", "")
    number, unit = (squeezed[:-2], squeezed[-2:]) if squeezed[-2:] in _UNITS else (squeezed, "")
    try:
        size = float(number) * _UNITS.get(unit, 1)
    except ValueError:
        return None
    return round(size) if 1 <= size < float("inf") else None

"""Compaction: which neighbouring segments to merge, so that loading stays short and rewriting stays cheap.

Deltas are merged in tiers, as in a log-structured merge tree: `fan` of about one size become one of the next size, so a
byte is rewritten once a tier. The whole state takes the deltas in only when they are about half as large as it is, so
that writing N bytes of changes costs O(N log N), however large the state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from penstock.ledger.contract import SegmentRef
from penstock.ledger.folding import fold, merge_changes
from penstock.ledger.state import StateStore

__all__ = ["due", "merge"]

FAN = 16
SMALLEST_BYTES = 64 * 1024
"""Smaller deltas count as this large: opening a file costs about as much as reading so many bytes."""


def due(segments: Sequence[SegmentRef], fan: int = FAN) -> list[SegmentRef] | None:
    """The neighbours to merge next among all live segments of a flow, or None where it would not pay yet.

    A pure function. Nothing is due until `fan` deltas of one tier lie beside each other (smaller ones between them come
    along). Where the answer begins with the first of `segments`, the result of the merge is a whole state.
    """
    whole = segments[:1] if segments and segments[0].first == 0 else []
    deltas = list(segments[len(whole) :])
    group = _full_tier(deltas, fan)
    if group is None:
        return None
    if 2 * sum(ref.size_bytes for ref in deltas) >= sum(ref.size_bytes for ref in whole):
        return list(segments)
    return group


def _tier(ref: SegmentRef, fan: int) -> int:
    return max(0, math.ceil(math.log(max(ref.size_bytes, 1) / SMALLEST_BYTES, fan)))


def _full_tier(deltas: Sequence[SegmentRef], fan: int) -> list[SegmentRef] | None:
    """The first run of neighbours up to a tier that has `fan` of exactly that tier; the smallest tier first.

    A delta that is larger than its neighbours ends a run of theirs; where that leaves too many short runs, all deltas
    are merged.
    """
    tiers = [_tier(ref, fan) for ref in deltas]
    for tier in sorted(set(tiers)):
        start = 0
        for end in range(len(deltas) + 1):
            if end < len(deltas) and tiers[end] <= tier:
                continue
            if tiers[start:end].count(tier) >= fan:
                return list(deltas[start:end])
            start = end + 1
    return list(deltas) if len(deltas) >= fan * fan else None


def merge(store: StateStore, segments: Sequence[SegmentRef], *, whole: bool | None = None) -> SegmentRef:
    """Write one segment that does what the neighbours `segments` do one after the other.

    `whole`: they are all that there is up to the last of them, so deleted and expired rows are dropped; by default
    where the first begins at epoch 0 or 1, before which there is nothing. Pass True for every group that begins with
    the oldest live segment: a flow whose state first changed in a later epoch never gets a whole state otherwise, and
    without one `due` asks for everything each time.

    Reads files and writes a new one, nothing else: run it in a thread, then `Ledger.replace_segments`, then
    `StateStore.prune`. Raises CorruptState, LedgerError.
    """
    if whole is None:
        whole = segments[0].first <= 1
    contents = (store.read(ref) for ref in segments)
    changes = [image.as_change() for image in fold(contents).values()] if whole else merge_changes(list(contents))
    return store.write(segments[0].first, segments[-1].last, changes, whole=whole)

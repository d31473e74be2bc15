"""Where the boxes of a graph go: longest-path layers, barycenter order, and places by isotonic regression.

Layers and sweeps are those of K. Sugiyama, S. Tagawa, M. Toda: Methods for visual understanding of hierarchical system
structures, IEEE Transactions on Systems, Man and Cybernetics 11 (1981). Edges that span several layers get a point in
each layer between, so that they pass beside boxes and not behind them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Layout", "lay_out"]

_SWEEPS = 12
_PULLS = 61  # odd: the last goes down, so that what has one input stands right below it
_POINT_WIDTH = 28.0


@dataclass(frozen=True, slots=True)
class Layout:
    """Centers in pixels: `x` of each node, `layer` of each node (0 is the top), and the way of each edge.

    `points`: (parent, child) -> the x of the edge in each layer between the two.
    """

    x: Mapping[str, float]
    layer: Mapping[str, int]
    points: Mapping[tuple[str, str], tuple[float, ...]]
    width: float


def lay_out(parents: Mapping[str, Sequence[str]], widths: Mapping[str, float], *, gap: float) -> Layout:
    """Lay out a graph without cycles. `parents`: node -> its inputs, inputs first; `widths` of boxes in pixels."""
    layer = _layers(parents)
    ups: dict[str, list[str]] = {node: [] for node in parents}
    chains: dict[tuple[str, str], list[str]] = {}
    levels: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    size = dict(widths)
    for node in parents:
        levels[layer[node]].append(node)
    for child, above in parents.items():
        for parent in dict.fromkeys(above):
            last = parent
            chain = chains.setdefault((parent, child), [])
            for level in range(layer[parent] + 1, layer[child]):
                point = f"{parent}\n{child}\n{level}"  # no step's name has a line break
                levels[level].append(point)
                ups[point] = [last]
                size[point] = _POINT_WIDTH
                chain.append(point)
                last = point
            ups[child].append(last)
    downs: dict[str, list[str]] = {node: [] for node in ups}
    for node, above in ups.items():
        for parent in above:
            downs[parent].append(node)
    _order(levels, ups, downs)
    x = _places(levels, ups, downs, size, gap)
    left = min((x[node] - size[node] / 2 for node in x), default=0.0)
    x = {node: place - left for node, place in x.items()}
    width = max((x[node] + size[node] / 2 for node in x), default=0.0)
    points = {edge: tuple(x[point] for point in chain) for edge, chain in chains.items()}
    return Layout({node: x[node] for node in parents}, layer, points, width)


def _layers(parents: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """One more than the lowest input; then what has no input goes down to just above who needs it first."""
    layer: dict[str, int] = {}
    for node, above in parents.items():
        layer[node] = max((layer[parent] + 1 for parent in above), default=0)
    for node, above in parents.items():
        below = [layer[child] for child, inputs in parents.items() if node in inputs]
        if not above and below:
            layer[node] = min(below) - 1
    return layer


def _order(levels: list[list[str]], ups: Mapping[str, list[str]], downs: Mapping[str, list[str]]) -> None:
    """Sort each layer by the mean place of its neighbours, down and up in turn; keep the one with fewest crossings."""
    best = [list(level) for level in levels]
    fewest = _crossings(levels, downs)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        rows = range(1, len(levels)) if down else range(len(levels) - 2, -1, -1)
        near = ups if down else downs
        for row in rows:
            beside = levels[row - 1 if down else row + 1]
            place = {node: index for index, node in enumerate(beside)}
            own = {node: index for index, node in enumerate(levels[row])}
            levels[row].sort(key=lambda node: (_mean([place[n] for n in near[node]], own[node]), own[node]))
        if (count := _crossings(levels, downs)) < fewest:
            fewest, best = count, [list(level) for level in levels]
    levels[:] = best


def _mean(numbers: Sequence[float], default: float) -> float:
    return sum(numbers) / len(numbers) if numbers else default


def _crossings(levels: Sequence[Sequence[str]], downs: Mapping[str, list[str]]) -> int:
    total = 0
    for upper, lower in pairwise(levels):
        place = {node: index for index, node in enumerate(lower)}
        edges = [(start, place[end]) for start, node in enumerate(upper) for end in downs[node]]
        total += sum(a < c and b > d for a, b in edges for c, d in edges)
    return total


def _places(
    levels: Sequence[Sequence[str]],
    ups: Mapping[str, list[str]],
    downs: Mapping[str, list[str]],
    size: Mapping[str, float],
    gap: float,
) -> dict[str, float]:
    """Pull every node towards the mean of its neighbours, without overlaps and without changing the order."""
    x: dict[str, float] = {}
    for level in levels:
        _settle(level, dict.fromkeys(level, 0.0), size, gap, x)
    for sweep in range(_PULLS):
        rows = levels if sweep % 2 == 0 else levels[::-1]
        for level in rows:
            wanted = {node: _mean([x[near] for near in (*ups[node], *downs[node])], x[node]) for node in level}
            _settle(level, wanted, size, gap, x)
    return x


def _settle(
    level: Sequence[str], wanted: Mapping[str, float], size: Mapping[str, float], gap: float, x: dict[str, float]
) -> None:
    """The places nearest to the wanted ones (least squares) that keep order and distance: pool adjacent violators."""
    offset, offsets = 0.0, {}
    for previous, node in zip((None, *level), level, strict=False):
        if previous is not None:
            offset += (size[previous] + size[node]) / 2 + gap
        offsets[node] = offset
    pools: list[tuple[float, list[str]]] = []
    for node in level:
        pool = (wanted[node] - offsets[node], [node])
        while pools and pools[-1][0] > pool[0]:
            mean, members = pools.pop()
            count = len(members) + len(pool[1])
            pool = ((mean * len(members) + pool[0] * len(pool[1])) / count, members + pool[1])
        pools.append(pool)
    for mean, members in pools:
        for node in members:
            x[node] = mean + offsets[node]

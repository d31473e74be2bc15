"""The graph of a flow as a drawing: `draw_text` for a terminal, `draw_svg` for a page (light and dark, no fonts)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from textwrap import wrap
from xml.sax.saxutils import escape, quoteattr

from penstock.analysis.describe import describe
from penstock.analysis.facts import Analysis
from penstock.analysis.faults import columns_text
from penstock.analysis.layout import Layout, lay_out
from penstock.flow import Definition, Step, ops

__all__ = ["draw_svg", "draw_text"]

_LINE_WIDTH = 100
_HARD_SPACE = "\xa0"


def draw_text(definition: Definition, analysis: Analysis | None = None) -> str:
    """The steps from top to bottom, one line each, with their edges at the left; with `analysis` also their columns."""
    steps = _depth_first(definition)
    names = max((len(step.name) for step in steps), default=0)
    kinds = max((len(step.operation.kind) for step in steps), default=0)
    lanes: list[str | None] = []
    rows: list[tuple[str, str]] = []
    for step in steps:
        lane, merge = _arrive(lanes, step.name)
        if merge:
            rows.append((merge, ""))
        detail = _cut(describe(step), _LINE_WIDTH - names - kinds)
        text = f"{step.name:{names}}  {step.operation.kind:{kinds}}  {detail}".rstrip()
        rows.append((_rails(lanes, {lane: _mark(step)}), text))
        consumers = [child.name for child in _consumers(definition, step.name)]
        lanes[lane] = consumers[0] if consumers else None
        rails = _rails(lanes, {})
        rows += [(rails, f"  {line}") for line in _new_columns(step, analysis)]
        if fork := _fork(lanes, lane, consumers[1:]):
            rows.append((fork, ""))
    margin = max((len(rail) for rail, _ in rows), default=0)
    return "\n".join(f"{rail:{margin}}  {text}".rstrip() for rail, text in rows)


def _new_columns(step: Step, analysis: Analysis | None) -> list[str]:
    """The columns after a step in lines; none where they are those of its input."""
    if analysis is None:
        return []
    schema = analysis.steps[step.name].schema
    if any(analysis.steps[name].schema == schema for name in step.inputs):
        return []
    whole = columns_text(schema).replace(" ", _HARD_SPACE).replace(f",{_HARD_SPACE}", ", ")
    return [line.replace(_HARD_SPACE, " ") for line in wrap(whole, _LINE_WIDTH, break_on_hyphens=False)]


def _depth_first(definition: Definition) -> list[Step]:
    """Inputs first, and each path finished before the next begins, so that few edges run side by side."""
    by_name = {step.name: step for step in definition.steps}
    done: dict[str, Step] = {}
    for end in (step for step in definition.steps if not _consumers(definition, step.name)):
        waiting = [end.name]
        while waiting:
            step = by_name[waiting[-1]]
            missing = [name for name in step.inputs if name not in done]
            if missing:
                waiting.append(missing[0])
            else:
                done.setdefault(waiting.pop(), step)
    return list(done.values())


def _consumers(definition: Definition, name: str) -> tuple[Step, ...]:
    """Who takes the rows of a step; once for each time that it takes them."""
    return tuple(step for step in definition.consumers(name) for _ in range(step.inputs.count(name)))


def _mark(step: Step) -> str:
    if isinstance(step.operation, ops.Read):
        return "▷"
    if isinstance(step.operation, ops.Write):
        return "■"
    return "◆" if step.operation.remembers else "●"


def _rails(lanes: Sequence[str | None], marks: Mapping[int, str]) -> str:
    return " ".join(marks.get(lane, "│" if waiting else " ") for lane, waiting in enumerate(lanes)).rstrip()


def _arrive(lanes: list[str | None], name: str) -> tuple[int, str]:
    """The lane of a step and the row that leads its edges together (empty where there is one edge or none)."""
    own = [lane for lane, waiting in enumerate(lanes) if waiting == name]
    if not own:
        return _free(lanes, name), ""
    row = _branch(lanes, own[0], own[1:], "┴╯") if own[1:] else ""
    for lane in own[1:]:
        lanes[lane] = None
    return own[0], row


def _fork(lanes: list[str | None], lane: int, others: Sequence[str]) -> str:
    """New lanes for all consumers of a step but the first, and the row that leads there (empty without any)."""
    before = list(lanes)
    fresh = [_free(lanes, name, after=lane) for name in others]
    before += [None] * (len(lanes) - len(before))
    row = _branch(before, lane, fresh, "┬╮") if fresh else ""
    while lanes and lanes[-1] is None:
        lanes.pop()
    return row


def _free(lanes: list[str | None], name: str, after: int = -1) -> int:
    for lane in range(after + 1, len(lanes)):
        if lanes[lane] is None:
            lanes[lane] = name
            return lane
    lanes.append(name)
    return len(lanes) - 1


def _branch(lanes: Sequence[str | None], trunk: int, others: Sequence[int], corners: str) -> str:
    """A row that ties `others` to `trunk`, which is left of them; edges that only pass are crossed."""
    row = ""
    for lane in range(max(len(lanes), max(others) + 1)):
        waiting = lane < len(lanes) and lanes[lane] is not None
        between = trunk < lane < max(others)
        if lane == trunk:
            row += "├─"
        elif lane in others:
            row += f"{corners[0]}─" if between else f"{corners[1]} "
        elif between:
            row += "┼─" if waiting else "──"
        else:
            row += "│ " if waiting else "  "
    return row.rstrip()


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


_MARGIN, _GAP, _BOX_HEIGHT, _LAYER_HEIGHT = 16.0, 28.0, 56.0, 104.0
_WIDTH_MIN, _WIDTH_MAX, _PORT_GAP = 148.0, 312.0, 26.0
_NAME_EM, _DETAIL_EM = 7.7, 6.1
_DETAIL_LENGTH = 46
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

_STYLE = """
.penstock-flow text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
.penstock-flow .name { font-size: 13px; font-weight: 600; fill: #16202b; }
.penstock-flow .kind { font-size: 10px; fill: #5b6875; }
.penstock-flow .detail { font-size: 11px; fill: #465360; }
.penstock-flow .box { fill: #ffffff; stroke: #c3ccd5; stroke-width: 1; }
.penstock-flow .edge { fill: none; stroke: #8996a3; stroke-width: 1.5; }
.penstock-flow .head { fill: #8996a3; }
.penstock-flow .read { fill: #1f78c8; }
.penstock-flow .row { fill: #8c99a6; }
.penstock-flow .state { fill: #7a4fc4; }
.penstock-flow .check { fill: #c98a04; }
.penstock-flow .write { fill: #1d9153; }
@media (prefers-color-scheme: dark) {
.penstock-flow .name { fill: #e8eef4; }
.penstock-flow .kind { fill: #97a4b1; }
.penstock-flow .detail { fill: #b4c0cb; }
.penstock-flow .box { fill: #1b232c; stroke: #3c4956; }
.penstock-flow .edge { stroke: #708090; }
.penstock-flow .head { fill: #708090; }
.penstock-flow .read { fill: #58a6ee; }
.penstock-flow .row { fill: #74828f; }
.penstock-flow .state { fill: #a888e8; }
.penstock-flow .check { fill: #e0ab3a; }
.penstock-flow .write { fill: #4cc283; }
}
"""


def draw_svg(definition: Definition, analysis: Analysis | None = None) -> str:
    """The graph as one SVG element, from top to bottom; with `analysis` the boxes' tooltips list the columns."""
    details = {step.name: describe(step) for step in definition.steps}
    widths = {step.name: _box_width(step, details[step.name]) for step in definition.steps}
    layout = lay_out({step.name: step.inputs for step in definition.steps}, widths, gap=_GAP)
    layers = max(layout.layer.values(), default=0)
    width, height = layout.width + 2 * _MARGIN, layers * _LAYER_HEIGHT + _BOX_HEIGHT + 2 * _MARGIN
    arrow = f"arrow-{definition.name}"
    sizes = f"width='{width:.0f}' height='{height:.0f}' viewBox='0 0 {width:.0f} {height:.0f}'"
    marker = "viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto'"
    head = "<path class='head' d='M0,0.6 L8,4 L0,7.4 Z'/>"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' class='penstock-flow' role='img' {sizes}>",
        f"<title>{_text(f'Flow {definition.name}')}</title>",
        f"<style>{_STYLE}</style>",
        f"<defs><marker id={quoteattr(arrow)} {marker}>{head}</marker></defs>",
    ]
    parts += _edges(definition, layout, arrow)
    parts += [_box(step, layout, widths[step.name], details[step.name], analysis) for step in definition.steps]
    return "\n".join((*parts, "</svg>\n"))


def _text(text: str) -> str:
    return escape(_UNPRINTABLE.sub("�", text))


def _box_width(step: Step, detail: str) -> float:
    longest = max(
        len(_cut(step.name, _DETAIL_LENGTH)) * _NAME_EM + len(step.operation.kind) * _DETAIL_EM + 20,
        len(_cut(detail, _DETAIL_LENGTH)) * _DETAIL_EM,
    )
    return min(max(longest + 38, _WIDTH_MIN), _WIDTH_MAX)


def _top(layout: Layout, name: str) -> float:
    return _MARGIN + layout.layer[name] * _LAYER_HEIGHT


def _edges(definition: Definition, layout: Layout, arrow: str) -> list[str]:
    """The ways of all edges; several into one box end side by side, in the order in which they come."""
    paths, end = [], quoteattr(f"url(#{arrow})")
    for step in definition.steps:
        inputs = list(dict.fromkeys(step.inputs))
        arriving = sorted(inputs, key=lambda name: (layout.points[name, step.name] or (layout.x[name],))[-1])
        for index, name in enumerate(arriving):
            port = (index - (len(arriving) - 1) / 2) * _PORT_GAP
            way = _way(layout, name, step.name, port)
            title = _text(f"{name} to {step.name}")
            paths.append(f"<path class='edge' marker-end={end} d='{way}'><title>{title}</title></path>")
    return paths


def _way(layout: Layout, parent: str, child: str, port: float) -> str:
    x, y = layout.x[parent] + _MARGIN, _top(layout, parent) + _BOX_HEIGHT
    way = f"M{x:.1f},{y:.1f}"
    for offset, point in enumerate(layout.points[parent, child], start=1):
        top = _top(layout, parent) + offset * _LAYER_HEIGHT
        way += _curve(x, y, point + _MARGIN, top) + f" V{top + _BOX_HEIGHT:.1f}"
        x, y = point + _MARGIN, top + _BOX_HEIGHT
    return way + _curve(x, y, layout.x[child] + _MARGIN + port, _top(layout, child))


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    middle = (y + to_y) / 2
    return f" C{x:.1f},{middle:.1f} {to_x:.1f},{middle:.1f} {to_x:.1f},{to_y:.1f}"


def _family(step: Step) -> str:
    if isinstance(step.operation, ops.Read):
        return "read"
    if isinstance(step.operation, ops.Write):
        return "write"
    if isinstance(step.operation, ops.Expect):
        return "check"
    return "state" if step.operation.remembers else "row"


def _box(step: Step, layout: Layout, width: float, detail: str, analysis: Analysis | None) -> str:
    left, top = layout.x[step.name] + _MARGIN - width / 2, _top(layout, step.name)
    title = f"{step.name} ({step.operation.kind})\n{detail}".rstrip()
    if analysis is not None:
        title += f"\n{columns_text(analysis.steps[step.name].schema)}"
    room = int((width - 54 - len(step.operation.kind) * _DETAIL_EM) / _NAME_EM)
    return (
        f"<g transform='translate({left:.1f} {top:.1f})'><title>{_text(title)}</title>"
        f"<rect class='box' width='{width:.1f}' height='{_BOX_HEIGHT:.0f}' rx='7'/>"
        f"<rect class='{_family(step)}' x='9' y='12' width='4' height='{_BOX_HEIGHT - 24:.0f}' rx='2'/>"
        f"<text class='name' x='22' y='24'>{_text(_cut(step.name, room))}</text>"
        f"<text class='kind' x='{width - 12:.1f}' y='23' text-anchor='end'>{_text(step.operation.kind)}</text>"
        f"<text class='detail' x='22' y='43'>{_text(_cut(detail, int((width - 36) / _DETAIL_EM)))}</text></g>"
    )

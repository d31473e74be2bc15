"""Flows as drawings: the text for a terminal, the SVG for a page, and the places of its boxes."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from penstock.analysis import analyse, describe, draw_svg, draw_text
from penstock.analysis.layout import lay_out
from penstock.flow import Definition, Step, ops
from tests.analysis.flows import shop

SVG = "{http://www.w3.org/2000/svg}"


def enrich(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is."""
    return row


def flights() -> Definition:
    """A flow with forks, joins, late rows and an edge that spans layers."""
    flow = ps.Flow("flights")
    columns = {"carrier": str, "delay": float, "at": pl.Datetime}
    flights = flow.read(ps.topic("flights", schema=columns), event_time="at", lateness="10m")
    names = flow.table(ps.table("names", schema={"carrier": str, "name": str}), key="carrier")
    departed, cancelled = flights.branch(pl.col("delay").is_not_null())
    checked = departed.expect(ps.not_null("carrier"))
    named = checked.join(names, on="carrier")
    hourly = named.group_by("name").window(ps.tumbling("1h")).agg(delay=pl.col("delay").mean())
    hourly.write(ps.table("hourly", key=["name", "window_start"]))
    hourly.late_rows(name="late").write(ps.table("late"))
    everything = checked.union(cancelled, flights)
    everything.write(ps.table("everything"))
    return flow.build()


def test_a_chain_is_a_line() -> None:
    """Name, kind and what it does, step by step."""
    flow, orders = shop()
    paid = orders.filter(pl.col("status") == "paid")
    paid.write(ps.table("paid", key="id"))

    assert draw_text(flow.build()) == (
        "▷  orders      read    topic orders, by at\n"
        '●  paid        filter  (col("status")) == ("paid")\n'
        "■  write_paid  write   table paid, key id"
    )


def test_forks_and_joins_are_rails() -> None:
    """Edges run at the left, fork where a step has several users, meet where a step has several inputs."""
    assert draw_text(flights()) == (
        "▷          flights           read    topic flights, by at, late by 10m\n"
        "├─┬─╮\n"
        '● │ │      departed          filter  col("delay").is_not_null()\n'
        "● │ │      checked           expect  not_null(carrier), else warn\n"
        "├─┼─┼─╮\n"
        "│ │ │ │ ▷  names             read    table names, as a table\n"
        "├─┼─┼─┼─╯\n"
        "◆ │ │ │    named             lookup  left on carrier\n"
        "◆ │ │ │    hourly            window  by name, tumbling 1h: delay\n"
        "├─┼─┼─┼─╮\n"
        "■ │ │ │ │  write_hourly      write   table hourly, key name, window_start\n"
        "  │ │ │ ●  late              late    refused by hourly\n"
        "  │ │ │ ■  write_late        write   table late\n"
        '  ● │ │    cancelled         filter  col("delay").is_not_null().fill_null([false]).not()\n'
        "  ├─┴─╯\n"
        "  ●        everything        union   of checked, cancelled, flights\n"
        "  ■        write_everything  write   table everything"
    )


def test_columns_are_shown_where_they_change() -> None:
    """With an analysis, columns follow the reads and the steps that make others; wide ones are wrapped."""
    flow, orders = shop({f"column_{number:02}": pl.Int64 for number in range(8)}, event_time=None)
    orders.filter(pl.col("column_00") > 1, name="kept").select("column_00", name="few").write(ps.console())
    definition = flow.build()

    assert draw_text(definition, analyse(definition, {})) == (
        "▷  orders         read    topic orders\n"
        "│    column_00 Int64, column_01 Int64, column_02 Int64, column_03 Int64, column_04 Int64,\n"
        "│    column_05 Int64, column_06 Int64, column_07 Int64\n"
        '●  kept           filter  (col("column_00")) > (dyn int: 1)\n'
        "●  few            select  column_00\n"
        "│    column_00 Int64\n"
        "■  write_console  write   console"
    )


def test_a_stream_may_meet_itself() -> None:
    """A join of a stream with itself has two edges."""
    flow, orders = shop()
    pairs = orders.join(orders, on="id", within=("0s", "1m"))
    pairs.write(ps.console())

    assert draw_text(flow.build()).splitlines()[1:3] == ["├─╮", "├─╯"]


def test_a_lane_that_is_free_is_used_again() -> None:
    """A read that comes late takes the place of a path that is finished."""
    flow, orders = shop()
    orders.write(ps.table("all"))
    kept = orders.filter(pl.col("id") > 1)
    names = flow.table(ps.table("names", schema={"id": int}), key="id")
    kept.join(names, on="id", name="named").write(ps.console())

    assert draw_text(flow.build()).splitlines() == [
        "▷    orders         read    topic orders, by at",
        "├─╮",
        "■ │  write_all      write   table all",
        '  ●  kept           filter  (col("id")) > (dyn int: 1)',
        "▷ │  names          read    table names, as a table",
        "├─╯",
        "◆    named          lookup  left on id",
        "■    write_console  write   console",
    ]


def test_an_empty_definition_is_an_empty_picture() -> None:
    """A definition without steps does not fail."""
    empty = Definition("f", ())

    assert draw_text(empty) == ""
    assert ET.fromstring(draw_svg(empty)).tag == f"{SVG}svg"  # noqa: S314 - our own text


def boxes(svg: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of each box."""
    found = []
    for group in ET.fromstring(svg).iter(f"{SVG}g"):  # noqa: S314 - our own text
        left, top = (float(part) for part in group.attrib["transform"][len("translate(") : -1].split())
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        found.append((left, top, left + float(rect.attrib["width"]), top + float(rect.attrib["height"])))
    return found


def overlapping(found: list[tuple[float, float, float, float]]) -> int:
    """How many pairs of boxes share a point."""
    return sum(
        one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
        for index, one in enumerate(found)
        for other in found[index + 1 :]
    )


def test_the_svg_is_xml_and_its_boxes_stand_apart() -> None:
    """One box a step, none over another, all inside the picture, one path an edge."""
    definition = flights()
    svg = draw_svg(definition, analyse(definition, {}))
    root = ET.fromstring(svg)  # noqa: S314 - our own text
    found = boxes(svg)

    assert len(found) == len(definition.steps)
    assert overlapping(found) == 0
    assert min(min(box[0], box[1]) for box in found) >= 0
    assert max(box[2] for box in found) <= float(root.attrib["width"])
    assert max(box[3] for box in found) <= float(root.attrib["height"])
    assert len([path for path in root.iter(f"{SVG}path") if path.attrib.get("class") == "edge"]) == sum(
        len(step.inputs) for step in definition.steps
    )


def test_the_svg_explains_itself() -> None:
    """Titles hold what the boxes had to cut, columns included; dark pages are thought of; no font is fetched."""
    definition = flights()
    svg = draw_svg(definition, analyse(definition, {}))
    titles = [title.text for title in ET.fromstring(svg).iter(f"{SVG}title")]  # noqa: S314 - our own text

    assert titles[0] == "Flow flights"
    assert (
        "hourly (window)\nby name, tumbling 1h: delay\n"
        "name String, window_start Datetime[us], window_end Datetime[us], delay Float64"
    ) in titles
    assert "checked to everything" in titles
    assert "prefers-color-scheme: dark" in svg
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    assert "font-face" not in svg


def test_names_can_not_break_the_svg() -> None:
    """Quotes, tags and control characters of an author's texts stay texts."""
    flow = ps.Flow("f")
    rows = flow.read(ps.topic("<b>&\"'\x00\x1b", schema={"a": str}))
    rows.filter(pl.col("a") == "</svg>", name="kept").write(ps.console())
    svg = draw_svg(flow.build())

    assert "\x00" not in svg
    assert len(boxes(svg)) == 3


@given(st.lists(st.lists(st.integers(0, 30), max_size=4), min_size=1, max_size=24))
def test_no_graph_makes_boxes_overlap(graph: list[list[int]]) -> None:
    """Whatever the edges: boxes of a layer keep their distance, and every edge goes down."""
    parents = {
        f"n{node}": sorted({f"n{parent % node}" for parent in edges}) if node else []
        for node, edges in enumerate(graph)
    }
    widths = {name: 100.0 + 10 * len(parents[name]) for name in parents}
    layout = lay_out(parents, widths, gap=20)

    for child, above in parents.items():
        assert all(layout.layer[parent] < layout.layer[child] for parent in above)
        assert all(
            len(layout.points[parent, child]) == layout.layer[child] - layout.layer[parent] - 1 for parent in above
        )
    for level in set(layout.layer.values()):
        row = sorted((layout.x[name], widths[name]) for name in parents if layout.layer[name] == level)
        for (left, left_width), (right, right_width) in pairwise(row):
            assert right - left >= (left_width + right_width) / 2 + 20 - 1e-6
    assert all(0 <= layout.x[name] <= layout.width for name in parents)


def test_a_ladder_is_drawn_without_crossings() -> None:
    """Two chains that were written in turns stand side by side."""
    parents = {"a": [], "b": [], "a1": ["a"], "b1": ["b"], "a2": ["a1"], "b2": ["b1"]}
    layout = lay_out(parents, dict.fromkeys(parents, 100.0), gap=10)

    assert layout.x["a"] == layout.x["a1"] == layout.x["a2"] == 50
    assert layout.x["b"] == layout.x["b1"] == layout.x["b2"] == 160


def test_crossed_writings_are_untangled() -> None:
    """The order in a layer follows the parents, not the order of writing."""
    parents = {"a": [], "b": [], "from_b": ["b"], "from_a": ["a"]}
    layout = lay_out(parents, dict.fromkeys(parents, 100.0), gap=10)

    assert (layout.x["from_a"] < layout.x["from_b"]) == (layout.x["a"] < layout.x["b"])


def test_every_operation_is_described() -> None:
    """One short line a step, of the words that the author used."""

    def handler(context: Any, rows: Any) -> Any:  # noqa: ARG001
        return rows

    hour = 3_600_000_000
    expected: list[tuple[ops.Operation, str]] = [
        (ops.Read(ps.files("in/*.csv")), "files in/*.csv"),
        (ops.Read(ps.console()), "console"),
        (ops.Read(ps.topic("t"), "at", 10_000_000), "topic t, by at, late by 10s"),
        (ops.Read(ps.table("t"), table=True), "table t, as a table"),
        (ops.Filter(pl.col("a").is_null()), 'col("a").is_null()'),
        (ops.WithColumns((("a", 1), pl.col("b") + 1, pl.col("c", "d") * 2)), "a, b, "),
        (ops.Select(("a", ["b", "c"])), "a, b, c"),
        (ops.Sql("select *\n  from self"), "select * from self"),
        (ops.MapBatches(enrich), "enrich"),
        (ops.Map(enrich), "enrich"),
        (ops.FlatMap(enrich), "enrich"),
        (ops.Union(), "of x, y"),
        (ops.Expect((ps.not_null("a"),), "dead_letter"), "not_null(a), else dead letter"),
        (ops.Write(ps.table("t", key=["a", "b"])), "table t, key a, b"),
        (ops.Late(), "refused by x"),
        (ops.Aggregate(("a",), {"n": pl.len()}, hour), "by a: n, forgotten after 1h"),
        (ops.WindowAggregate((), ps.tumbling("1h"), {"n": pl.len()}), "over all, tumbling 1h: n"),
        (
            ops.WindowTop(("a",), ps.tumbling("1h"), 3, ("b", "c"), (True, False)),
            "by a, tumbling 1h: first 3 of b down, c up",
        ),
        (ops.TopN(("a",), 1, (), (), None), "by a: first 1 of event time down"),
        (ops.Deduplicate(("a",)), "by a"),
        (ops.Deduplicate(("a",), hour), "by a within 1h"),
        (ops.IntervalJoin((("a", "b"),)), "inner on a = b"),
        (ops.IntervalJoin((("a", "a"),), -hour, 0, "left"), "left on a, from -1h to 0s"),
        (ops.IntervalJoin((("a", "a"),), None, 0), "inner on a, from any time to 0s"),
        (ops.WindowJoin((("a", "a"),), ps.tumbling("1h")), "inner on a, tumbling 1h"),
        (ops.Lookup((("a", "a"), ("b", "c"))), "left on a, b = c"),
        (ops.Process(("a",), handler, {"a": int}), f"by a: {handler.__qualname__}"),
    ]

    for operation, text in expected:
        found = describe(Step("step", operation, ("x", "y")))
        assert found.removesuffix(found[len(text) :] if text.endswith(", ") else "") == text

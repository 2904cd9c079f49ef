"""The report's view of all nodes: figures, faults over time, and a line for each node."""

from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple, TypeVar
from xml.etree.ElementTree import Element

from citynode.soak import report_scale as scale
from citynode.soak.report_facts import (
    Facts,
    Whole,
    by_kind,
    every,
    in_order,
    natural,
    shades,
    spans,
)
from citynode.soak.report_markup import Child, count, link, table, tag
from citynode.soak.report_plots import Marks, Time, latencies
from citynode.soak.results import Fault, Node

T = TypeVar("T")

_BUCKETS = 240
_BUCKETS_OF_ALL = 100_000  # in all small plots together: what keeps the file small
_BY_CELL = 40  # more nodes than this are listed by cell


class _Column(NamedTuple):
    label: str
    text: Callable[[Facts], str | None]


# A column that has nothing for any node is left out.
_COLUMNS = (
    _Column("accepted", lambda facts: f"{facts.node.accepted:,}"),
    _Column("lost", lambda facts: f"{facts.node.lost:,}"),
    _Column("repeated", lambda facts: f"{facts.node.repeated:,}"),
    _Column("restarts", lambda facts: f"{len(facts.node.restarts):,}"),
    _Column("longest gap", lambda facts: _if(facts.longest_gap or None, scale.length)),
    _Column("95 % within", lambda facts: _if(facts.late, scale.length)),
    _Column("lowest heap KiB", lambda facts: _if(facts.lowest_heap, lambda b: f"{b / 1024:.1f}")),
    _Column("RSSI dBm", lambda facts: _if(facts.rssi, lambda rssi: f"{rssi:.0f}")),
    _Column("most erases", lambda facts: _if(facts.most_erases, lambda n: f"{n:,}")),
    _Column("air time s", lambda facts: _if(facts.node.air_time_s or None, scale.brief)),
    _Column("energy mAh", lambda facts: _if(facts.node.energy_mah, scale.brief)),
)


def overview(whole: Whole) -> Element | None:
    """Return the figures of the whole fleet and its plots."""
    run = whole.run
    if not run.nodes:
        return None
    times = sorted(frame[0] for node in run.nodes for frame in node.frames)
    waits = [wait for facts in whole.facts.values() for wait in facts.latencies]
    time = Time(whole.span_s, shades(fault for fault in whole.shared if fault.cell is None))
    plots: list[Child] = []
    if times:
        by_node = ([frame[0] for frame in node.frames] for node in run.nodes)
        widths = sorted(scale.bucket_s(each, whole.span_s, _BUCKETS) for each in by_node)
        width = scale.quantile(widths, 0.5)
        title = f"Frames of all nodes that arrived in {scale.length(width)}"
        numbers = scale.counts(times, width, whole.span_s)
        told = f"From {min(numbers):,} to {max(numbers):,}; grey where a fault struck all."
        plots.append(time.bars(title, told, numbers, width, ()))
    if waits:
        waits.sort()
        told = f"Half within {scale.length(scale.quantile(waits, 0.5))}, "
        told += f"95 % within {scale.length(scale.quantile(waits, 0.95))}, "
        told += f"the last after {scale.length(waits[-1])}."
        plots.append(latencies("Latency: records that took up to …", told, waits))
    if kinds := by_kind(run.faults):
        lanes = [Marks(kind, _faults(found), every(found)) for kind, found in kinds.items()]
        told = f"{count(len(run.faults), 'fault')} of {count(len(kinds), 'kind')}"
        told += "; higher where there were more at once."
        lanes_plot = Time(whole.span_s).lanes("Faults that were done", told, lanes)
        plots.append(tag("div", lanes_plot, class_="wide"))
    return tag(
        "section", tag("h2", "The fleet"), _figures(whole), tag("div", *plots, class_="plots")
    )


def nodes(whole: Whole) -> Element | None:
    """Return a line for each node, by cell where there are many."""
    run = whole.run
    if not run.nodes:
        return None
    groups = [("All nodes", in_order(run.nodes))]
    if len(run.nodes) > _BY_CELL and len({node.cell for node in run.nodes}) > 1:
        by_cell = sorted(in_order(run.nodes), key=lambda node: natural(node.cell or ""))
        groups = [
            (cell or "No cell", list(found))
            for cell, found in groupby(by_cell, key=lambda node: node.cell)
        ]
    width = max(24, min(120, _BUCKETS_OF_ALL // len(run.nodes)))
    tables = [_table(whole, name, found, width) for name, found in groups]
    legend = (
        f"Each strip is the whole run of {scale.length(whole.span_s)}, from left to right. Bars: "
        "frames that arrived, half as high as can be where they are as many as usual; a hole is a "
        "time without any. Ticks above: faults of this node. Directly below: gaps that the plan "
        "does not allow. At the bottom: restarts."
    )
    if len(whole.detailed) < len(run.nodes):
        legend += (
            f" {count(len(whole.detailed), 'node')} that failed or fared worst "
            "have their details below; their names lead there."
        )
    return tag("section", tag("h2", "The nodes"), tag("p", legend, class_="note"), *tables)


def column_labels(whole: Whole) -> str:
    """Return the CSS that names the figures where the table of nodes has no room for its head."""
    return "".join(
        f'.nodes td:nth-child({place})::before{{content:"{column.label} "}}'
        for place, column in enumerate(_columns(whole), 4)
    )


def _columns(whole: Whole) -> list[_Column]:
    facts = list(whole.facts.values())
    return [column for column in _COLUMNS if any(column.text(each) is not None for each in facts)]


def _table(whole: Whole, caption: str, found: list[Node], buckets: int) -> Element:
    failed = sum(bool(node.wrong) for node in found)
    columns = _columns(whole)
    head = ("node", "verdict", "frames", *(column.label for column in columns))
    rows: list[list[Child]] = []
    for node in found:
        facts = whole.facts[node.id]
        verdict = tag("b", "✗ fail", class_="bad") if node.wrong else "✓ pass"
        cells = (column.text(facts) or "–" for column in columns)
        name = link(node.id, whole.anchor(node))
        rows.append([name, verdict, _strip(whole, node, buckets), *cells])
    title = f"{caption}: {count(len(found), 'node')}, {failed:,} failed"
    return table(title, head, rows, "nodes")


def _strip(whole: Whole, node: Node, buckets: int) -> Element:
    times = [frame[0] for frame in node.frames]
    width = scale.bucket_s(times, whole.span_s, buckets)
    numbers = scale.counts(times, width, whole.span_s)
    told = f"{count(len(times), 'frame')}, {count(len(node.gaps), 'gap')}"
    restarts = [(t, t) for t, _ in node.restarts]
    time = Time(whole.span_s)
    return time.strip(told, numbers, marks=spans(whole.own(node)), gaps=node.gaps, starts=restarts)


def _figures(whole: Whole) -> Element:
    found = whole.run.nodes
    passed = sum(not node.wrong for node in found)
    figures = {
        "nodes passed": f"{passed:,} of {len(found):,}",
        "records accepted": f"{sum(node.accepted for node in found):,}",
        "received": f"{sum(node.received for node in found):,}",
        "lost": f"{sum(node.lost for node in found):,}",
        "repeated": f"{sum(node.repeated for node in found):,}",
        "restarts": f"{sum(len(node.restarts) for node in found):,}",
        "gaps": f"{sum(len(node.gaps) for node in found):,}",
        "joins": f"{sum(node.joins for node in found):,}",
    }
    tiles = [tag("div", tag("dt", name), tag("dd", text)) for name, text in figures.items()]
    return tag("dl", *tiles, class_="tiles")


def _faults(found: list[Fault]) -> str:
    lasted = sum(fault.lasted_s for fault in found)
    struck = len({fault.node for fault in found if fault.node is not None})
    words = [f"{len(found):,}×"]
    if struck:
        words.append(count(struck, "node"))
    if lasted:
        words.append(f"{scale.length(lasted)} in all")
    return ", ".join(words)


def _if(value: T | None, show: Callable[[T], str]) -> str | None:
    return None if value is None else show(value)

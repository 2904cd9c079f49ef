"""Plots as SVG that stays sharp and small and takes the page's colours.

A plotting library would give each plot tens of kilobytes with colours and widths of its own; a
thousand nodes have to fit into two megabytes, a phone, paper and a dark screen. Here lines are
stretched to the width that there is, while text keeps its size: it stands at percentages.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import median
from xml.etree.ElementTree import Element

from citynode.soak import report_scale as scale
from citynode.soak.report_markup import tag
from citynode.soak.report_scale import Point

_WIDE = 1000  # units of a stretched plot, whatever its width on the page
_TOP, _TALL, _FOOT = 8, 72, 18  # pixels above a plot, of it, for what stands below
_FULL = _TOP + _TALL + _FOOT
_GUTTER = 48  # pixels on the left, for numbers
_LANE, _NAME = 32, 24  # height of a lane, letters of its name
# Of a small plot from its top: faults, bars with this floor, gaps, restarts; its height.
_STRIP_BARS, _STRIP_FLOOR, _STRIP = 12, 16, 24
_STRIP_WIDE = 400
_STRIP_MARKS = {"marks": (0, 3), "gaps": (_STRIP_FLOOR, 4), "starts": (21, 3)}
_TIMES = 6  # labels below a plot: as many as a phone has room for
_EDGES = (0.1, 0.3, 1, 3, 10, 30, 120, 600, 3600, 21600, 86400, 604800)
_EDGE_NAMES = ("0.1s", "0.3s", "1s", "3s", "10s", "30s", "2m", "10m", "1h", "6h", "1d", "7d", "∞")


@dataclass(frozen=True)
class Axis:
    """The values of a plot: `marks` are where a number stands, the first and last its ends.

    With a `power` below 1 a burst leaves what is usual to be seen.
    """

    marks: tuple[float, ...]
    power: float = 1.0

    @property
    def low(self) -> float:
        """The value at the bottom."""
        return self.marks[0]

    @property
    def high(self) -> float:
        """The value at the top."""
        return self.marks[-1]

    def down(self, value: float) -> int:
        """Return how far below the top a value is, in pixels."""
        share = (value - self.low) / (self.high - self.low)
        return round(_TALL * (1 - math.pow(share, self.power)))


@dataclass(frozen=True)
class Marks:
    """What happened, of one kind: `spans` from and to; `title` stands on the left, `sum` right."""

    title: str
    sum: str
    spans: Sequence[Point]


@dataclass(frozen=True)
class Time:
    """The time axis that the plots of a run share, `span_s` long.

    `faults` are shades behind the plots, one above the other: from and to, for each kind.
    """

    span_s: float
    faults: Sequence[Sequence[Point]] = ()

    def share(self, t: float) -> str:
        """Return where a time is, in per cent of the width."""
        return f"{100 * t / self.span_s:.4g}%"

    def unit(self, t: float, wide: int = _WIDE) -> int:
        """Return where a time is, in units of a stretched plot."""
        return min(wide, round(wide * t / self.span_s))

    def line(self, title: str, told: str, points: Sequence[Point], about: int = 3) -> Element:
        """Plot values over time; the line ends where nothing was heard for long."""
        values = [value for _, value in points]
        axis = Axis(tuple(scale.ticks(min(values), max(values), about)))
        path = ""
        for stretch in scale.stretches(points, self.span_s):
            kept = scale.downsample(stretch, max(8, _WIDE * len(stretch) // len(points)))
            corners = [(self.unit(t), axis.down(value)) for t, value in kept]
            path += _polyline(corners)
        return self._chart(title, told, axis, tag("path", d=path, class_="line"))

    def bars(
        self, title: str, told: str, numbers: Sequence[int], width_s: float, gaps: Sequence[Point]
    ) -> Element:
        """Plot how many there were in each bucket of time, and the gaps below."""
        axis = Axis(tuple(scale.ticks(0, max(1, *numbers), 3)), power=0.5)
        corners = [
            (self.unit(place * width_s), axis.down(number)) for place, number in enumerate(numbers)
        ]
        layers = [tag("path", d=_steps(corners, _WIDE, _TALL), class_="bars")]
        if gaps:
            layers.append(tag("path", d=self._blocks(gaps, 0, _TALL), class_="gaps"))
        return self._chart(title, told, axis, *layers)

    def lanes(self, title: str, told: str, lanes: Sequence[Marks]) -> Element:
        """Plot when things happened, a lane for each kind; higher where there were more at once."""
        each = "; ".join(f"{lane.title} {lane.sum}" for lane in lanes)
        plot = _plot(title, each, _LANE * len(lanes) + _FOOT)
        for place, lane in enumerate(lanes):
            top = _LANE * place
            plot.append(tag("text", _short(lane.title), x="0", y=top + 14))
            plot.append(tag("text", lane.sum, x="100%", y=top + 14, class_="end"))
            path = tag("path", d=self._levels(lane.spans, 10), class_="marks")
            plot.append(tag("rect", x="0", y=top + 18, width="100%", height=10, class_="lane"))
            plot.append(_stretched(top + 18, 10, path))
        plot.extend(self._times(_LANE * len(lanes) + 13))
        return _figure(title, told, _gutter(), plot)

    def strip(self, told: str, numbers: Sequence[int], **marks: Iterable[Point]) -> Element:
        """Return a small plot: bars of the numbers, above them `marks`, below `gaps` and `starts`.

        A bar is half as high as there is room if its number is the usual one.
        """
        usual = median([number for number in numbers if number] or [1])
        corners = []
        for place, number in enumerate(numbers):
            bar = min(_STRIP_BARS, max(2, round(_STRIP_BARS * number / usual / 2)))
            x = _STRIP_WIDE * place // len(numbers)
            corners.append((x, _STRIP_FLOOR - (bar if number else 0)))
        strip = tag(
            "svg",
            tag("title", told),
            tag("path", d=_steps(corners, _STRIP_WIDE, _STRIP_FLOOR), class_="bars"),
            class_="s",
            viewBox=f"0 0 {_STRIP_WIDE} {_STRIP}",
            preserveAspectRatio="none",
            role="img",
        )
        for kind, spans in marks.items():
            top, height = _STRIP_MARKS[kind]
            if path := self._blocks(spans, top, height, _STRIP_WIDE, 3):
                strip.append(tag("path", d=path, class_=kind))
        return strip

    def _chart(self, title: str, told: str, axis: Axis, *layers: Element) -> Element:
        shades = (
            tag("path", d=self._blocks(each, 0, _TALL), class_="shade") for each in self.faults
        )
        return _chart(title, told, axis, self._times(_FULL - 5), *shades, *layers)

    def _times(self, y: int) -> list[Element]:
        found = []
        for t in scale.time_ticks(self.span_s, _TIMES):
            where = "start" if t == 0 else "end" if t > 0.95 * self.span_s else "middle"
            text = "0" if t == 0 else scale.length(t)
            found.append(tag("text", text, x=self.share(t), y=y, class_=where))
        return found

    def _blocks(
        self,
        spans: Iterable[Point],
        top: int,
        height: int,
        wide: int = _WIDE,
        least: int = 1,
    ) -> str:
        """Return blocks that are at least so wide that they can be seen."""
        units = ((self.unit(start, wide), self.unit(end, wide)) for start, end in spans)
        whole = (
            (min(start, wide - least), max(end, min(start, wide - least) + least))
            for start, end in units
        )
        return "".join(
            f"M{start:.0f} {top}h{end - start:.0f}v{height}h{start - end:.0f}z"
            for start, end in scale.merged(whole)
        )

    def _levels(self, spans: Iterable[Point], height: int) -> str:
        """Return bars as high as there are spans at once, the most of them as high as can be."""
        wide = _WIDE // 2
        changes = [0] * (wide + 1)
        for start, end in spans:
            first = min(self.unit(start, wide), wide - 1)
            changes[first] += 1
            changes[max(self.unit(end, wide), first + 1)] -= 1
        levels = list(accumulate(changes[:-1]))
        most = max(levels)
        tops = [height - max(3, height * level // most) if level else height for level in levels]
        return _steps([(2 * place, top) for place, top in enumerate(tops)], _WIDE, height)


def latencies(title: str, told: str, values: Sequence[float]) -> Element:
    """Plot how many values (s) are up to each of some lengths of time, with their numbers."""
    places = [sum(edge < value for edge in _EDGES) for value in values]
    first, last = min(places), max(places)
    numbers = [places.count(place) for place in range(first, last + 1)]
    return _columns(title, told, numbers, _EDGE_NAMES[first : last + 1])


def sectors(title: str, told: str, erases: dict[int, int]) -> Element:
    """Plot how often each sector was erased, from the lowest that was to the highest."""
    first, last = min(erases), max(erases)
    count = min(last - first + 1, _WIDE // 4)
    most = [0] * count
    for sector, number in erases.items():
        place = (sector - first) * count // (last - first + 1)
        most[place] = max(most[place], number)
    axis = Axis(tuple(scale.ticks(0, max(1, *most), 3)), power=0.5)
    corners = [(place * _WIDE // count, axis.down(number)) for place, number in enumerate(most)]
    bars = tag("path", d=_steps(corners, _WIDE, _TALL), class_="bars")
    ends = [
        tag("text", f"sector {first}", x="0", y=_FULL - 5),
        tag("text", f"sector {last}", x="100%", y=_FULL - 5, class_="end"),
    ]
    return _chart(title, told, axis, ends, bars)


def _columns(title: str, told: str, numbers: Sequence[int], names: Sequence[str]) -> Element:
    wide = 100 / len(numbers)
    floor = 2 * _TOP + _TALL
    pairs = zip(names, numbers, strict=True)
    each = ", ".join(f"up to {name} {number}" for name, number in pairs)
    plot = _plot(title, each, floor + _FOOT)
    for place, (number, name) in enumerate(zip(numbers, names, strict=True)):
        tall = max(1, round(_TALL * number / max(numbers))) if number else 0
        middle = f"{wide * (place + 0.5):.4g}%"
        plot.append(
            tag(
                "rect",
                x=f"{wide * (place + 0.15):.4g}%",
                width=f"{wide * 0.7:.4g}%",
                y=floor - tall,
                height=tall,
                class_="bars",
            )
        )
        plot.append(tag("text", _few(number), x=middle, y=floor - tall - 4, class_="middle"))
        plot.append(tag("text", name, x=middle, y=floor + 13, class_="middle"))
    plot.append(tag("line", x1="0", x2="100%", y1=floor + 0.5, y2=floor + 0.5))
    return _figure(title, told, _gutter(), plot)


def _chart(
    title: str, told: str, axis: Axis, below: Iterable[Element], *layers: Element
) -> Element:
    gutter = _gutter(_FULL)
    plot = _plot(title, told, _FULL)
    for mark in axis.marks:
        y = _TOP + axis.down(mark)
        gutter.append(tag("text", scale.brief(mark), x=_GUTTER - 6, y=y + 4, class_="end"))
        plot.append(tag("line", x1="0", x2="100%", y1=y + 0.5, y2=y + 0.5))
    plot.append(_stretched(_TOP, _TALL, *layers))
    plot.extend(below)
    return _figure(title, told, gutter, plot)


def _figure(title: str, told: str, gutter: Element, plot: Element) -> Element:
    caption = tag("figcaption", tag("b", title), " ", told)
    return tag("figure", caption, tag("div", gutter, plot, class_="chart"))


def _plot(title: str, told: str, height: int) -> Element:
    named = tag("title", title), tag("desc", told)
    return tag("svg", *named, class_="p", height=height, role="img")


def _gutter(height: int = 1) -> Element:
    look = "y" if height > 1 else "y empty"
    return tag("svg", class_=look, width=_GUTTER, height=height, aria_hidden="true")


def _stretched(y: int, height: int, *paths: Element) -> Element:
    return tag(
        "svg",
        *(path for path in paths if path.get("d")),
        y=y,
        width="100%",
        height=height,
        viewBox=f"0 0 {_WIDE} {height}",
        preserveAspectRatio="none",
    )


def _polyline(corners: Sequence[tuple[int, int]]) -> str:
    (x, y), *_ = corners
    moves = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(corners) if a != b] or [(0, 0)]
    return f"M{x} {y}l" + " ".join(f"{dx} {dy}" for dx, dy in moves).replace(" -", "-")


def _steps(corners: Sequence[tuple[int, int]], wide: int, floor: int) -> str:
    """Return the outline of bars that begin at each corner's x and reach up to its y."""
    path, at = f"M0 {floor}", floor
    for x, y in corners:
        if y != at:
            path += f"H{x}V{y}"
            at = y
    return f"{path}H{wide}V{floor}z"


def _short(text: str) -> str:
    return text if len(text) <= _NAME else text[: _NAME - 1] + "…"


def _few(number: int) -> str:
    if number >= 1_000_000:
        return f"{number / 1e6:.1f}M"
    if number >= 1000:
        return f"{number / 1e3:.{1 if number < 10_000 else 0}f}k"
    return str(number) if number else ""
